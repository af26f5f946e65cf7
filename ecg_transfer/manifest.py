"""A run's manifest: what it is made of, and what was found before it began."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import torch

from data_modules.datamodule import ECGDataModule
from ecg_transfer.checks import checks
from ecg_transfer.learner import Learner
from ecg_transfer.provenance import provenance
from ecg_transfer.resolve import Resolved
from ecg_transfer.upstream import RecordsOverlapWarning


def describe(
    resolved: Resolved,
    datamodule: ECGDataModule,
    learner: Learner,
    num_loaded: int,
    shared: dict[str, str],
    num_epochs: int,
    updates_per_epoch: int,
) -> dict[str, Any]:
    """What `manifest.json` holds when an attempt begins.

    Args:
        resolved: The run and its upstream.
        datamodule: Set up.
        learner: With the upstream's weights.
        num_loaded: Numbers that came from them.
        shared: Head rows that came from them, own label -> upstream's.
        num_epochs: Of the whole training.
        updates_per_epoch: With all its devices.
    """
    before = resolved.run.attempts
    upstream = resolved.upstream
    return {
        "run": resolved.run.name,
        "config_digest": resolved.config.digest(),
        "data": datamodule.summary(),
        "model": {
            "backbone_parameters": (in_backbone := sum(value.numel() for value in learner.backbone.parameters())),
            "head_parameters": sum(value.numel() for value in learner.parameters()) - in_backbone,
            "numbers_from_upstream": num_loaded,
            "head_rows_from_upstream": shared,
        },
        "upstream": None
        if upstream is None
        else upstream.as_dict() | {"evaluated_records_in_its_training": _overlap(resolved, datamodule)},
        "checks": checks(resolved, datamodule),
        "num_epochs": num_epochs,
        "updates_per_epoch": updates_per_epoch,
        "seeds": {
            "run": resolved.config.seed,
            "split": resolved.config.data.split_seed,
            "subset": resolved.config.data.subset_seed,
        },
        **provenance(),
        "attempts": [*before, {"started": now(), "threads": torch.get_num_threads()}],
    }


def _overlap(resolved: Resolved, data: ECGDataModule) -> dict[str, int] | None:
    """Evaluated recordings that the upstream was trained on, with a warning where there are some."""
    upstream = resolved.upstream
    overlap = upstream.overlap(data) if upstream is not None else None
    if upstream is not None and overlap is not None and any(overlap.values()):
        counts = " and ".join(f"{count} of {len(data.rows[part])} {part}" for part, count in overlap.items())
        warnings.warn(
            f"{counts} records of {data.corpus.spec.name} are exact copies of ones that {upstream.name} was trained "
            "on: scores on them are no scores on new patients",
            RecordsOverlapWarning,
            stacklevel=2,
        )
    return overlap


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
