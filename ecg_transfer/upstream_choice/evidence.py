"""How well the scores known before training go with the gain that was measured afterwards.

A cell is one comparison repeated over seeds: (upstream, downstream, backbone, size) within one recipe and budget.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ecg_transfer.config import RunConfig
from ecg_transfer.data_identity import refuse_other_data
from ecg_transfer.finished_runs import finished_runs
from ecg_transfer.model_folder import is_model_folder, read_model_folder
from ecg_transfer.runs import Run, RunChangedError, RunNotFoundError
from ecg_transfer.study.apart import PREFIX, read_apart
from ecg_transfer.study.bootstrap import interval, student_over_normal
from ecg_transfer.study.effects import CellEffect, UnpairedTestSetsError, cell_effects
from ecg_transfer.study.pairs import Cell, find_cells
from ecg_transfer.study.saved_config import saved_config
from ecg_transfer.upstream import Upstream
from ecg_transfer.upstream_choice.forward import Embedded, embed, upstream_model
from ecg_transfer.upstream_choice.scores import MEASURES, scores_of
from ecg_transfer.upstream_choice.transferability import Prepared, num_records
from ecg_transfer.upstream_choice.way import way_name

Floats = NDArray[np.float64]

MIN_CELLS = 5
"""Cells below which no correlation is given."""

MIN_MODELS = 5
"""Pre-trained models below which a correlation has no interval."""

NUM_DRAWS = 1000
"""Draws of models: enough for limits that are read to two digits."""

BLOCK = ["downstream", "num_train"]
"""What is given when an upstream is to be chosen."""

MODEL = ["upstream_cell", "backbone"]
"""What makes one pre-trained model."""

SCOPES = ("all cells", "same downstream and size")
"""Over what a correlation is taken: all cells; or the differences from the mean of the cells that share a downstream
and a size, which is the question of a user who has one corpus and chooses an upstream."""


def evidence_table(
    runs: Iterable[Run],
    *,
    output: Path,
    metric: str = "f1_weighted",
    trust: bool = False,
    report: Callable[[str], None] = lambda sentence: None,
) -> pd.DataFrame:
    """One row a cell: the measured gain, and every measure of its upstream on its training records.

    A cell's measure is the mean over its repetitions (a subset, a pre-training); its gain is fine-tune minus scratch,
    the test score of the epoch chosen on validation, averaged over paired seeds.

    Args:
        runs: Finished pre-trainings, fine-tunings and trainings from scratch.
        output: Where runs live, for upstreams that are named by their run.
        metric: Of the gain and of the probes.
        trust: Whether to run the code of a model's own backbone.
        report: Is told what is being done, and which cells are left out: their upstream is gone, or their runs were
            tested on different records. Runs that cannot be read are left out with a warning.

    Returns:
        Columns upstream, downstream, backbone, recipe, way, lr, setting, num_train, simulated, num_seeds, gain, low,
        high, the keys of `MEASURES`, seconds. Empty without pairs.

    Raises:
        DataChangedError: Runs were made with other records than are on disk now.
    """
    study, _ = read_apart(finished_runs(runs, saved_config))
    passes = _Passes(output, metric, trust, report)

    def leave_out(cell: Cell, error: UnpairedTestSetsError | RunChangedError) -> None:
        report(f"left out: {cell.name}: {error}")

    rows = []
    for effect in cell_effects(find_cells(study.results), metric, leave_out=leave_out):
        try:
            rows.append(_row(effect, passes))
        except RunNotFoundError as error:
            cell = effect.cell
            report(f"left out, its upstream is gone: {cell.upstream} to {cell.downstream}, {cell.backbone} ({error})")
    return pd.DataFrame(rows)


def _row(effect: CellEffect, passes: _Passes) -> dict[str, object]:
    cell = effect.cell
    found = [passes.scores(Run(Path(path))) for path in cell.pairs["path_finetune"]]
    config = passes.config(Run(Path(cell.pairs["path_finetune"].iloc[0])))
    return {
        "upstream": cell.upstream,
        "downstream": cell.downstream,
        "backbone": cell.backbone,
        "recipe": cell.recipe,
        "way": way_name(config),
        "lr": cell.lr,
        "setting": cell.setting,
        "num_train": cell.num_train,
        "simulated": cell.simulated,
        "num_seeds": effect.effect.num_seeds,
        "gain": effect.effect.estimate,
        "low": effect.effect.low,
        "high": effect.effect.high,
        "upstream_cell": str(cell.pairs["upstream_cell_finetune"].iloc[0]),
        **{name: float(np.mean([scores[name] for scores in found])) for name in (*MEASURES, "seconds")},
    }


@dataclass
class _Passes:
    """Forward passes, each made once: all subsets of a downstream are parts of its largest training set."""

    output: Path
    metric: str
    trust: bool
    report: Callable[[str], None]
    _configs: dict[Path, RunConfig] = field(default_factory=dict)
    _prepared: dict[str, Prepared] = field(default_factory=dict)
    _parts: dict[tuple[str, str], Mapping[str, Embedded]] = field(default_factory=dict)
    _scores: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def config(self, finetuning: Run) -> RunConfig:
        """A fine-tuning's configuration; reading one takes milliseconds."""
        if finetuning.path not in self._configs:
            self._configs[finetuning.path] = finetuning.config
        return self._configs[finetuning.path]

    def scores(self, finetuning: Run) -> dict[str, float]:
        """The measures of a fine-tuning's upstream on its training records, with seconds."""
        manifest = finetuning.manifest
        name = str(manifest["upstream"]["run"])
        key = (name, str(manifest["data"]["digest"]))
        if key not in self._scores:
            started = time.perf_counter()
            upstream = self._upstream(name, simulated=bool(manifest["upstream"]["simulated"]))
            parts = self._embedded(upstream, finetuning)
            found = scores_of(parts["train"], parts["val"], metric=self.metric)
            size = num_records(upstream)
            found["size"] = float("nan") if size is None else float(size)
            found["seconds"] = time.perf_counter() - started
            self._scores[key] = found
        return self._scores[key]

    def _upstream(self, name: str, *, simulated: bool) -> Upstream:
        place = self.output / ("simulated" if simulated else "real") / name.removeprefix(PREFIX)
        return (
            Upstream.from_folder(read_model_folder(place)) if is_model_folder(place) else Upstream.from_run(Run(place))
        )

    def _embedded(self, upstream: Upstream, finetuning: Run) -> Mapping[str, Embedded]:
        """The embedded records of a fine-tuning's training (its subset of them) and validation."""
        data = self.config(finetuning).data
        whole = type(data)(**{**vars(data), "subset": None, "subset_seed": 0})
        corpus = repr(whole)
        if (upstream.name, corpus) not in self._parts:
            self.report(f"{upstream.name} on {data.corpus}")
            prepared = self._prepared.setdefault(corpus, Prepared(whole))
            self._parts[upstream.name, corpus] = embed(
                upstream_model(upstream, trust=self.trust), prepared[upstream.inputs]
            )
        parts = self._parts[upstream.name, corpus]
        own = Prepared(data)[upstream.inputs]
        refuse_other_data(finetuning, own.digest())
        return {"train": parts["train"].at(own.rows["train"]), "val": parts["val"]}


