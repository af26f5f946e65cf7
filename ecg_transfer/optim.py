"""The optimizer and the learning-rate schedule that a configuration asks for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from ecg_transfer.config import OptimConfig


def configure(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], optim: OptimConfig, num_updates: int
) -> dict[str, Any]:
    """Build what a LightningModule's `configure_optimizers` returns.

    Args:
        parameters: What is trained; or groups of it, each with its own highest rate `lr`.
        optim: How.
        num_updates: Updates of the whole training, over which a schedule runs.
    """
    optimizer_class = {"adam": Adam, "adamw": AdamW}[optim.optimizer]
    # one kernel over all weights: a quarter of the time of one after the other; Lightning cannot clip beside it in bf16
    is_fused = optim.gradient_clip is None
    optimizer = optimizer_class(parameters, lr=optim.lr, weight_decay=optim.weight_decay, fused=is_fused)
    schedule = _schedule(optimizer, optim, num_updates)
    if schedule is None:
        return {"optimizer": optimizer}
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _schedule(optimizer: Optimizer, optim: OptimConfig, num_updates: int) -> LRScheduler | None:
    if optim.schedule == "one_cycle":
        highest = [float(group["lr"]) for group in optimizer.param_groups]
        return OneCycleLR(optimizer, highest, total_steps=max(num_updates, 2))
    if optim.schedule == "cosine":
        num_warmup = round(optim.warmup * num_updates)

        def factor(update: int) -> float:
            if update < num_warmup:
                return (update + 1) / num_warmup
            return 0.5 * (1 + math.cos(math.pi * (update - num_warmup) / max(1, num_updates - num_warmup)))

        return LambdaLR(optimizer, factor)
    return None
