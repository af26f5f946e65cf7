"""One record an epoch, in `metrics.jsonl` (the record of truth) and as TensorBoard curves (a view of it)."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from data_modules.batches import Batch
from ecg_transfer.curve import read_curve
from ecg_transfer.learner import Learner
from ecg_transfer.ways import LR_FACTOR


class Convergence(pl.Callback):
    """Write what every epoch cost and brought; its `lr` is that of its last update.

    Seconds go on counting where an interrupted run left off; time between two attempts is not counted.

    Args:
        path: The `metrics.jsonl`; it is only ever appended to. The last line of an epoch counts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0.0
        self._started = 0.0
        self._train_started = 0.0
        self._train_seconds = 0.0
        self._rate = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Find out how long earlier attempts took, up to the epoch that is resumed from.

        Not in `on_fit_start`, where Lightning has not yet restored which epoch that is.
        """
        done = [record for record in read_curve(self._path) if record["epoch"] < trainer.current_epoch]
        self._before = float(done[-1]["seconds"]) if done else 0.0
        self._started = time.perf_counter()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock of the training part of an epoch."""
        self._train_started = time.perf_counter()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Note the rate of the update that comes: after it a schedule has gone on to the next one's."""
        self._rate = _base_rate(trainer.optimizers[0].param_groups[0])

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop it: evaluation follows."""
        self._train_seconds = time.perf_counter() - self._train_started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append the epoch's record."""
        if not (trainer.is_global_zero and isinstance(pl_module, Learner) and pl_module.was_evaluated):
            return
        record = self._record(trainer, pl_module)
        _append(self._path, record)
        for logger in trainer.loggers:
            logger.log_metrics(points_of(record), step=trainer.current_epoch)

    def _record(self, trainer: pl.Trainer, learner: Learner) -> dict[str, Any]:
        record: dict[str, Any] = {
            "epoch": trainer.current_epoch,
            "updates": trainer.global_step,
            "seconds": round(self._before + time.perf_counter() - self._started, 3),
            "train_seconds": round(self._train_seconds, 3),
            "records_per_second": round(learner.num_trained * trainer.world_size / self._train_seconds, 1),
            "lr": self._rate,
            "train": learner.train_scores,
            **learner.records(),
        }
        if learner.movement:
            record["movement"] = learner.movement
        return record


def _base_rate(group: dict[str, Any]) -> float:
    """`optim.lr` under the schedule, whatever multiple of it a group of weights has: the head's, of a stage."""
    return float(group["lr"] / group.get(LR_FACTOR, 1.0))


def points_of(record: dict[str, Any]) -> dict[str, float]:
    """A record under TensorBoard's names: `val/f1_weighted`, `val/f1/<label>`, `time/seconds`."""
    flat = {f"time/{name}": record[name] for name in ("seconds", "train_seconds", "records_per_second")}
    flat |= {"optim/lr": record["lr"], "optim/updates": record["updates"]}
    for part in ("train", "val", "test", "movement"):
        for name, value in record.get(part, {}).items():
            if isinstance(value, dict):
                flat |= {f"{part}/{name}/{label}": score for label, score in value.items()}
            elif value is not None:
                flat[f"{part}/{name}"] = value
    return flat


def _append(path: Path, record: dict[str, Any]) -> None:
    """Append one line; a torn line that a kill left is closed first, so that only it is lost."""
    line = json.dumps(record).encode() + b"\n"
    with path.open("ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                line = b"\n" + line
        stream.write(line)  # without waiting for the disk: `last.ckpt` carries it
