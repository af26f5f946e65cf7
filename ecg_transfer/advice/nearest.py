"""Which finished comparisons come nearest to a question, and what they measured."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ecg_transfer.config import RunConfig
from ecg_transfer.finished_runs import RunLeftOutWarning, finished_runs
from ecg_transfer.runs import Run, RunChangedError
from ecg_transfer.study.apart import PREFIX, read_apart
from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.effects import CellEffect, UnpairedTestSetsError, cell_effects
from ecg_transfer.study.learning_curve import LearningCurve, learning_curves
from ecg_transfer.study.pairs import Cell, find_cells
from ecg_transfer.study.random_effects import MIN_CORPORA, Pooled, pool
from ecg_transfer.study.saved_config import saved_config
from ecg_transfer.upstream_choice.way import way_name

Floats = NDArray[np.float64]

SAME_SIZE, SIMILAR_SIZE = 1.25, 2.0
"""Ratios of training records up to which two sizes count as the same, and as similar."""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What a choice is expected to gain over training from scratch."""

    estimate: float
    low: float
    """95 % limits; NaN where none can be given."""
    high: float
    meaning: str
    """What the limits are limits of."""


@dataclass(frozen=True)
class Choice:
    """One answer to "which upstream, backbone, way, recipe?", with the comparisons that were made of it."""

    upstream: str
    backbone: str
    recipe: str
    way: str
    effects: tuple[CellEffect, ...]

    @property
    def name(self) -> str:
        """For a sentence."""
        model = f"{self.backbone} from {self.upstream}{self.upstream_mark}"
        return f"{model}, {self.recipe} recipe, lr {self.lr:g}, {self.way} fine-tuning"

    @property
    def upstream_mark(self) -> str:
        """What tells its upstream from another one of the same name; empty where there is none."""
        return self.effects[0].cell.upstream_mark

    @property
    def upstream_runs(self) -> list[str]:
        """The pre-trainings, of one seed or several, that its fine-tunings start from."""
        columns = [effect.cell.pairs["upstream_run_finetune"] for effect in self.effects]
        return sorted({str(run).removeprefix(PREFIX) for column in columns for run in column})

    @property
    def upstream_corpus(self) -> str:
        """The corpus of its upstream."""
        return self.effects[0].cell.upstream_corpus

    @property
    def pretext(self) -> str:
        """What its upstream learnt without labels, in words; `none` where it learnt labels."""
        return self.effects[0].cell.pretext

    @property
    def lr(self) -> float:
        """Learning rate."""
        return self.effects[0].cell.lr

    @property
    def downstreams(self) -> list[str]:
        """Corpora that it was tried on."""
        return sorted({effect.cell.downstream for effect in self.effects})

    @property
    def num_pairs(self) -> int:
        """Pairs of runs."""
        return sum(len(effect.cell.pairs) for effect in self.effects)

    @property
    def num_seeds(self) -> int:
        """Paired seeds of the comparison with the fewest."""
        return min(effect.effect.num_seeds for effect in self.effects)

    @cached_property
    def config(self) -> RunConfig:
        """Of one of its fine-tunings."""
        return Run(Path(self.effects[0].cell.pairs["path_finetune"].iloc[0])).config

    def validation_score(self) -> float:
        """Mean validation score of its fine-tunings, each downstream the same: what it may be chosen by."""
        by_corpus: dict[str, list[float]] = defaultdict(list)
        for effect in self.effects:
            name = effect.effect.metric.rpartition("/")[2]
            by_corpus[effect.cell.downstream].append(
                float(effect.cell.pairs[f"val_selected/val/{name}_finetune"].mean())
            )
        return float(np.mean([np.mean(values) for values in by_corpus.values()]))

    def seconds_per_update(self) -> float:
        """Of its fine-tunings, evaluation included, on the machines they ran on."""
        pairs = [effect.cell.pairs for effect in self.effects]
        return median(float(value) for each in pairs for value in each["seconds_finetune"] / each["updates_finetune"])


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """The nearest evidence to a question."""

    where: str
    """In words: on what corpora and sizes."""
    is_same_corpus: bool
    choices: tuple[Choice, ...]
    """Those tried on the most corpora first, of them those at the nearest size, of them the best by validation."""
    curves: tuple[LearningCurve, ...]
    """Learning curves of the best choice on the corpus itself."""


