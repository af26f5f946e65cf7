"""Fine-tune minus scratch: each cell's difference, with an interval over test patients and seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_modules.forked import forked_map
from ecg_transfer.predictions import Predictions, load_part
from ecg_transfer.runs import Run, RunChangedError
from ecg_transfer.study.bootstrap import (
    NUM_DRAWS,
    PatientDraws,
    draw_patients,
    interval,
    mean_over_seeds,
    score_draws,
)
from ecg_transfer.study.pairs import Cell
from ecg_transfer.study.significance import MIN_SEEDS, holm, p_floor, sign_flip_p

Floats = NDArray[np.float64]

ARMS = ("finetune", "scratch")
"""What is compared."""


PARALLEL_FROM = 64
"""Cells from which workers are worth their start."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference with its interval; the p value comes second, and only where seeds allow one."""

    metric: str
    estimate: float
    low: float
    """Lower limit of the 95 % interval."""
    high: float
    num_seeds: int
    num_records: int
    """Test records."""
    num_groups: int
    """Test patients; 0 where the interval is over seeds alone."""
    p: float | None
    """Two-sided, of the exact sign-flip test over seeds; None with fewer than `MIN_SEEDS`."""
    p_holm: float | None = None
    """`p`, adjusted for the declared family."""
    note: str = ""
    """What a reader must know: why there is no p, what the interval leaves out, draws that were undefined."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CellEffect:
    """A cell's effect, and the draws behind it: those of several cells fit together draw by draw."""

    cell: Cell
    effect: Effect
    scores: dict[str, float]
    """Mean score of each arm, by `ARMS`."""
    draws: dict[str, Floats]
    """Draws (B,) of that mean, by `ARMS`: the same patients and seeds in both."""
    differences: Floats
    """Fine-tune minus scratch of each unit (S,), in the order of `cell.units`."""

    @property
    def difference_draws(self) -> Floats:
        """Draws (B,) of fine-tune minus scratch."""
        return self.draws["finetune"] - self.draws["scratch"]


class UnpairedTestSetsError(ValueError):
    """The runs of a cell were tested on different records, so that they cannot be paired."""


def require_one_test_set(paths: Sequence[Path], tests: Sequence[Predictions]) -> None:
    """Compare the test sets of runs that are to be joined.

    Args:
        paths: Of the runs.
        tests: What each predicted.

    Raises:
        UnpairedTestSetsError: Two differ in records or labels.
    """
    first = tests[0]
    for path, test in zip(paths, tests, strict=True):
        if not (np.array_equal(test.record_ids, first.record_ids) and np.array_equal(test.targets, first.targets)):
            raise UnpairedTestSetsError(
                f"{path.name} was not tested on the records and labels of {paths[0].name}, expected one test set in a "
                "cell: give their runs the same data.split_seed and label set; where they have that, the records on "
                "disk changed between them: remove the folders of the older ones and run them anew"
            )


