"""Whether a run that met with a fault is, bit for bit, one that never did."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ecg_transfer.curve import read_curve
from ecg_transfer.predictions import load_predictions
from ecg_transfer.runs import Run
from ecg_transfer.study.results import read_study

TIMES = ("seconds", "train_seconds", "records_per_second")
logging.getLogger("tensorboard").setLevel(logging.ERROR)  # that it drops what an interrupted attempt drew is meant
CURVES = ("train/loss", "val/f1_weighted", "test/f1_weighted")
"""Of TensorBoard's, those that are looked at."""


def differences(run: Run, whole: Run) -> list[str]:
    """In what a run differs from an uninterrupted one of the same configuration; times apart, nothing may.

    Args:
        run: What is left after the fault and the command that went on.
        whole: Never interrupted.
    """
    if not run.is_done:
        return [f"it is {run.status}"]
    if changed := run.verify():
        return [f"{name} is not what DONE vouches for" for name in changed]
    found = _of_weights(run.path / "best.ckpt", whole.path / "best.ckpt")
    found += _of_predictions(run.path / "predictions.npz", whole.path / "predictions.npz")
    if timeless(read_curve(run.path / "metrics.jsonl")) != timeless(read_curve(whole.path / "metrics.jsonl")):
        found.append("another curve")
    if timeless(run.results) != timeless(whole.results):
        found.append("other scores")
    if tensorboard(run) != tensorboard(whole):
        found.append("other TensorBoard curves")
    return found + leftovers(run, whole)


def leftovers(run: Run, whole: Run) -> list[str]:
    """What an uninterrupted run does not leave: files, claims, unfinished files."""
    names = {path.name for path in run.path.iterdir()} - {path.name for path in whole.path.iterdir()}
    beside = {path.name for path in run.path.parent.iterdir() if path.name.startswith(".")}
    return [f"left behind: {name}" for name in sorted(names | beside)]


def timeless(value: Any) -> Any:  # noqa: ANN401 - nested JSON
    """Nested JSON without what depends on the clock."""
    if isinstance(value, dict):
        return {key: timeless(entry) for key, entry in value.items() if key not in TIMES}
    return [timeless(entry) for entry in value] if isinstance(value, list) else value


def tensorboard(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Curves as TensorBoard shows them: (epoch, value)."""
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return {name: [(point.step, point.value) for point in events.Scalars(name)] for name in CURVES}


def _of_weights(found: Path, expected: Path) -> list[str]:
    ours, theirs = (torch.load(path, map_location="cpu", weights_only=True) for path in (found, expected))
    if ours["epoch"] != theirs["epoch"]:
        return [f"best.ckpt is of epoch {ours['epoch']}, not {theirs['epoch']}"]
    ours, theirs = ours["state_dict"], theirs["state_dict"]
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        return ["other weights"]
    return []


def _of_predictions(found: Path, expected: Path) -> list[str]:
    (ours, our_epochs), (theirs, their_epochs) = load_predictions(found), load_predictions(expected)
    if our_epochs != their_epochs:
        return ["predictions of other epochs"]
    same = all(
        np.array_equal(getattr(ours[name], field), value)
        for name in theirs
        for field, value in vars(theirs[name]).items()
    )
    return [] if same else ["other predictions"]


def other_tables(runs: Iterable[Run], whole: Iterable[Run]) -> list[str]:
    """Which of a study's tables are not those of an undisturbed one; columns of times and places apart."""
    ours, theirs = read_study(runs), read_study(whole)
    differing = []
    for name, expected in vars(theirs).items():
        found = getattr(ours, name)
        columns = [
            column for column in expected if column != "path" and "seconds" not in column and column not in TIMES
        ]
        if expected.empty or not found.reindex(columns=columns).equals(expected[columns]):
            differing.append(f"another table of {name}")
    return differing
