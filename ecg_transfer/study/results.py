"""Tidy tables of finished runs: one row a run, one row a (run, label), one row an (run, epoch)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, get_args

import pandas as pd

from data_modules.forked import forked_map
from ecg_transfer.comparison import pair_key
from ecg_transfer.config import Monitor, RunConfig
from ecg_transfer.curve import read_curve, time_to_targets
from ecg_transfer.files import write_atomically
from ecg_transfer.pretext.config import pretext_name, upstream_name
from ecg_transfer.runs import SCORE_NAMES, Run
from ecg_transfer.study.likeness import likenesses
from ecg_transfer.study.saved_config import saved_config
from ecg_transfer.study.upstream_cells import with_upstream_cells
from ecg_transfer.way_names import schedule_name, way_name

METRICS = ("f1_weighted", "f1_macro", "auroc_macro", "ap_macro")
"""Test scores of the results table, each as `<score name>/<metric>`: the paper's weighted F1 at a threshold of 0.5, the
macro F1 that counts a label without positives as 0, and means of AUROC and average precision over the labels for which
they are defined (see `ecg_transfer.metrics.AGGREGATES`)."""

TUNED = ("f1_weighted", "f1_macro")
"""Scores that depend on a threshold, also given as `<score name>/tuned/<metric>` at thresholds tuned on validation."""

MONITORS: tuple[str, ...] = get_args(Monitor)
"""Scores by which runs may be chosen, also given as `<score name>/val/<metric>`."""

PARALLEL_FROM = 1000
"""Runs from which workers are worth their start."""

EPOCH_METRICS = tuple(f"{part}/{metric}" for part in ("val", "test") for metric in METRICS)
"""Scores of the table of epochs."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """The finished runs of a study as tidy tables."""

    results: pd.DataFrame
    """One row a run; see `results_table`."""
    labels: pd.DataFrame
    """One row a (run, label): positives in training and test, test scores of the epoch chosen on validation, and
    `zero_shot/f1` and `zero_shot/auroc` of the upstream's own head, NaN where it does not know the label."""
    curves: pd.DataFrame
    """One row an (run, epoch): `run`, `epoch` from 1, `updates` and `seconds` from the start, and `EPOCH_METRICS`."""

    def where(self, **values: object) -> Study:
        """The runs whose columns have these values, `recipe="paper"` say, and the pre-trainings of all kinds."""
        wanted = pd.Series(data=True, index=self.results.index)
        for column, value in values.items():
            wanted &= self.results[column] == value
        results = self.results[wanted | (self.results["phase"] == "pretrain")]
        names = set(results["run"])
        return Study(
            results=results,
            labels=self.labels[self.labels["run"].isin(names)],
            curves=self.curves[self.curves["run"].isin(names)],
        )


def read_study(runs: Iterable[Run]) -> Study:
    """Read finished runs; those that are not done are left out.

    A run costs some milliseconds: five small files are read, no model and no predictions.

    Args:
        runs: `find_runs(output)` say.

    Raises:
        RunChangedError: A file of one is not what it was when the run finished.
    """
    rows: list[dict[str, Any]] = []
    labels: list[dict[str, Any]] = []
    epochs: dict[str, list[Any]] = {name: [] for name in ("run", "epoch", "updates", "seconds", *EPOCH_METRICS)}
    for read in forked_map(_read_run, list(runs), at_least=PARALLEL_FROM, chunk=64):
        if read is not None:
            rows.append(read[0])
            labels += read[1]
            for name, values in read[2].items():
                epochs[name] += values
    results = with_upstream_cells(pd.DataFrame(rows))
    return Study(results=results, labels=pd.DataFrame(labels), curves=pd.DataFrame(epochs))


def results_table(runs: Iterable[Run]) -> pd.DataFrame:
    """One row a finished run.

    Columns:
        run, path, phase, upstream (None, a corpus, `ptbxl, contrastive` where it learnt without labels, `ptbxl, labels
        all` where it learnt a label set that was asked for, or `ptbxl, paper recipe` where it was trained by another
        recipe than the fine-tuning), upstream_kind (what that tells behind the corpus), pretext (of a pre-training, or
        of a fine-tuning's upstream; `none` is labels), upstream_run, upstream_recipe, upstream_cell, upstream_mark
        (what tells two of them apart whose `upstream` is the same, else empty), upstream_kin (equal for upstreams that
        differ in the pretext and seeds alone), upstream_rivals (equal for those that also differ in the label set, the
        recipe and how they were trained), downstream, label_set (as asked), backbone, recipe, lr, batch_size,
        num_epochs, updates, seed, subset (as asked for; NaN is all), subset_seed, sampling_rate (Hz),
        num_samples (of a signal), num_train, num_val, num_test, simulated (also where only the upstream is), precision,
        seconds, records_per_second;
        for each of `SCORE_NAMES`: `<name>/epoch` from 1, `<name>/<metric>` of `METRICS`, `<name>/tuned/<metric>` of
        `TUNED`, `<name>/val/<metric>` of `MONITORS`; `monitor`, `optimism`; `epochs_to_90`, `updates_to_90`,
        `seconds_to_90` and those to 95 and 99 % of the run's own best validation score;
        way and schedule in words, data (the digest of its records), contest (equal for runs that differ in start, way,
        learning rate, schedule and seeds alone: each way at its best rate is compared with scratch at its own);
        pair_key (equal for a fine-tuning and its training from scratch), cell (equal for runs that differ in start
        and seeds alone), series (equal for cells that also differ in the subset), setting (equal for runs that also
        differ in corpus and backbone: one recipe, learning rate, budget and so on).
    """
    return read_study(runs).results


