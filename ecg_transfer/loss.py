"""The loss of a training batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_modules.batches import Batch
from ecg_transfer.config import OptimConfig


def require_shares(optim: OptimConfig, dropout: float) -> None:
    """Refuse shares that are none.

    Raises:
        ValueError: `model.dropout` or `optim.label_smoothing` outside of [0, 1), or a negative `optim.mixup`.
    """
    for name, value in (("model.dropout", dropout), ("optim.label_smoothing", optim.label_smoothing)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value:g}, expected a share from 0 to below 1")
    if optim.mixup < 0:
        raise ValueError(f"optim.mixup is {optim.mixup:g}, expected 0 for none, or the parameter of a Beta, 0.2 say")


def logits_and_loss(classifier: nn.Module, batch: Batch, optim: OptimConfig) -> tuple[Tensor, Tensor]:
    """Logits (B, L), and their mean binary cross-entropy over all labels, with mixup and label smoothing if wanted.

    A mixed record keeps the larger share of what it was, so that its own labels still are its best description.
    """
    signal, target = batch["signal"], batch["label"]
    if optim.mixup:
        drawn = float(torch.distributions.Beta(optim.mixup, optim.mixup).sample())
        other, share = torch.randperm(len(signal), device=signal.device), min(drawn, 1 - drawn)
        signal, target = signal.lerp(signal[other], share), target.lerp(target[other], share)
    if optim.label_smoothing:
        target = target.lerp(torch.full_like(target, 0.5), optim.label_smoothing)
    logits: Tensor = classifier(signal)
    return logits, binary_cross_entropy_with_logits(logits, target)
