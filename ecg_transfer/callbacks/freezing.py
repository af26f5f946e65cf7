"""What is not trained in an epoch, found anew at the start of each: there is no state that a resumed run could lose."""

from __future__ import annotations

import pytorch_lightning as pl

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import TransferConfig
from ecg_transfer.ways import kept_in_evaluation, num_frozen_stages, stage_parameters


class Freezing(pl.Callback):
    """Freeze stages and BatchNorm as the way asks for in each epoch.

    Frozen weights get no gradient. Where all of a backbone's are frozen nothing is recorded for backpropagation, so
    that a linear probe costs forward passes alone.

    Args:
        transfer: The way.
    """

    def __init__(self, transfer: TransferConfig) -> None:
        self._transfer = transfer

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Set what this epoch trains."""
        assert isinstance(pl_module, ECGClassifier)
        assert trainer.max_epochs is not None
        stages = stage_parameters(pl_module.backbone)
        num_frozen = num_frozen_stages(self._transfer, trainer.current_epoch, trainer.max_epochs, len(stages))
        for place, stage in enumerate(stages):
            for parameter in stage:
                parameter.requires_grad_(place >= num_frozen)
        pl_module.kept_in_evaluation = kept_in_evaluation(pl_module.backbone, self._transfer, num_frozen)
        pl_module.train()
