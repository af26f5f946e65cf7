"""Logits by record id, kept for the three epochs that a run reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from data_modules.datamodule import ECGDataModule
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.predictions import Predictions, load_predictions, save_predictions

CHOSEN_BY = {"val_selected": "val", "best_on_test": "test"}
"""Which part's score chooses the epoch. `best_on_test` is how the paper reports; `last_epoch` is chosen by none."""


class SavePredictions(pl.Callback):
    """Write `predictions.npz` after every epoch: validation and test logits of the selected epochs and of the last.

    Of equal scores the first epoch is kept.

    Args:
        path: The file.
        monitor: One of `ecg_transfer.config.Monitor`.
    """

    def __init__(self, path: Path, monitor: str) -> None:
        self._path, self._monitor = path, monitor
        self._best: dict[str, float] = {}
        self._predictions: dict[str, Predictions] = {}
        self._epochs: dict[str, int] = {}

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The best scores so far; the logits lie in the file."""
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, dict[str, float]]) -> None:
        """Go on after an interruption."""
        self._best = dict(state_dict["best"])
        if self._best:  # nothing was evaluated, and no file written, before a state that has none
            self._predictions, self._epochs = load_predictions(self._path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep this epoch's logits where it is a chosen one."""
        if not (trainer.is_global_zero and isinstance(pl_module, ECGClassifier) and pl_module.was_evaluated):
            return
        chosen = ["last_epoch"]
        for name, part in CHOSEN_BY.items():
            # the logged number, in its precision, so that ties are the same here and for `BestF1`
            value = float(trainer.callback_metrics[f"{part}/{self._monitor}"])
            if value > self._best.get(name, -np.inf):
                self._best[name] = value
                chosen.append(name)
        datamodule = trainer.datamodule  # type: ignore[attr-defined]
        parts = {part: _predictions(pl_module, part, datamodule) for part in pl_module.evaluated}
        for name in chosen:
            for part, predictions in parts.items():
                self._predictions[f"{name}/{part}"] = predictions
                self._epochs[f"{name}/{part}"] = trainer.current_epoch
        save_predictions(self._path, self._predictions, self._epochs, is_durable=False)  # `last.ckpt` carries them


def _predictions(classifier: ECGClassifier, part: str, datamodule: ECGDataModule) -> Predictions:
    rows, logits, targets = (value.numpy() for value in classifier.evaluated[part])
    return Predictions(
        record_ids=np.array([datamodule.record_ids[row] for row in rows]),
        groups=datamodule.groups[rows],
        logits=logits,
        targets=targets.astype(np.uint8),
    )
