from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from data_modules.datamodule import ECGDataModule
from ecg_transfer.callbacks.save_predictions import SavePredictions
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.predictions import load_predictions
from tests.data_modules.fake_corpus import random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import tiny_classifier, tiny_data

Scores = list[tuple[float, float]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ECGDataModule:
    return tiny_data(write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(20, seed=1)))


def end_epoch(
    callback: SavePredictions, classifier: ECGClassifier, data: ECGDataModule, epoch: int, scores: tuple[float, float]
) -> None:
    """As the trainer would, with logits that say which epoch they come from."""
    for part in ("val", "test"):
        rows = torch.from_numpy(data.rows[part])
        targets = torch.from_numpy(data.labels[data.rows[part]]).float()
        classifier.evaluated[part] = rows, torch.full((len(rows), 3), float(epoch)), targets
    classifier.train_scores = {"loss": 0.0}
    metrics = {f"{part}/f1_macro": torch.tensor(score) for part, score in zip(("val", "test"), scores, strict=True)}
    trainer: Any = SimpleNamespace(is_global_zero=True, callback_metrics=metrics, datamodule=data, current_epoch=epoch)
    callback.on_train_epoch_end(trainer, classifier)


def first_best(scores: list[float]) -> int:
    """By hand, in the precision that is logged."""
    return int(np.argmax(np.array(scores, np.float32)))


@pytest.mark.parametrize(
    "scores",
    [
        [(0.1, 0.9), (0.3, 0.2), (0.2, 0.9), (0.3, 0.95)],
        [(0.0, 0.0), (0.0, 0.0)],
        [(0.5, 0.5), (0.5 + 1e-12, 0.5 + 1e-12), (0.4, 0.4)],
        [(1 / 3, 2 / 3), (0.1 + 0.7 / 3, 0.1 + 1.7 / 3), (1 / 3 + 1e-16, 2 / 3 + 1e-16)],
        [(0.9, 0.1), (0.8, 0.2), (0.7, 0.3)],
    ],
)
@pytest.mark.parametrize("resumed_at", [None, 1])
def test_the_first_of_the_best_epochs_is_kept(
    data: ECGDataModule, tmp_path: Path, scores: Scores, resumed_at: int | None
) -> None:
    path = tmp_path / "predictions.npz"
    classifier, callback = tiny_classifier(data), SavePredictions(path, "f1_macro")
    for epoch, both in enumerate(scores):
        if epoch == resumed_at:
            state = json.loads(json.dumps(callback.state_dict()))  # plain values, as a checkpoint must hold
            callback = SavePredictions(path, "f1_macro")
            callback.load_state_dict(state)
        end_epoch(callback, classifier, data, epoch, both)
    predictions, epochs = load_predictions(path)
    expected = {
        "val_selected": first_best([val for val, _ in scores]),
        "best_on_test": first_best([test for _, test in scores]),
        "last_epoch": len(scores) - 1,
    }
    assert set(predictions) == {f"{name}/{part}" for name in expected for part in ("val", "test")}
    for name, epoch in expected.items():
        for part in ("val", "test"):
            assert epochs[f"{name}/{part}"] == epoch
            assert (predictions[f"{name}/{part}"].logits == epoch).all()


def test_another_process_writes_nothing(data: ECGDataModule, tmp_path: Path) -> None:
    callback = SavePredictions(tmp_path / "predictions.npz", "f1_macro")
    callback.on_train_epoch_end(SimpleNamespace(is_global_zero=False), tiny_classifier(data))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
