"""The best epoch's weights and the last epoch's whole state, written so that a kill at any time leaves good files."""

from __future__ import annotations

import time
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from lightning_fabric.plugins import TorchCheckpointIO
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.exceptions import SIGTERMException

from data_modules.claim import require_held
from ecg_transfer.callbacks.stoppable import StopRequested
from ecg_transfer.checkpoint_file import write_checkpoint
from ecg_transfer.resume import FILES, LAST, PREVIOUS, carried


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are written beside their place, synced and renamed, and carry their size and SHA-256.

    Lightning's own write goes through the system's temporary folder; where that is another file system the checkpoint
    is copied, not renamed, and a kill leaves half of it (Lightning issue 21253). Of `last.ckpt` the one before is kept
    as `last.previous.ckpt`, and it carries the run's other files; see `ecg_transfer.resume`. It alone waits for the
    disk: what a loss of power leaves of the others is put back from it.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: _PATH, storage_options: Any = None) -> None:  # noqa: ANN401
        """Write one checkpoint whole or not at all.

        Raises:
            OSError: There is no room for it.
            ClaimLostError: Another process has taken the run over.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        require_held(path.parent)
        if path.name == LAST:
            write_checkpoint(checkpoint | {FILES: carried(path.parent)}, path, previous=path.with_name(PREVIOUS))
        else:
            write_checkpoint(checkpoint, path, is_durable=False)


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
        monitor: Of the validation records: one of `ecg_transfer.config.Monitor`, or a loss.
        mode: Whether the best is the largest or the smallest.
    """

    def __init__(self, folder: Path, monitor: str, mode: Literal["max", "min"] = "max") -> None:
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=f"val/{monitor}",
            mode=mode,
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

    A state that was not saved yet is kept in memory and saved when a signal ends the training.

    Args:
        folder: The run's directory.
        seconds: Least time between two saves. Small corpora have epochs shorter than a save takes; repeating some of
            them after a crash costs less than saving each.
    """

    def __init__(self, folder: Path, seconds: float = 0.0) -> None:
        super().__init__(
            dirpath=folder,
            filename=LAST.removesuffix(".ckpt"),
            monitor=None,
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._seconds = seconds
        self._saved = time.monotonic()
        self._unsaved: dict[str, Any] | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, where the last save is long enough ago on the first process's clock."""
        if trainer.strategy.broadcast(time.monotonic() - self._saved >= self._seconds):
            super().on_train_epoch_end(trainer, pl_module)
            self._saved, self._unsaved = time.monotonic(), None
        else:
            self._unsaved = None  # first, that there are never two copies
            self._unsaved = deepcopy(trainer._checkpoint_connector.dump_checkpoint(weights_only=False))

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Save the last whole epoch when a signal ended the training: it came between two batches."""
        if self._unsaved is not None and isinstance(exception, StopRequested | SIGTERMException):
            trainer.strategy.save_checkpoint(self._unsaved, Path(str(self.dirpath)) / LAST)
            self._unsaved = None
