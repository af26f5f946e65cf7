"""L2-SP: weights are pulled back to where they started, not to zero."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_lightning as pl
import torch
from torch import Tensor

from ecg_transfer.classifier import ECGClassifier


class L2SP(pl.Callback):
    """Add the gradient of alpha / 2 * |w - w0|^2 + beta / 2 * |head|^2 to that of the loss.

    The penalty of Li et al. 2018 (arXiv 1802.01483), on every weight of the backbone, those of BatchNorm among them.
    It is added after the processes of a distributed run have joined their gradients and before these are clipped. The
    loss that is logged stays the cross-entropy, as in the other ways.

    Args:
        start: The backbone's state as it was pre-trained.
        alpha: Strength on the backbone.
        beta: Strength on the head.
    """

    def __init__(self, start: Mapping[str, Tensor], alpha: float, beta: float) -> None:
        self._start, self._alpha, self._beta = dict(start), alpha, beta

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the start to where the weights are."""
        self._start = {name: value.to(pl_module.device) for name, value in self._start.items()}

    @torch.no_grad()
    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the penalty's gradient, alpha * (w - w0) and beta * w."""
        assert isinstance(pl_module, ECGClassifier)
        for name, weight in pl_module.backbone.named_parameters():
            if weight.grad is not None:
                weight.grad.add_(weight - self._start[name], alpha=self._alpha)
        for weight in pl_module.head.parameters():
            if weight.grad is not None:
                weight.grad.add_(weight, alpha=self._beta)
