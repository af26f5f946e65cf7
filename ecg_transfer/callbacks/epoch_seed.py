"""Every epoch starts from random streams of its own, so that a resumed run goes on as if it had never stopped."""

from __future__ import annotations

import random

import numpy as np
import pytorch_lightning as pl
import torch


class EpochSeed(pl.Callback):
    """Seed torch, numpy and random from (seed, epoch, rank) before each epoch.

    Checkpoints hold no random state; without this a resumed epoch would replay the streams of the first.

    Args:
        seed: The run's seed.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed this epoch."""
        sequence = np.random.SeedSequence((self._seed, trainer.current_epoch, trainer.global_rank))
        state = int(sequence.generate_state(1)[0])
        torch.manual_seed(state)
        np.random.seed(state)  # noqa: NPY002 - for libraries that still draw from it
        random.seed(state)