def write_results(table: pd.DataFrame, path: Path) -> list[Path]:
    """Write a table as CSV, and as Parquet beside it where pyarrow is installed.

    Args:
        table: Any table.
        path: Of the CSV file.

    Returns:
        The files written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        stream.write(table.to_csv(index=False).encode())
    if find_spec("pyarrow") is None:
        return [path]
    with write_atomically(path.with_suffix(".parquet")) as stream:
        table.to_parquet(stream, index=False)
    return [path, path.with_suffix(".parquet")]


def _row(run: Run, config: RunConfig, curve: list[dict[str, Any]]) -> dict[str, Any]:
    data, upstream = run.manifest["data"], run.manifest["upstream"] or {}
    return {
        "run": run.name,
        "path": str(run.path),
        "phase": config.phase,
        "upstream": upstream_name(upstream["corpus"], upstream.get("pretext", "none")) if upstream else None,
        "pretext": upstream.get("pretext", "none") if upstream else pretext_name(config.pretext),
        "upstream_run": upstream.get("run"),
        "downstream": config.data.corpus,
        "label_set": config.data.label_set,
        "backbone": config.model.backbone,
        "recipe": config.recipe,
        "lr": config.optim.lr,
        "batch_size": config.optim.batch_size,
        "num_epochs": curve[-1]["epoch"] + 1 if curve else 0,
        "updates": curve[-1]["updates"] if curve else 0,
        "seed": config.seed,
        "subset": float("nan") if config.data.subset is None else float(config.data.subset),
        "subset_seed": config.data.subset_seed,
        "sampling_rate": config.data.sampling_rate,
        "num_samples": config.data.num_samples,
        **{f"num_{part}": data["parts"][part]["records"] for part in ("train", "val", "test")},
        "simulated": bool(data["simulated"] or upstream.get("simulated", False)),
        "precision": str(config.trainer.precision),
        "seconds": curve[-1]["seconds"] if curve else 0.0,
        "records_per_second": median(record["records_per_second"] for record in curve) if curve else 0.0,
        **_score_columns(run.results, supervised=config.is_supervised),
        **(_time_columns(curve, config.monitor) if config.is_supervised else {}),
        "monitor": config.selection[0],
        "way": way_name(config.transfer),
        "schedule": schedule_name(config.optim),
        "data": data["digest"],
        "pair_key": pair_key(config, data["digest"]),
        **likenesses(config, simulated=bool(data["simulated"])),
    }


def _score_columns(scores: dict[str, Any], *, supervised: bool) -> dict[str, Any]:
    """A run without labels has none of these scores: they are NaN."""
    columns: dict[str, Any] = {}
    nothing: dict[str, dict[str, Any]] = {part: {} for part in ("test", "test_tuned", "val")}
    for name in SCORE_NAMES:
        content = scores[name] if supervised else nothing | {"epoch": scores.get(name, {}).get("epoch", float("nan"))}
        columns[f"{name}/epoch"] = content["epoch"] + 1
        columns |= {f"{name}/{metric}": _number(content["test"].get(metric)) for metric in METRICS}
        columns |= {f"{name}/tuned/{metric}": _number(content["test_tuned"].get(metric)) for metric in TUNED}
        columns |= {f"{name}/val/{metric}": _number(content["val"].get(metric)) for metric in MONITORS}
    columns["optimism"] = scores["optimism"] if supervised else float("nan")
    return columns


def _time_columns(curve: list[dict[str, Any]], monitor: str) -> dict[str, float]:
    return {
        f"{unit}_to_{share.rstrip('%')}": reached[unit]
        for share, reached in time_to_targets(curve, "val", monitor).items()
        for unit in ("epochs", "updates", "seconds")
    }


def _label_rows(run: Run) -> list[dict[str, Any]]:
    per_class = run.results["val_selected"]["test"]["per_class"]
    tuned = run.results["val_selected"]["test_tuned"]["per_class"]
    train = run.manifest["data"]["parts"]["train"]["positives"]
    before = run.results.get("zero_shot", {"test": {"per_class": {}}})["test"]["per_class"]
    numbers = ("precision", "recall", "f1", "auroc", "average_precision")
    return [
        {
            "run": run.name,
            "label": label,
            "positives_train": train.get(label),
            "positives_test": int(values["num_positives"]),
            **{name: _number(values[name]) for name in numbers},
            "tuned/threshold": _number(tuned[label]["thresholds"]),
            "tuned/f1": _number(tuned[label]["f1"]),
            **{f"zero_shot/{name}": _number(before.get(label, {}).get(name)) for name in ("f1", "auroc")},
        }
        for label, values in per_class.items()
    ]


def _read_run(run: Run) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, list[Any]]] | None:
    """A run's row, its labels' rows, and its epochs by column; None where it is not finished."""
    if not run.is_done:
        return None
    config, curve = saved_config(run), read_curve(run.checked("metrics.jsonl"))
    labels = _label_rows(run) if config.is_supervised else []
    return _row(run, config, curve), labels, _epochs(run.name, curve)


def _epochs(name: str, curve: list[dict[str, Any]]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "run": [name] * len(curve),
        "epoch": [record["epoch"] + 1 for record in curve],
        "updates": [record["updates"] for record in curve],
        "seconds": [record["seconds"] for record in curve],
    }
    for metric in EPOCH_METRICS:
        part, _, score = metric.partition("/")
        values = [record.get(part, {}).get(score) for record in curve]
        columns[metric] = [float("nan") if value is None else value for value in values]
    return columns


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
