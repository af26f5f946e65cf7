"""The best epoch's weights and the last epoch's whole state, written so that a kill at any time leaves good files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.callbacks import ModelCheckpoint

from ecg_transfer.files import write_atomically


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written beside their place, synced and renamed.

    Lightning's own write goes through the system's temporary folder; where that is another file system the checkpoint
    is copied, not renamed, and a kill leaves half of it (Lightning issue 21253).
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write one checkpoint whole or not at all."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(Path(path)) as stream:
            torch.save(checkpoint, stream)


class _MovableCheckpoint(ModelCheckpoint):
    """A ModelCheckpoint that goes on where it stopped also when its directory was moved or renamed meanwhile."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state, its paths brought to the directory of today."""
        folder = Path(str(self.dirpath))

        def here(path: str) -> str:
            return str(folder / Path(path).name) if path else path

        moved = dict(state_dict, dirpath=self.dirpath)
        for name in ("best_model_path", "kth_best_model_path", "last_model_path"):
            moved[name] = here(state_dict[name])
        moved["best_k_models"] = {here(path): value for path, value in state_dict["best_k_models"].items()}
        super().load_state_dict(moved)


class BestF1(_MovableCheckpoint):
    """Keep the weights of the epoch with the best validation score as `best.ckpt`; of equal ones the first.

    Args:
        folder: The run's directory.
        monitor: One of `ecg_transfer.config.Monitor`.
    """

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=f"val/{monitor}",
            mode="max",
            save_top_k=1,
            save_weights_only=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, in an epoch that was evaluated."""
        if getattr(pl_module, "was_evaluated", True):
            super().on_train_epoch_end(trainer, pl_module)


class LastEpoch(_MovableCheckpoint):
    """Keep the state after an epoch, optimizer and all, as `last.ckpt`: what a run resumes from.

    Args:
        folder: The run's directory.
        seconds: Least time between two saves. Small corpora have epochs shorter than a save takes; repeating some of
            them after an interruption costs less than saving each.
    """

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        super().__init__(
            dirpath=folder,
            filename="last",
            monitor=None,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._seconds = seconds
        self._saved = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, where the last save is long enough ago on the first process's clock."""
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self._seconds):
            super().on_train_epoch_end(trainer, pl_module)
            self._saved = time.monotonic()