def measured(runs: Iterable[Run], *, simulated: bool, metric: str, downstream: str | None = None) -> list[CellEffect]:
    """The effects of the finished comparisons, on ECGs of one kind alone, up- and downstream.

    Runs that cannot be read, and comparisons whose runs were tested on different records, are left out; a warning names
    each.

    Args:
        runs: Of any kind.
        simulated: Which kind.
        metric: A test score.
        downstream: A corpus, whose comparisons are looked at alone if it has some.
    """
    study, _ = read_apart(finished_runs(runs, saved_config))
    cells = [cell for cell in find_cells(study.results) if cell.simulated == simulated]
    own = cell_effects([cell for cell in cells if cell.downstream == downstream], metric, leave_out=_say_unpaired)
    others = [cell for cell in cells if cell.downstream != downstream]
    return own or cell_effects(others, metric, leave_out=_say_unpaired)


def _say_unpaired(cell: Cell, error: UnpairedTestSetsError | RunChangedError) -> None:
    warnings.warn(f"left out: {cell.name}: {error}", RunLeftOutWarning, stacklevel=2)


def nearest(effects: Sequence[CellEffect], downstream: str, num_train: int) -> Nearest | None:
    """The comparisons on the corpus itself, at this size if there are some; else on others, of a similar size first.

    Args:
        effects: Of one kind of ECGs.
        downstream: The corpus in question.
        num_train: Its training records.

    Returns:
        None without any.
    """
    own = [effect for effect in effects if effect.cell.downstream == downstream]
    others = [effect for effect in effects if effect.cell.downstream != downstream]
    for found, limit in ((own, SAME_SIZE), (own, np.inf), (others, SIMILAR_SIZE), (others, np.inf)):
        near = [effect for effect in found if _ratio(effect, num_train) <= limit]
        if near:
            break
    else:
        return None
    is_own = found is own
    kept = _nearest_of_each(near, num_train)

    def rank(choice: Choice) -> tuple[float, float, float, str]:
        """Validation scores of other sizes are no rivals: more records score more."""
        distance = min(_ratio(effect, num_train) for effect in choice.effects) if is_own else 0.0
        return -len(choice.downstreams), round(distance, 2), -choice.validation_score(), choice.name

    choices = sorted(_choices(kept), key=rank)
    series = {effect.cell.series for effect in choices[0].effects}
    curves = learning_curves([effect for effect in own if effect.cell.series in series]) if is_own else []
    sizes = sorted({effect.cell.num_train for effect in kept})
    span = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    corpora = ", ".join(sorted({effect.cell.downstream for effect in kept}))
    if is_own:
        where = f"on {downstream} itself, {span} training records (yours: {num_train:,})"
    else:
        where = f"NOT on {downstream} but on {corpora}, {span} training records (yours: {num_train:,})"
    return Nearest(where=where, is_same_corpus=is_own, choices=tuple(choices), curves=tuple(curves))


