"""Stop when validation no longer gets better; and stay stopped."""

from __future__ import annotations

from typing import Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import EarlyStopping


class EarlyStop(EarlyStopping):
    """Lightning's early stopping, which a resumed run remembers: it would train one epoch more than one never resumed.

    Args:
        monitor: Of the validation records: one of `ecg_transfer.config.Monitor`, or a loss.
        patience: Evaluations without a better score after which training ends.
        mode: Whether the best is the largest or the smallest.
        from_epoch: First epoch that counts: a training of two phases is not to end in its first.
    """

    def __init__(
        self, monitor: str, patience: int, mode: Literal["max", "min"] = "max", *, from_epoch: int = 0
    ) -> None:
        super().__init__(f"val/{monitor}", mode=mode, patience=patience, check_on_train_epoch_end=False)
        self._from_epoch = from_epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End at once where the state that was loaded is that of a training which had ended."""
        if self.stopped_epoch:
            trainer.should_stop = True

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look at the score, once it counts."""
        if trainer.current_epoch >= self._from_epoch:
            super().on_validation_end(trainer, pl_module)
