"""BatchNorm with the statistics of the corpus that it is fine-tuned on."""

from __future__ import annotations

from collections.abc import Iterable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.precision import in_full_precision
from ecg_transfer.ways import batch_norms


class ReestimateBatchNorm(pl.Callback):
    """Take the running statistics from the downstream's training records, before the first epoch.

    After AdaBN (Li et al. 2016, arXiv 1603.04779). Every process of a distributed run sees all records, in their order
    and at full precision, so that all have the same statistics; a model for crops sees their windows. A resumed run has
    them from its checkpoint.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Pass all training records through the backbone once."""
        assert isinstance(pl_module, ECGClassifier)
        if trainer.current_epoch > 0:
            return
        dtype = next(pl_module.parameters()).dtype
        batches = trainer.datamodule.ordered_loader("train", sharded=False)  # type: ignore[attr-defined]
        windows = pl_module.windows
        signals = (batch["signal"].to(pl_module.device, dtype) for batch in batches)
        if windows is not None:
            signals = (signal if signal.shape[2] == windows.length else windows.cut(signal) for signal in signals)
        with in_full_precision(pl_module.device):
            reestimate(pl_module.backbone, signals)


@torch.no_grad()
def reestimate(backbone: nn.Module, signals: Iterable[Tensor]) -> None:
    """Set the mean and variance of every BatchNorm layer to those of its inputs; nothing else changes.

    While they are taken each layer normalises a batch by the batch's own statistics. A layer's numbers are the exact
    mean and unbiased variance over all records and time steps that reached it, whatever the batches' sizes (Chan et
    al. 1983, doi 10.1080/00031305.1983.10483115).

    Args:
        backbone: Its training mode is as before when this is done.
        signals: Batches (B, num_leads, T) of all the records.
    """
    modes = {module: module.training for module in backbone.modules()}
    layers = batch_norms([backbone])
    sums = {layer: _Moments() for layer in layers}
    kept = {layer: {name: value.clone() for name, value in layer.named_buffers()} for layer in layers}
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: sums[layer].add(inputs[0])) for layer in layers]
    backbone.eval()
    for layer in layers:
        layer.train()
    try:
        for signal in signals:
            backbone(signal)
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
    for layer in layers:
        for name, value in layer.named_buffers():
            value.copy_(kept[layer][name])
        if layer.running_mean is not None and layer.running_var is not None and sums[layer].count > 1:
            layer.running_mean.copy_(sums[layer].mean)
            layer.running_var.copy_(sums[layer].squares / (sums[layer].count - 1))


class _Moments:
    """Mean and sum of squared deviations of the channels (C,) of inputs (B, C, ...), batch by batch, in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.squares = torch.zeros(())

    def add(self, inputs: Tensor) -> None:
        values = inputs.detach().double().transpose(0, 1).flatten(1)
        number, mean = values.shape[1], values.mean(dim=1)
        squares = ((values - mean[:, None]) ** 2).sum(dim=1)
        total = self.count + number
        if self.count == 0:
            self.mean, self.squares = mean, squares
        else:
            apart = mean - self.mean
            self.squares = self.squares + squares + apart**2 * (self.count * number / total)
            self.mean = self.mean + apart * (number / total)
        self.count = total