def cell_effects(
    cells: Iterable[Cell],
    metric: str = "f1_weighted",
    *,
    score_name: str = "val_selected",
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
    leave_out: Callable[[Cell, UnpairedTestSetsError | RunChangedError], None] | None = None,
) -> list[CellEffect]:
    """The effect of every cell, with p values adjusted by Holm over all of them: they are the declared family.

    Patients are drawn from stored predictions; where a cell has none (a table without its run directories) the
    interval is over seeds alone, and the note says so. Cells on one test set share the draws of patients, and all
    those of the seeds that they have.

    Args:
        cells: As `find_cells` gives them.
        metric: A test score, `f1_weighted` or `auroc_macro`; `tuned/f1_macro` for thresholds tuned on validation.
        score_name: One of `SCORE_NAMES`.
        num_draws: B.
        seed: Of the draws.
        leave_out: Is told of a cell whose runs were not tested on the same records, or have other predictions than when
            they finished, which is then left out.

    Raises:
        UnpairedTestSetsError: There is a cell of the first kind, and no `leave_out`.
        RunChangedError: There is one of the second, and no `leave_out`.
    """
    ordered = list(cells)
    # Cells that share their trainings from scratch come one after the other, so that these are read once.
    order = sorted(range(len(ordered)), key=lambda place: list(ordered[place].pairs["run_scratch"]))

    def effect_of(place: int) -> CellEffect | UnpairedTestSetsError | RunChangedError:
        try:
            return _cell_effect(ordered[place], metric, score_name, num_draws, seed)
        except (UnpairedTestSetsError, RunChangedError) as error:
            if leave_out is None:
                raise
            return error

    found = dict(zip(order, forked_map(effect_of, order, at_least=PARALLEL_FROM, chunk=8), strict=True))
    effects = []
    for place, cell in enumerate(ordered):
        if isinstance(result := found[place], CellEffect):
            effects.append(result)
        elif leave_out is not None:
            leave_out(cell, result)
    adjusted = holm([result.effect.p for result in effects])
    return [
        replace(result, effect=replace(result.effect, p_holm=p)) for result, p in zip(effects, adjusted, strict=True)
    ]


def effects_table(effects: Sequence[CellEffect]) -> pd.DataFrame:
    """One row a cell: what it is, both arms' scores, the effect, its interval, p values, notes."""
    return pd.DataFrame(
        {
            "upstream": result.cell.upstream,
            "downstream": result.cell.downstream,
            "label_set": result.cell.label_set or None,
            "backbone": result.cell.backbone,
            "recipe": result.cell.recipe,
            "way": result.cell.way,
            "lr": result.cell.lr,
            "batch_size": result.cell.batch_size,
            "num_train": result.cell.num_train,
            "simulated": result.cell.simulated,
            **result.scores,
            **vars(result.effect),
        }
        for result in effects
    )


def pooled(effects: Sequence[CellEffect], *, name: str = "mean effect") -> tuple[Effect, Floats]:
    """The mean effect of several cells, each downstream corpus counting the same.

    Draws are averaged draw by draw, so that what cells share (test patients, trainings from scratch) is counted once.
    It tells of these corpora, not of corpora in general.

    Args:
        effects: At least one.
        name: What to call it, in place of a metric.

    Returns:
        The effect, and its draws (B,).
    """
    weights = equal_corpora(effects)
    draws = weights @ np.stack([result.difference_draws for result in effects])
    low, high = interval(draws)
    by_seed = [result.differences for result in effects]
    p, note = (
        _test(weights @ np.stack(by_seed))
        if shared_units(effects)
        else (None, "no p: the cells do not share their seeds")
    )
    effect = Effect(
        metric=name,
        estimate=float(weights @ [result.effect.estimate for result in effects]),
        low=low,
        high=high,
        num_seeds=min(map(len, by_seed)),
        num_records=sum({result.cell.downstream: result.effect.num_records for result in effects}.values()),
        num_groups=sum({result.cell.downstream: result.effect.num_groups for result in effects}.values()),
        p=p,
        note=note,
    )
    return effect, draws


def shared_units(effects: Sequence[CellEffect]) -> bool:
    """Whether all cells have the same seeds, so that their differences can be averaged seed by seed."""
    return all(result.cell.units == effects[0].cell.units for result in effects)


def equal_corpora(effects: Sequence[CellEffect]) -> Floats:
    """Weights of cells that sum to 1 and give each downstream corpus the same."""
    corpora = [result.cell.downstream for result in effects]
    return np.array([1 / corpora.count(corpus) for corpus in corpora]) / len(set(corpora))


