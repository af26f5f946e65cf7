"""NaN, infinity and 1e30 that got past `quality`, and gradients that overflow: none reaches what a model keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from data_modules.batches import SignalNotFiniteError
from data_modules.datamodule import ECGDataModule
from ecg_transfer.callbacks.finite_loss import LossNotFiniteError
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.evaluation import predict
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer, weights_of


@pytest.fixture
def corpus(tmp_path: Path) -> FakeCorpus:
    return write_fake_corpus(tmp_path / "fake", random_labels(60))


def poisoned(corpus: FakeCorpus, part: str, value: float, sample: int = 17) -> tuple[ECGDataModule, str]:
    """A data module that serves one bad sample, as a cache from elsewhere might; and the record's name."""
    data = tiny_data(corpus)
    row = data.rows[part][3]
    signals = np.array(data.cache.signals)
    signals[row, sample, 4] = value
    data._dataset._signals = signals  # type: ignore[union-attr]
    return data, data.record_ids[row]


class Before(pl.Callback):
    """Remembers the state after each finished update."""

    def __init__(self, classifier: ECGClassifier) -> None:
        self.state = _copy(classifier)
        self.num_updates = 0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:  # noqa: ANN401
        self.state = _copy(pl_module)
        self.num_updates += 1


def _copy(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_a_bad_record_stops_training_with_statistics_untouched(
    corpus: FakeCorpus, tmp_path: Path, value: float, precision: str
) -> None:
    data, name = poisoned(corpus, "train", value)
    classifier = tiny_classifier(data)
    before = Before(classifier)
    with pytest.raises(SignalNotFiniteError, match=f"the records {name} hold NaN, infinity or more"):
        fit(tiny_trainer(tmp_path, data, 2, [before], precision=precision), classifier, data)
    assert_same(_copy(classifier), before.state)
    assert int(classifier.state_dict()["backbone.module.norm.num_batches_tracked"]) == before.num_updates
    assert not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("value", [np.nan, 1e30])
def test_a_resumed_run_stops_too_and_keeps_its_last_epoch(corpus: FakeCorpus, tmp_path: Path, value: float) -> None:
    sound = tiny_data(corpus)
    fit(tiny_trainer(tmp_path, sound, 1), tiny_classifier(sound), sound)
    kept = weights_of(tmp_path / "last.ckpt")
    data, _ = poisoned(corpus, "train", value)
    with pytest.raises(SignalNotFiniteError):
        fit(tiny_trainer(tmp_path, data, 3), tiny_classifier(data), data, tmp_path / "last.ckpt")
    assert_same(weights_of(tmp_path / "last.ckpt"), kept)


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_bad_record_is_not_evaluated_either(corpus: FakeCorpus, tmp_path: Path, part: str) -> None:
    data, name = poisoned(corpus, part, np.nan)
    with pytest.raises(SignalNotFiniteError, match=name):
        fit(tiny_trainer(tmp_path, data, 2), tiny_classifier(data), data)
    assert not (tmp_path / "best.ckpt").exists()
    with pytest.raises(SignalNotFiniteError, match=name):
        predict(tiny_classifier(data), data, part, torch.device("cpu"))


class Overflow(torch.autograd.Function):
    """The identity, with an infinite gradient."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:  # noqa: ANN401
        return value.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        return torch.full_like(gradient, torch.inf)


@pytest.mark.parametrize("clip", [None, 1.0])
def test_an_infinite_gradient_of_a_finite_loss_changes_no_weight(
    corpus: FakeCorpus, tmp_path: Path, clip: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_data(corpus)
    classifier = tiny_classifier(data)
    before = Before(classifier)
    forward = classifier.head.forward
    # the third batch of the second epoch
    monkeypatch.setattr(
        classifier.head,
        "forward",
        lambda x: (
            Overflow.apply(forward(x)) if before.num_updates == num_before and torch.is_grad_enabled() else forward(x)
        ),
    )
    num_before = len(data.train_dataloader()) + 2
    trainer = tiny_trainer(tmp_path, data, 3, [before], gradient_clip_val=clip)
    with pytest.raises(
        LossNotFiniteError, match=r"the gradient's norm is (inf|nan) \(the training loss 0\.\d+\) in epoch 1"
    ):
        fit(trainer, classifier, data)
    assert before.num_updates == num_before
    weights = dict(classifier.named_parameters())
    assert all(torch.equal(value, before.state[name]) for name, value in weights.items())
    assert all(torch.isfinite(value).all() for value in weights_of(tmp_path / "last.ckpt").values())
