"""The running mean of the weights, against the recurrence in numpy, in a training as in the sums."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from ecg_transfer.averaging import WeightAverage
from ecg_transfer.classifier import load_classifier
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer, weights_of


class Weights(pl.Callback):
    """Notes the trained weights after every update."""

    def __init__(self) -> None:
        self.states: list[dict[str, np.ndarray[Any, Any]]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: object) -> None:
        self.states.append({name: value.double().numpy().copy() for name, value in pl_module.state_dict().items()})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(60, seed=1))


def by_hand(states: list[dict[str, np.ndarray[Any, Any]]], decay: float) -> dict[str, np.ndarray[Any, Any]]:
    mean = dict(states[0])
    for count, state in enumerate(states[1:], start=2):
        kept = min(decay, (1 + count) / (10 + count))
        for name, value in state.items():
            mean[name] = value if name.endswith("num_batches_tracked") else kept * mean[name] + (1 - kept) * value
    return mean


def test_a_training_keeps_and_evaluates_the_mean(corpus: FakeCorpus, tmp_path: Path) -> None:
    data, noted = tiny_data(corpus), Weights()
    classifier = tiny_classifier(data, ema=0.6)
    fit(tiny_trainer(tmp_path, data, 3, extra=[noted]), classifier, data)
    kept = weights_of(tmp_path / "last.ckpt")
    expected = by_hand(noted.states, 0.6)
    assert kept.keys() == expected.keys()
    for name, value in kept.items():
        np.testing.assert_allclose(value.double().numpy(), expected[name], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(kept["head.weight"], classifier.state_dict()["head.weight"])
    (whole,) = tiny_data(corpus, batch_size=1000).ordered_loader("test")
    with torch.no_grad():
        logits = load_classifier(tmp_path / "last.ckpt", trust=True)(whole["signal"])
    torch.testing.assert_close(classifier.evaluated["test"][1], logits, rtol=0, atol=1e-6)


def test_it_is_resumed_to_the_bit(corpus: FakeCorpus, tmp_path: Path) -> None:
    data = tiny_data(corpus)
    fit(tiny_trainer(tmp_path / "whole", data, 3), tiny_classifier(data, ema=0.9), data)
    fit(tiny_trainer(tmp_path / "parts", data, 2), tiny_classifier(data, ema=0.9), data)
    resumed = tiny_classifier(data, ema=0.9)
    fit(tiny_trainer(tmp_path / "parts", data, 3), resumed, data, tmp_path / "parts" / "last.ckpt")
    for checkpoint in ("last.ckpt", "best.ckpt"):
        ours, theirs = (weights_of(tmp_path / folder / checkpoint) for folder in ("parts", "whole"))
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    content = torch.load(tmp_path / "whole" / "best.ckpt", weights_only=True)
    assert "trained_state_dict" not in content  # what is taken away is one set of weights


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5])
def test_a_decay_that_is_none_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match=r"optim\.ema"):
        WeightAverage(decay)