def _cell_effect(cell: Cell, metric: str, score_name: str, num_draws: int, seed: int) -> CellEffect:
    column = f"{score_name}/{metric}"
    observed = {arm: cell.by_unit(column, arm) for arm in ARMS}
    differences = observed["finetune"] - observed["scratch"]
    notes = []
    drawn = _patient_draws(cell, metric, score_name, num_draws, seed)
    if drawn is None:
        by_draw, num_groups = observed, 0
        notes.append("the interval is over seeds alone: there are no stored predictions")
    else:
        by_draw, patients = drawn
        num_groups = patients.num_groups
        if patients.redrawn:
            notes.append(f"{patients.redrawn:.1%} of draws lost a label's last positive and were drawn again")
        if patients.undefined:
            notes.append(f"{patients.undefined:.1%} of draws have a label without positives")
    if len(differences) == 1:
        notes.append("one seed: the interval is over patients alone" if num_groups else "one seed: no interval")
    p, reason = _test(differences)
    draws = {arm: mean_over_seeds(by_draw[arm], cell.units, num_draws=num_draws, seed=seed) for arm in ARMS}
    low, high = interval(draws["finetune"] - draws["scratch"])
    if not num_groups and len(differences) == 1:
        low = high = float("nan")
    effect = Effect(
        metric=column,
        estimate=float(differences.mean()),
        low=low,
        high=high,
        num_seeds=len(differences),
        num_records=int(cell.pairs["num_test_finetune"].iloc[0]),
        num_groups=num_groups,
        p=p,
        note="; ".join([*notes, *([reason] if reason else [])]),
    )
    scores = {arm: float(observed[arm].mean()) for arm in ARMS}
    return CellEffect(cell=cell, effect=effect, scores=scores, draws=draws, differences=differences)


def _test(differences: Floats) -> tuple[float | None, str]:
    """A p value, or why there is none."""
    if not np.isfinite(differences).all():
        return None, "no p: the score is undefined for some runs"
    if len(differences) < MIN_SEEDS:
        few = f"{len(differences)} seed{'s' * (len(differences) > 1)}"
        return None, f"no p: {few} are too few, their smallest possible p is {p_floor(len(differences)):.3g}"
    return sign_flip_p(differences), ""


def _patient_draws(
    cell: Cell, metric: str, score_name: str, num_draws: int, seed: int
) -> tuple[dict[str, Floats], PatientDraws] | None:
    """Scores (B, S) of each arm under draws of patients; None without stored predictions."""
    paths = {arm: [Path(path) for path in cell.pairs[f"path_{arm}"]] for arm in ARMS}
    if not all((path / "predictions.npz").exists() for path in (*paths["finetune"], *paths["scratch"])):
        return None
    parts = [_test_part(path, score_name) for arm in ARMS for path in paths[arm]]
    first = parts[0]
    require_one_test_set((*paths["finetune"], *paths["scratch"]), parts)
    patients = draw_patients(first.groups, first.targets, num_draws=num_draws, seed=seed)
    _, is_tuned, aggregate = metric.rpartition("tuned/")
    limits = [_thresholds(path, score_name) if is_tuned else 0.5 for arm in ARMS for path in paths[arm]]
    scores = score_draws(aggregate, [part.logits for part in parts], first.targets, limits, patients.weights)
    keys = list(zip(cell.pairs["seed_finetune"], cell.pairs["subset_seed_finetune"], strict=True))
    member = np.array([[float(key == repetition) for repetition in cell.repetitions] for key in keys])
    member /= member.sum(axis=0)
    return {"finetune": scores[:, : len(keys)] @ member, "scratch": scores[:, len(keys) :] @ member}, patients


@lru_cache(maxsize=512)
def _test_part(path: Path, score_name: str) -> Predictions:
    """Kept for a while, because several upstreams are compared with the same training from scratch."""
    return load_part(Run(path).checked("predictions.npz"), f"{score_name}/test")


def _thresholds(path: Path, score_name: str) -> Floats:
    per_class = Run(path).results[score_name]["test_tuned"]["per_class"]
    return np.array([values["thresholds"] for values in per_class.values()])
