"""A loss or a gradient that is no number stops the run, with the records that made it, before it is kept anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from data_modules.batches import Batch

CHECK_EVERY = 50
"""Updates between two checks on a GPU, where each check waits for the device; on a CPU every update is checked."""


class LossNotFiniteError(ArithmeticError):
    """The training loss, its gradient or the weights became NaN or infinite."""


class FiniteLoss(pl.Callback):
    """Watch the loss and the gradient of every update, and the weights and statistics of every epoch.

    On a CPU a bad update is never made: the check comes between backward pass and optimizer. On a GPU up to
    `CHECK_EVERY` updates may follow a bad one, but no epoch is evaluated and no checkpoint written after it. Gradients
    are looked at after the processes have joined them, so that all processes of a run stop at the same update.

    Args:
        record_id: Gives a record's id by its row number.
    """

    def __init__(self, record_id: Callable[[int], str]) -> None:
        self._record_id = record_id
        self._rows = torch.empty(0, dtype=torch.int64)
        self._loss = torch.zeros(())
        self._pending: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """Note which records come."""
        self._rows = batch["index"]

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Note their loss."""
        self._loss = loss.detach()

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Note how large the gradient is, and look at what was noted: now on a CPU, now and then on a GPU.

        Raises:
            LossNotFiniteError: A loss or a gradient is no number.
        """
        gradients = [weight.grad for weight in pl_module.parameters() if weight.grad is not None]
        norm = get_total_norm(gradients).to(self._loss.dtype)
        self._pending.append((torch.stack([self._loss, norm]), self._rows))
        if pl_module.device.type == "cpu" or len(self._pending) >= CHECK_EVERY:
            self._check(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the rest before anything of this epoch is scored."""
        self._check(trainer)
        self._check_state(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the rest before the epoch is kept, in epochs that are not evaluated, too."""
        self._check(trainer)
        self._check_state(trainer, pl_module)

    def _check(self, trainer: pl.Trainer) -> None:
        pending, self._pending = self._pending, []
        if not pending or bool(torch.isfinite(torch.stack([values for values, _ in pending])).all()):
            return
        values, rows = next((values, rows) for values, rows in pending if not torch.isfinite(values).all())
        loss, norm = values.tolist()
        what = f"the training loss is {loss}"
        if torch.isfinite(values[0]):
            what = f"the gradient's norm is {norm} (the training loss {loss:.4g})"
        raise LossNotFiniteError(
            f"{what} in epoch {trainer.current_epoch} for the records "
            f"{_shortened([self._record_id(row) for row in rows.tolist()])}; a lower optim.lr or "
            "optim.gradient_clip=1 mends what diverges"
        )

    def _check_state(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse weights and running statistics that are no numbers: they can be so while every loss was one."""
        tensors = {name: value for name, value in pl_module.state_dict().items() if value.is_floating_point()}
        if bool(torch.isfinite(torch.stack([value.sum() for value in tensors.values()])).all()):
            return
        wrong = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
        if wrong:
            kept = "; the epoch before is kept" if trainer.current_epoch else ""
            raise LossNotFiniteError(
                f"after epoch {trainer.current_epoch} the model holds NaN or infinity, in "
                f"{_shortened(wrong, 'tensors')}{kept}. A lower optim.lr mends what diverges"
            )


def _shortened(names: Sequence[str], rest: str = "more of that batch") -> str:
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} {rest}"
