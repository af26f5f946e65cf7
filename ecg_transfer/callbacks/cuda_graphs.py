"""Trains the backbone by CUDA graphs while a fit lasts."""

from __future__ import annotations

import pytorch_lightning as pl

from ecg_transfer.cuda_graphs import RecordedForward
from ecg_transfer.learner import Learner


class CudaGraphs(pl.Callback):
    """Lets a backbone on a GPU record its training steps (see `ecg_transfer.cuda_graphs`); does nothing elsewhere."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the recording in the place of the backbone's `forward`."""
        assert isinstance(pl_module, Learner)
        if pl_module.device.type != "cuda":
            return
        pl_module.backbone.forward = RecordedForward(pl_module.backbone)  # type: ignore[method-assign]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the backbone its own `forward` back, and the graphs' memory."""
        self._remove(pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """The same, after a failure."""
        self._remove(pl_module)

    def _remove(self, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Learner)
        vars(pl_module.backbone).pop("forward", None)
