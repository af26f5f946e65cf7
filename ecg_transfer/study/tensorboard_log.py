"""A TensorBoard log folder of a whole study: readable names, curves that overlay, and a table of hyper-parameters.

It is made from `metrics.jsonl`, the record of truth, and is light: a few curves a run. The runs' own logs in their
directories have everything, and the same runs can be logged here again at any time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Set
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.summary.writer.record_writer import RecordWriter

from ecg_transfer.config import RunConfig
from ecg_transfer.curve import read_curve
from ecg_transfer.files import write_atomically
from ecg_transfer.pretext.config import pretext_name, upstream_name
from ecg_transfer.runs import SCORE_NAMES, Run
from ecg_transfer.study.results import METRICS
from ecg_transfer.study.saved_config import saved_config

EVENTS = "events.out.tfevents.0.study"
"""Name of every event file: always the same, so that logging again replaces what is there."""

ROOT_PLUGIN = "experiment"
"""Folder of the event that declares the table of hyper-parameters."""


def write_tensorboard(runs: Iterable[Run], folder: Path) -> dict[str, Run]:
    """Log finished runs, a folder a run: `ptb/resnet1d18/finetune from cpsc2018/seed 0` beside `.../scratch/seed 0`.

    What was logged here before and is not any more, or has another name now, is removed. Filtering by
    `ptb/resnet1d18/.*seed 0` overlays a pair. Curves: `train/loss` and, of validation and test, the
    scores of `results.METRICS`, by epoch. Table: hyper-parameters and the final test scores.

    Args:
        runs: Unfinished ones are left out.
        folder: For `tensorboard --logdir`.

    Returns:
        The runs by their names in TensorBoard.
    """
    finished = [run for run in runs if run.is_done]
    configs = [saved_config(run) for run in finished]
    manifests = [run.manifest for run in finished]
    names = unique_names([readable_name(c, m) for c, m in zip(configs, manifests, strict=True)], finished)
    for name, run, config, manifest in zip(names, finished, configs, manifests, strict=True):
        _write_run(folder / name, run, config, manifest)
    _write_events(folder / ROOT_PLUGIN, [Event(wall_time=0, summary=_table_columns())])
    _remove_all_but({ROOT_PLUGIN, *names}, folder)
    return dict(zip(names, finished, strict=True))


def _remove_all_but(names: Set[str], folder: Path) -> None:
    """Remove the event files of other runs than these, and folders that are empty then; nothing that is not ours."""
    kept = {folder / name / EVENTS for name in names}
    for path in sorted(folder.rglob(EVENTS)):
        if path in kept:
            continue
        path.unlink(missing_ok=True)
        for parent in path.parents[: len(path.relative_to(folder).parts) - 1]:
            with suppress(OSError):  # it is not empty
                parent.rmdir()


def readable_name(config: RunConfig, manifest: Mapping[str, Any]) -> str:
    """A run's name in TensorBoard, with what differs from the recipe's usual: real or simulated, size.

    Args:
        config: The run's.
        manifest: The run's.
    """
    pretrain = "pretrain" if config.is_supervised else f"pretrain {pretext_name(config.pretext)}"
    starts = {"finetune": f"finetune from {_upstream(manifest)}", "scratch": "scratch", "pretrain": pretrain}
    corpus = config.data.corpus + (" SIMULATED" if manifest["data"]["simulated"] else "")
    parts = [corpus, config.model.backbone.replace("/", "-").replace(":", "."), starts[config.phase]]
    if config.recipe != "paper":
        parts.append(config.recipe)
    if config.data.subset is not None:
        parts.append(f"n={manifest['data']['parts']['train']['records']}")
    seeds = f"seed {config.seed}" + (f" subset {config.data.subset_seed}" if config.data.subset_seed else "")
    return "/".join([*parts, seeds])


def unique_names(names: list[str], runs: list[Run]) -> list[str]:
    """Names, each run's digest appended where several would have one name: they differ in further fields."""
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} ({run.name.rpartition('-')[2]})"
        for name, run in zip(names, runs, strict=True)
    ]


def _write_run(folder: Path, run: Run, config: RunConfig, manifest: Mapping[str, Any]) -> None:
    start = datetime.fromisoformat(manifest["attempts"][0]["started"]).timestamp()
    curve = read_curve(run.checked("metrics.jsonl"))
    events = [Event(wall_time=start, summary=hparams.hparams_pb(_hyper_parameters(config, manifest), run.name, start))]
    for record in curve:
        values = {"train/loss": record["train"]["loss"], "lr": record.get("lr")}
        watched = METRICS if config.is_supervised else tuple(record["val"])
        values |= {f"{part}/{name}": record[part].get(name) for part in ("val", "test") for name in watched}
        events.append(_scalars(values, record["epoch"] + 1, start + record["seconds"]))
    if curve and config.is_supervised:
        results = run.results
        final = {f"final/{score}/{name}": results[score]["test"].get(name) for score in SCORE_NAMES for name in METRICS}
        events.append(_scalars(final, curve[-1]["epoch"] + 1, start + curve[-1]["seconds"]))
    _write_events(folder, events)


def _hyper_parameters(config: RunConfig, manifest: Mapping[str, Any]) -> dict[str, Any]:
    data, upstream = manifest["data"], manifest["upstream"] or {}
    return {
        "downstream": config.data.corpus,
        "upstream": _upstream(manifest),
        "start": config.phase,
        "backbone": config.model.backbone,
        "recipe": config.recipe,
        "lr": float(config.optim.lr),
        "batch_size": int(config.optim.batch_size),
        "train_records": int(data["parts"]["train"]["records"]),
        "seed": int(config.seed),
        "ECGs": "SIMULATED" if data["simulated"] or upstream.get("simulated") else "real",
    }


def _upstream(manifest: Mapping[str, Any]) -> str:
    upstream = manifest["upstream"]
    return upstream_name(str(upstream["corpus"]), upstream.get("pretext", "none")) if upstream else "none"


def _table_columns() -> Summary:
    """What the table of hyper-parameters shows, in this order."""
    fields = (
        "start", "downstream", "upstream", "backbone", "recipe", "lr", "batch_size", "train_records", "seed", "ECGs",
    )  # fmt: skip
    metrics = [
        hparams.Metric(f"final/{score}/{name}", display_name=f"{name} {score.replace('_', ' ')}")
        for score in SCORE_NAMES
        for name in METRICS
    ]
    summary: Summary = hparams.hparams_config_pb([hparams.HParam(name) for name in fields], metrics)
    return summary


def _scalars(values: Mapping[str, float | None], step: int, when: float) -> Event:
    known = {tag: value for tag, value in values.items() if value is not None}
    entries = [Summary.Value(tag=tag, simple_value=value) for tag, value in known.items()]
    return Event(wall_time=when, step=step, summary=Summary(value=entries))


def _write_events(folder: Path, events: list[Event]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with write_atomically(folder / EVENTS) as stream:
        writer = RecordWriter(stream)
        writer.write(Event(wall_time=events[0].wall_time, file_version="brain.Event:2").SerializeToString())
        for event in events:
            writer.write(event.SerializeToString())