def correlations(table: pd.DataFrame, *, num_draws: int = NUM_DRAWS, seed: int = 0) -> pd.DataFrame:
    """Rank correlation of every measure with the gain, turned so that above 0 the measure helps.

    `tau_w` is Vigna's weighted Kendall tau (doi 10.1145/2736277.2741088, scipy's `weightedtau`: exchanges among the
    most promising weigh most), `rho` Spearman's. The interval is the 95 % percentile interval over draws of pre-trained
    models, each with all its cells: those of one model are no independent witnesses. It is widened for their number.
    Within the scope `same downstream and size` measure and gain are taken relative to their means in each block. Cells
    for which a measure is not known (LEEP and MELEP of an upstream that learnt without labels) take no part in its row.

    Args:
        table: As `evidence_table` gives it; of one setting and one kind of ECGs.
        num_draws: Of the bootstrap.
        seed: Of the draws.

    Returns:
        One row a (measure, scope, statistic): estimate, low, high, note, num_cells, num_models (pre-trained ones). With
        fewer than `MIN_CELLS` cells, or where a measure or the gain does not vary, no number and a note that says so;
        with fewer than `MIN_MODELS` models no limits.
    """
    rows = []
    for name, measure in MEASURES.items():
        cells = table[np.isfinite(table[name].to_numpy(np.float64))] if len(table) else table
        blocks = np.asarray(cells.groupby(BLOCK).ngroup() if len(cells) else [], dtype=np.int64)
        models = np.asarray(cells.groupby(MODEL).ngroup() if len(cells) else [], dtype=np.int64)
        num_models = len(np.unique(models))
        chosen = _draws_of_models(models, num_draws, seed) if num_models >= MIN_MODELS else []
        values = measure.sign * cells[name].to_numpy(np.float64) if len(cells) else np.empty(0)
        gains = cells["gain"].to_numpy(np.float64) if len(cells) else np.empty(0)
        counts = {"num_cells": len(cells), "num_models": num_models}
        for scope in SCOPES:
            group = blocks if scope == SCOPES[1] else np.zeros(len(cells), np.int64)
            for statistic, function in STATISTICS.items():
                found = _with_interval(function, values, gains, group, chosen, num_models)
                rows.append({"measure": name, "scope": scope, "statistic": statistic, **found, **counts})
    return pd.DataFrame(rows)


