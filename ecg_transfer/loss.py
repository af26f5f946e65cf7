"""The loss of a training batch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from data_modules.batches import Batch
from ecg_transfer.config import OptimConfig


def require_shares(optim: OptimConfig, dropout: float) -> None:
    """Refuse shares that are none.

    Raises:
        ValueError: `model.dropout` or `optim.label_smoothing` outside of [0, 1), `optim.balance` outside of [0, 1], or
            a negative `optim.mixup`.
    """
    for name, value in (("model.dropout", dropout), ("optim.label_smoothing", optim.label_smoothing)):
        if not 0 <= value < 1:
            raise ValueError(f"{name} is {value:g}, expected a share from 0 to below 1")
    if not 0 <= optim.balance <= 1:
        raise ValueError(f"optim.balance is {optim.balance:g}, expected a power from 0 (none) to 1 (all of it)")
    if optim.mixup < 0:
        raise ValueError(f"optim.mixup is {optim.mixup:g}, expected 0 for none, or the parameter of a Beta, 0.2 say")


def positive_weight(labels: NDArray[np.uint8], power: float) -> Tensor:
    """How much a positive of each label weighs in the loss, (L,): its negatives a positive, to a power.

    A label without positives or negatives is counted as if it had one.

    Args:
        labels: Of the training records, multi-hot, (N, L).
        power: `optim.balance`.

    Example:
        >>> positive_weight(np.array([[1, 1], [0, 1], [0, 1], [0, 1], [0, 0]], dtype=np.uint8), 0.5).tolist()
        [2.0, 0.5]
    """
    positives = labels.sum(axis=0, dtype=np.int64)
    odds = np.maximum(len(labels) - positives, 1) / np.maximum(positives, 1)
    return torch.from_numpy((odds**power).astype(np.float32))


def logits_and_loss(
    classifier: nn.Module, batch: Batch, optim: OptimConfig, weight: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Logits (B, L), and their mean binary cross-entropy over all labels, with mixup and label smoothing if wanted.

    A mixed record keeps the larger share of what it was, so that its own labels still are its best description.

    Where positives weigh w, the loss is that of logit + log w: its minimum is at the odds w p / (1 - p), so that the
    logits themselves stay those of p, and a threshold of 0.5 means what it says (logit adjustment, Menon et al. 2021,
    arXiv 2007.07314, here for each label's own two classes).

    Args:
        classifier: Signals to logits.
        batch: What it is trained on.
        optim: How.
        weight: From `positive_weight`; None weighs all alike.
    """
    signal, target = batch["signal"], batch["label"]
    if optim.mixup:
        drawn = float(torch.distributions.Beta(optim.mixup, optim.mixup).sample())
        other, share = torch.randperm(len(signal), device=signal.device), min(drawn, 1 - drawn)
        signal, target = signal.lerp(signal[other], share), target.lerp(target[other], share)
    if optim.label_smoothing:
        target = target.lerp(torch.full_like(target, 0.5), optim.label_smoothing)
    logits: Tensor = classifier(signal)
    if weight is None:
        return logits, binary_cross_entropy_with_logits(logits, target)
    return logits, binary_cross_entropy_with_logits(logits + weight.log(), target, pos_weight=weight)
