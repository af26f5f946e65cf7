"""The convergence curve of a run: one record an epoch, and how soon it was good."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TARGETS = (0.90, 0.95, 0.99)
"""Shares of the best score whose first epoch is told."""


def read_curve(path: Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`, by epoch.

    An epoch that was done again after an interruption counts once, as it was last written; a line that a kill tore is
    left out.

    Args:
        path: The file; where there is none the curve is empty.
    """
    by_epoch: dict[int, dict[str, Any]] = {}
    if path.exists():
        for line in path.read_bytes().splitlines():
            try:
                record = json.loads(line)
                epoch = record["epoch"]
            except (ValueError, KeyError, TypeError, RecursionError):
                continue
            if isinstance(epoch, int) and epoch >= 0:
                by_epoch[epoch] = record
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def time_to_targets(curve: Sequence[dict[str, Any]], part: str, monitor: str) -> dict[str, dict[str, float]]:
    """When a run first reached given shares of its own best score.

    Args:
        curve: As `read_curve` gives it.
        part: `val` or `test`.
        monitor: Name of the score.

    Returns:
        For each share of `TARGETS`, by its percentage: `score`, `epochs`, `updates` and `seconds`, all counted from
        the start of the training. Empty for an empty curve, and for a run that never scored more than 0: any share of
        that is there at once, and says nothing.
    """
    scores = [float(record[part][monitor]) for record in curve]
    if not max(scores, default=0.0) > 0:
        return {}
    reached = {}
    for share in TARGETS:
        target = share * max(scores)
        record = next(record for record, value in zip(curve, scores, strict=True) if value >= target)
        reached[f"{share:.0%}"] = {
            "score": target,
            "epochs": record["epoch"] + 1,
            "updates": record["updates"],
            "seconds": record["seconds"],
        }
    return reached


def summarise_pretext(curve: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of `scores.json` of a run without labels: its numbers at the epoch with the least loss, and the last.

    Args:
        curve: Of the run, as `read_curve` gives it.
    """
    best = min(curve, key=lambda record: float(record["val"]["loss"]))
    chosen = {"val_selected": best, "last_epoch": curve[-1]}
    return {"monitor": "loss", "label_names": []} | {
        name: {"epoch": record["epoch"], **{part: record[part] for part in ("val", "test")}}
        for name, record in chosen.items()
    }
