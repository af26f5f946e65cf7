"""A loss that is no number stops the run, with the records that made it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from data_modules.batches import Batch

CHECK_EVERY = 50
"""Updates between two checks on a GPU, where each check waits for the device; on a CPU every update is checked."""


class LossNotFiniteError(ArithmeticError):
    """The training loss became NaN or infinite."""


class FiniteLoss(pl.Callback):
    """Watch the loss of every update.

    Args:
        record_id: Gives a record's id by its row number.
    """

    def __init__(self, record_id: Callable[[int], str]) -> None:
        self._record_id = record_id
        self._pending: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Note a batch's loss, and look at the noted ones now and then.

        Raises:
            LossNotFiniteError: One of them is no number.
        """
        self._pending.append((outputs["loss"].detach(), batch["index"]))
        if pl_module.device.type == "cpu" or len(self._pending) >= CHECK_EVERY:
            self._check(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the rest before anything of this epoch is scored or kept."""
        self._check(trainer)

    def _check(self, trainer: pl.Trainer) -> None:
        pending, self._pending = self._pending, []
        if not pending or bool(torch.isfinite(torch.stack([loss for loss, _ in pending])).all()):
            return
        loss, rows = next((loss, rows) for loss, rows in pending if not torch.isfinite(loss))
        raise LossNotFiniteError(
            f"the training loss is {float(loss)} in epoch {trainer.current_epoch} for the records "
            f"{_shortened([self._record_id(row) for row in rows.tolist()])}; a lower optim.lr or "
            "optim.gradient_clip=1 mends what diverges"
        )


def _shortened(record_ids: Sequence[str]) -> str:
    shown = ", ".join(record_ids[:8])
    return shown if len(record_ids) <= 8 else f"{shown} and {len(record_ids) - 8} more of that batch"
