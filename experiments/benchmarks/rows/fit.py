"""What `fit` with every callback and logger costs over a bare loop on the same tensors."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from data_modules.batches import Batch
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.optim import configure
from experiments.benchmarks.fitting import fit
from experiments.benchmarks.noise_corpus import noise_data
from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row

GOAL = 3.0
"""%."""
TRAIN_BATCHES, EVALUATED_BATCHES = 17, 12
"""Of 256 records in an epoch of CPSC2018 (6,877 records, 60 % of them to train on)."""


class _Twin(pl.Callback):
    """Runs the bare loop between Lightning's steps, so that each of its steps has one of ours beside it.

    From the end of a bare step to the start of the next one, Lightning does all that it does for one step: fetch a
    batch, move it, compute, call back, log.
    """

    def __init__(self) -> None:
        self.bare: list[float] = []
        """Seconds of the bare steps."""
        self.whole: list[float] = []
        """Seconds of Lightning's step after each; NaN where an epoch ended."""
        self.evaluation: list[float] = []
        """Seconds of an evaluation in the bare loop."""
        self.epoch_ends: list[float] = []
        """Seconds from the last bare step of an epoch to the next epoch's first."""
        self._ended: float | None = None
        self._epoch = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy the model, and gather what is evaluated."""
        assert isinstance(pl_module, ECGClassifier)
        self._model = copy.deepcopy(pl_module)
        self._optimizer = configure(self._model.parameters(), pl_module.optim, 1)["optimizer"]
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._evaluated = [batch for loader in data.val_dataloader() for batch in loader]

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Make the bare step on the batch at hand."""
        waited = time.perf_counter() - self._ended if self._ended is not None else None
        if waited is not None and trainer.current_epoch != self._epoch:
            self.epoch_ends.append(waited)
            self._evaluate()
        elif waited is not None:
            self.whole.append(waited)
        self._epoch = trainer.current_epoch
        started = time.perf_counter()
        self._step(batch)
        self._ended = time.perf_counter()
        self.bare.append(self._ended - started)

    def _step(self, batch: Batch) -> None:
        torch.use_deterministic_algorithms(False)
        self._model.train()
        loss = binary_cross_entropy_with_logits(self._model(batch["signal"]), batch["label"])
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        loss.item()
        torch.use_deterministic_algorithms(True)

    def _evaluate(self) -> None:
        torch.use_deterministic_algorithms(False)
        self._model.eval()
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in self._evaluated:
                self._model(batch["signal"])
        self.evaluation.append(time.perf_counter() - started)
        torch.use_deterministic_algorithms(True)


def measure(block: str, options: Options) -> list[Row]:
    """The overhead of a step, of the end of an epoch, and of a whole epoch of CPSC2018's size; ResNet1d-18, batch 256.

    Args:
        block: Not used.
        options: See there.
    """
    folder = Path(options.scratch)
    batch_size, num_batches, max_epochs = (64, 4, 3) if options.quick else (256, 8, 6)
    num_train = num_batches * batch_size  # whole batches alone, so that all steps are alike
    data = noise_data(folder, round(num_train / 0.58), batch_size=batch_size, subset=num_train)
    twin = _Twin()
    fit(folder / "run", data, "resnet1d18", max_epochs, first=[twin])
    return _rows(twin, num_batches, len(twin._evaluated), f"ResNet1d-18, batch {batch_size}")


def _rows(twin: _Twin, num_batches: int, num_evaluated: int, title: str) -> list[Row]:
    bare = np.array(twin.bare).reshape(-1, num_batches)
    whole = np.array(twin.whole).reshape(len(bare), num_batches - 1)
    beside = (bare[:, :-1] + bare[:, 1:]) / 2  # of the bare steps before and after: what drifts hits both sides
    steps = (whole / beside - 1)[1:]  # the first epoch warms up
    step, evaluation = float(np.median(bare[1:])), float(np.median(twin.evaluation))
    ends = np.array(twin.epoch_ends) - np.median(whole[1:]) - evaluation
    of_an_epoch = TRAIN_BATCHES * step + EVALUATED_BATCHES * evaluation / num_evaluated
    extra = TRAIN_BATCHES * np.median(steps, axis=1) * step + ends
    return [
        Row(
            group="fit",
            name=f"{title}: a step over the bare loop's",
            unit="%",
            repeats=tuple(100 * steps.ravel()),
            better="lower",
            note=f"a bare step takes {1e3 * step:,.0f} ms",
        ),
        Row(
            group="fit",
            name=f"{title}: end of an epoch (scores, files, logs) over the bare evaluation",
            unit="ms",
            repeats=tuple(1e3 * ends),
            better="lower",
            note=f"a bare evaluation of {num_evaluated} batches takes {1e3 * evaluation:,.0f} ms",
        ),
        Row(
            group="fit",
            name=f"{title}: an epoch of CPSC2018's size over the bare loop",
            unit="%",
            repeats=tuple(100 * extra / of_an_epoch),
            goal=GOAL,
            better="lower",
            note=f"{TRAIN_BATCHES} steps and {EVALUATED_BATCHES} evaluated batches; each epoch's own steps and end",
        ),
    ]
