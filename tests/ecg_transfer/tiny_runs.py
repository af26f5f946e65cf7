"""Runs of a tiny network on small simulated corpora, and whether two of them are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.utils.deterministic
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ecg_transfer as et
from ecg_transfer.curve import read_curve
from ecg_transfer.runs import Run
from tests.ecg_transfer.tiny_backbone import NAME

TINY = NAME

REPOSITORY = Path(__file__).resolve().parents[2]


def settings(data: Path, **more: object) -> dict[str, object]:
    small = {"data.root": str(data), "data.num_simulated": 90, "optim.max_epochs": 3, "optim.batch_size": 16}
    small |= {"optim.min_updates": 0, "optim.lr": 0.003, "trainer.accelerator": "cpu", "trainer.checkpoint_seconds": 0}
    return small | more


def scratch(data: Path, output: Path, **more: object) -> Run:
    return et.train_from_scratch(
        "cpsc2018", backbone=TINY, recipe="modern", overrides=settings(data, **more), output=output
    )


def timeless(run: Run) -> list[dict[str, Any]]:
    times = ("seconds", "train_seconds", "records_per_second")
    return [
        {name: value for name, value in record.items() if name not in times}
        for record in read_curve(run.path / "metrics.jsonl")
    ]


def drawn(run: Run) -> list[tuple[int, float]]:
    """A curve as TensorBoard shows it: (epoch, score)."""
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("val/f1_weighted")]


def same_weights(one: Run, other: Run) -> bool:
    ours, theirs = (run.model().state_dict() for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def same_predictions(one: Run, other: Run) -> bool:
    ours, theirs = one.predictions, other.predictions
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name].logits, theirs[name].logits)
        and np.array_equal(ours[name].record_ids, theirs[name].record_ids)
        for name in ours
    )


def console(*arguments: str, data: Path, output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, in a process of its own."""
    command = [sys.executable, "-m", "ecg_transfer", *arguments, "--output", str(output)]
    surroundings = os.environ | {"ECG_DATA_ROOT": str(data), "PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=output, check=False)