def expected_gain(choice: Choice, found: Nearest, num_train: int) -> Gain:
    """What a choice gained where it was measured, and how far that holds here.

    On the corpus itself: the comparison's own interval over test patients and seeds; between two measured sizes,
    interpolated in the logarithm of the size, draw by draw. From other corpora: the mean of a random-effects model, and
    as limits those for one more corpus, which are wider than the mean's; none with fewer than `MIN_CORPORA` corpora.
    """
    if found.is_same_corpus:
        curve = next((curve for curve in found.curves if curve.sizes[0] < num_train < curve.sizes[-1]), None)
        only = choice.effects[0]
        if curve is None or _ratio(only, num_train) <= SAME_SIZE or choice is not found.choices[0]:
            what = only.effect
            return Gain(estimate=what.estimate, low=what.low, high=what.high, meaning=_meaning(only, num_train))
        draws = at_size(curve.sizes, curve.difference_draws, num_train)
        low, high = interval(draws)
        return Gain(
            estimate=float(at_size(curve.sizes, curve.difference[:, None], num_train)[0]),
            low=low,
            high=high,
            meaning="95 % interval over test patients and seeds, interpolated between measured sizes",
        )
    pooled = pooled_over_corpora(choice)
    if pooled.num_corpora < MIN_CORPORA:
        return Gain(
            estimate=pooled.estimate,
            low=float("nan"),
            high=float("nan"),
            meaning=f"measured on {pooled.num_corpora} other corpora: how that carries over to yours cannot be told",
        )
    return Gain(
        estimate=pooled.estimate,
        low=pooled.predicted_low,
        high=pooled.predicted_high,
        meaning=f"95 % prediction for one more corpus, from {pooled.num_corpora} (between them +-{pooled.between:.3f})",
    )


def pooled_over_corpora(choice: Choice) -> Pooled:
    """A choice's gain over its downstream corpora, each the mean of its comparisons."""
    by_corpus: dict[str, list[CellEffect]] = defaultdict(list)
    for effect in choice.effects:
        by_corpus[effect.cell.downstream].append(effect)
    estimates = [np.mean([one.effect.estimate for one in effects]) for effects in by_corpus.values()]
    draws = [np.mean([one.difference_draws for one in effects], axis=0) for effects in by_corpus.values()]
    return pool(estimates, [max(float(np.var(each)), 1e-12) for each in draws])


def at_size(sizes: NDArray[np.int64], values: Floats, size: float) -> Floats:
    """Values (K, B) at K sizes, read at one size between them, linearly in its logarithm: (B,)."""
    place = int(np.searchsorted(sizes, size)) - 1
    place = min(max(place, 0), len(sizes) - 2)
    share = np.log(size / sizes[place]) / np.log(sizes[place + 1] / sizes[place])
    return np.asarray((1 - share) * values[place] + share * values[place + 1])


def _meaning(effect: CellEffect, num_train: int) -> str:
    notes = "; ".join(part for part in effect.effect.note.split("; ") if not part.startswith("no p"))
    text = "95 % interval over test patients and seeds" if np.isfinite(effect.effect.low) else "no interval"
    if _ratio(effect, num_train) > SAME_SIZE:
        text += f", at {effect.cell.num_train:,} training records and not at yours"
    return text + (f" ({notes})" if notes else "")


def _ratio(effect: CellEffect, num_train: int) -> float:
    return max(num_train / effect.cell.num_train, effect.cell.num_train / num_train)


def _nearest_of_each(effects: Iterable[CellEffect], num_train: int) -> list[CellEffect]:
    """Of each comparison the size that is nearest."""
    series: dict[tuple[str, str], list[CellEffect]] = defaultdict(list)
    for effect in effects:
        series[effect.cell.series, effect.cell.downstream].append(effect)
    return [min(same, key=lambda effect: _ratio(effect, num_train)) for same in series.values()]


def _choices(effects: Iterable[CellEffect]) -> list[Choice]:
    groups: dict[tuple[str, str, str, str, str, str], list[CellEffect]] = defaultdict(list)
    for effect in effects:
        cell, first = effect.cell, effect.cell.pairs.iloc[0]
        way = way_name(Run(Path(first["path_finetune"])).config)
        model = str(first["upstream_cell_finetune"])
        groups[cell.upstream, cell.backbone, cell.recipe, way, cell.setting, model].append(effect)
    return [Choice(*key[:4], tuple(same)) for key, same in groups.items()]
