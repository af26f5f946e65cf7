"""Trainings on all of PTB-XL beside the numbers that its benchmark published.

Strodthoff et al. 2020, "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL", IEEE J-BHI 25(5), arXiv
2004.13701; numbers as its authors list them (github: helme/ecg_ptbxl_benchmarking): macro AUROC on fold 10 of the last
of 50 epochs, folds 1-8 for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from data_modules.forked import forked_map
from ecg_transfer.predictions import load_part
from ecg_transfer.runs import Run
from ecg_transfer.study.arrangement import backbone_name, in_order
from ecg_transfer.study.bootstrap import draw_patients, interval, mean_over_seeds, score_draws
from ecg_transfer.study.effects import require_one_test_set
from ecg_transfer.study.page import MISSING, Entry, Table, number, plain, run_link, with_interval

CORPUS = "ptbxl"
METRIC = "auroc_macro"
MAX_DRAWS = 1000
"""Of the bootstrap: the AUROC of 71 labels takes 15 ms a draw."""

LABEL_SETS = ("all", "diagnostic", "subdiagnostic", "superclass", "form", "rhythm")
"""In the benchmark's order; it calls `superclass` superdiagnostic."""

PUBLISHED: dict[str, tuple[float, ...]] = {
    "xresnet1d101": (0.925, 0.937, 0.929, 0.928, 0.896, 0.957),
    "resnet1d_wang": (0.919, 0.936, 0.928, 0.930, 0.880, 0.946),
    "inception1d": (0.925, 0.931, 0.930, 0.921, 0.899, 0.953),
    "lstm_benchmark": (0.907, 0.927, 0.928, 0.927, 0.851, 0.953),
    "bilstm_benchmark": (0.914, 0.932, 0.923, 0.921, 0.876, 0.949),
}
"""Macro AUROC by `LABEL_SETS`."""

BEST_PUBLISHED = {
    label_set: max((values[place], name) for name, values in PUBLISHED.items())
    for place, label_set in enumerate(LABEL_SETS)
}
"""The benchmark's best network for each label set."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One network and recipe on one label set, over seeds."""

    label_set: str
    backbone: str
    recipe: str
    runs: tuple[tuple[int, str, str], ...]
    """(seed, name, path) of each."""
    num_records: int
    """Of fold 10."""
    auroc: float
    """Mean over seeds, of the epochs chosen on validation."""
    low: float
    high: float
    last_epoch: float
    """Mean over seeds, of the last epochs: how the benchmark reports."""

    @property
    def published(self) -> float | None:
        """The benchmark's number for this network and label set."""
        values = PUBLISHED.get(self.backbone)
        return None if values is None else values[LABEL_SETS.index(self.label_set)]


def measure(results: pd.DataFrame, *, num_draws: int = MAX_DRAWS) -> list[Measured]:
    """Trainings on all training records of the real PTB-XL, seeds together, by label set, then backbone, then recipe.

    On 10 s at 100 Hz, as the published ones. Intervals are over test patients and seeds; see
    `ecg_transfer.study.bootstrap`.

    Args:
        results: As `results_table` gives it; read from its runs' directories are predictions.
        num_draws: Of the bootstrap, at most `MAX_DRAWS`.
    """
    if results.empty:
        return []
    wanted = (results["downstream"] == CORPUS) & ~results["simulated"] & results["subset"].isna()
    wanted &= (results["pretext"] == "none") & (results["sampling_rate"] == 100) & (results["num_samples"] == 1000)
    whole = results[wanted & (results["phase"] != "finetune")].drop_duplicates(["cell", "seed"])
    groups = [group.sort_values("seed") for _, group in whole.groupby("cell", sort=True)]
    found = list(forked_map(lambda place: _measured(groups[place], min(num_draws, MAX_DRAWS)), range(len(groups))))
    place = {name: number for number, name in enumerate(in_order([one.backbone for one in found], tuple(PUBLISHED)))}
    return sorted(found, key=lambda one: (LABEL_SETS.index(one.label_set), place[one.backbone], one.recipe))


def _measured(group: pd.DataFrame, num_draws: int) -> Measured:
    paths = list(map(Path, group["path"]))
    tests = [load_part(Run(path).checked("predictions.npz"), "val_selected/test") for path in paths]
    require_one_test_set(paths, tests)
    first = tests[0]
    draws = draw_patients(first.groups, first.targets, num_draws=num_draws)
    values = score_draws(METRIC, [test.logits for test in tests], first.targets, [0.5] * len(tests), draws.weights)
    limits = interval(mean_over_seeds(values, num_draws=num_draws))
    low, high = np.clip(limits, 0.0, 1.0).tolist()  # of few seeds they are wide
    row = group.iloc[0]
    return Measured(
        label_set=row["label_set"] if isinstance(row["label_set"], str) else "superclass",
        backbone=str(row["backbone"]),
        recipe=str(row["recipe"]),
        runs=tuple((int(seed), str(run), str(path)) for seed, run, path in group[["seed", "run", "path"]].to_numpy()),
        num_records=len(first),
        auroc=float(group[f"val_selected/{METRIC}"].mean()),
        low=low,
        high=high,
        last_epoch=float(group[f"last_epoch/{METRIC}"].mean()),
    )


def benchmark_frame(measured: Sequence[Measured]) -> pd.DataFrame:
    """One row a network, recipe and label set; for `benchmark.csv`."""
    return pd.DataFrame(
        {
            "label_set": one.label_set,
            "backbone": one.backbone,
            "recipe": one.recipe,
            "seeds": len(one.runs),
            "num_test": one.num_records,
            "auroc_macro": one.auroc,
            "low": one.low,
            "high": one.high,
            "last_epoch": one.last_epoch,
            "published": np.nan if one.published is None else one.published,
            "best_published": BEST_PUBLISHED[one.label_set][0],
        }
        for one in measured
    )


def benchmark_table(measured: Sequence[Measured], folder: Path) -> Table:
    """The page's table, each row with links to its runs."""
    rows = []
    for one in measured:
        best, name = BEST_PUBLISHED[one.label_set]
        seed, _, path = one.runs[0]
        several = "seeds " + ", ".join(str(seed) for seed, _, _ in one.runs) if len(one.runs) > 1 else f"seed {seed}"
        rows.append(
            [
                Entry(one.label_set),
                Entry(backbone_name(one.backbone), run_link(path, folder), several),
                Entry(one.recipe),
                Entry(with_interval(one.auroc, one.low, one.high, sign=False), kind="number"),
                number(one.last_epoch),
                number(one.published) if one.published is not None else Entry(MISSING, kind="number missing"),
                Entry(plain(best), detail=backbone_name(name), kind="number"),
            ]
        )
    return Table(
        id="benchmark-table",
        title="PTB-XL beside the published numbers",
        caption="Macro AUROC on fold 10 of PTB-XL at 100 Hz, trained on folds 1 to 8, mean over seeds: at the epoch "
        "chosen on fold 9, with its 95 % interval over patients and seeds (of one seed: over patients alone); and at "
        "the last epoch, as the benchmark reports. Published: Strodthoff et al. 2020, arXiv 2004.13701, for the same "
        "network, and its best one.",
        headers=[
            "labels",
            "model",
            "recipe",
            "chosen on validation",
            "last epoch",
            "published",
            "best of the benchmark",
        ],
        rows=rows,
        num_heading_columns=3,
        file="benchmark.csv",
    )