def _draws_of_models(models: NDArray[np.int64], num_draws: int, seed: int) -> list[NDArray[np.int64]]:
    """Rows of models drawn with replacement, a draw each; `models` gives the model of each row."""
    rows = [np.flatnonzero(models == model) for model in np.unique(models)]
    drawn = np.random.default_rng(seed).integers(len(rows), size=(num_draws, len(rows)))
    return [np.concatenate([rows[place] for place in places]) for places in drawn]


def weighted_tau(values: Floats, gains: Floats) -> float:
    """Vigna's weighted Kendall tau, additive hyperbolic weights."""
    return float(stats.weightedtau(values, gains).statistic)


def spearman(values: Floats, gains: Floats) -> float:
    """Spearman's rank correlation; ties get their mean rank."""
    first, second = stats.rankdata(values), stats.rankdata(gains)
    return float(np.corrcoef(first, second)[0, 1])


STATISTICS: dict[str, Callable[[Floats, Floats], float]] = {"tau_w": weighted_tau, "rho": spearman}
"""Rank correlations by their column."""


def _with_interval(
    function: Callable[[Floats, Floats], float],
    values: Floats,
    gains: Floats,
    group: NDArray[np.int64],
    chosen: Sequence[NDArray[np.int64]],
    num_models: int,
) -> dict[str, object]:
    nothing = {"estimate": float("nan"), "low": float("nan"), "high": float("nan")}
    if len(values) < MIN_CELLS:
        return {**nothing, "note": f"cannot be told: {len(values)} cells, at least {MIN_CELLS} are needed"}
    ours, theirs = _centred(values, group), _centred(gains, group)
    if np.ptp(ours) < 1e-12 or np.ptp(theirs) < 1e-12:
        return {**nothing, "note": "cannot be told: it is the same for all cells that are compared"}
    if not chosen:
        found = {**nothing, "estimate": function(ours, theirs)}
        return {**found, "note": f"no interval: fewer than {MIN_MODELS} pre-trained models"}
    draws = []
    for places in chosen:
        first, second = _centred(values[places], group[places]), _centred(gains[places], group[places])
        varies = np.ptp(first) > 1e-12 and np.ptp(second) > 1e-12
        draws.append(function(first, second) if varies else float("nan"))
    estimate = function(ours, theirs)
    # a percentile interval over so few is too narrow by that much (Hesterberg 2015, see `study.bootstrap`)
    widening = math.sqrt(num_models / (num_models - 1)) * student_over_normal(num_models)
    limits = estimate + widening * (np.array(interval(np.array(draws))) - estimate)
    low, high = limits.clip(-1, 1).tolist()
    return {"estimate": estimate, "low": low, "high": high, "note": ""}


def _centred(values: Floats, group: NDArray[np.int64]) -> Floats:
    """Values minus the mean of their group; rounded, so that equal ones stay equal."""
    if not group.any():
        return values
    sums, counts = np.bincount(group, weights=values), np.bincount(group)
    return np.asarray(np.round(values - (sums / np.maximum(counts, 1))[group], 12))
