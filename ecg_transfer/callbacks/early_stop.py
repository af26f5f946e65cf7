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
    """

    def __init__(self, monitor: str, patience: int, mode: Literal["max", "min"] = "max") -> None:
        super().__init__(f"val/{monitor}", mode=mode, patience=patience, check_on_train_epoch_end=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End at once where the state that was loaded is that of a training which had ended."""
        if self.stopped_epoch:
            trainer.should_stop = True
