"""The last epoch is evaluated, also where it is no multiple of the epochs between two evaluations."""

from __future__ import annotations

import pytorch_lightning as pl


class EvaluateLast(pl.Callback):
    """Have Lightning evaluate after the last epoch; its own option knows multiples alone."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A resumed training may begin in the midst of it."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Every epoch is a multiple of one."""
        if trainer.current_epoch + 1 == trainer.max_epochs:
            trainer.check_val_every_n_epoch = 1
