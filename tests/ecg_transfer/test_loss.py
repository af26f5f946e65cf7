from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from torch import nn

from data_modules.batches import Batch
from ecg_transfer.config import OptimConfig
from ecg_transfer.loss import logits_and_loss, positive_weight, require_shares


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(24, 3)).double()


def batch(num_records: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    signal = torch.randn(num_records, 12, 2, generator=generator, dtype=torch.float64)
    label = (torch.rand(num_records, 3, generator=generator) < 0.4).double()
    return {"signal": signal, "label": label, "index": torch.arange(num_records)}


def entropy(logits: torch.Tensor, target: torch.Tensor) -> float:
    p, y = expit(logits.detach().numpy()), target.numpy()
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def test_label_smoothing_moves_the_targets() -> None:
    logits, loss = logits_and_loss(linear(), batch(), OptimConfig(label_smoothing=0.1))
    smooth = batch()["label"] * 0.9 + 0.05
    assert loss.item() == pytest.approx(entropy(logits, smooth), rel=1e-12)


def test_mixup_mixes_signals_and_targets_alike() -> None:
    """The net is affine, so that logits mix as the signals do: the share and the partner can be read off them."""
    given, network = batch(), linear()
    torch.manual_seed(3)
    logits, loss = logits_and_loss(network, given, OptimConfig(mixup=0.4))
    torch.manual_seed(3)
    drawn = float(torch.distributions.Beta(0.4, 0.4).sample())
    share, other = min(drawn, 1 - drawn), torch.randperm(6)
    assert 0 < share <= 0.5
    plain = network(given["signal"])
    torch.testing.assert_close(logits, (1 - share) * plain + share * plain[other])
    target = (1 - share) * given["label"] + share * given["label"][other]
    assert loss.item() == pytest.approx(entropy(logits, target), rel=1e-12)


def test_positives_weigh_by_the_odds_of_their_label() -> None:
    labels = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=np.uint8)
    assert positive_weight(labels, 1.0).tolist() == [4.0, 0.25, 5.0]  # the last has none: as if it had one
    assert positive_weight(labels, 0.5).tolist() == pytest.approx([2.0, 0.5, np.sqrt(5)])
    assert positive_weight(labels, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_a_weighted_loss_by_hand() -> None:
    weight = torch.tensor([4.0, 0.25, 1.0], dtype=torch.float64)
    logits, loss = logits_and_loss(linear(), batch(), OptimConfig(), weight)
    p, y = expit(logits.detach().numpy() + np.log(weight.numpy())), batch()["label"].numpy()
    assert loss.item() == pytest.approx(-np.mean(weight.numpy() * y * np.log(p) + (1 - y) * np.log(1 - p)), rel=1e-12)


@pytest.mark.parametrize(("weight", "frequency"), [(30.0, 0.001), (30.0, 0.4), (0.5, 0.8), (1.0, 0.2)])
def test_weights_leave_the_best_probability_what_it_is(weight: float, frequency: float) -> None:
    label = (torch.arange(1000) < round(1000 * frequency)).double().unsqueeze(1)
    given: Batch = {"signal": torch.zeros(1000, 1), "label": label, "index": torch.arange(1000)}

    def loss_at(guess: float) -> float:
        def classifier(signal: torch.Tensor) -> torch.Tensor:
            return torch.full((len(signal), 1), guess, dtype=torch.float64)

        return float(logits_and_loss(classifier, given, OptimConfig(), torch.tensor([weight]).double())[1])  # type: ignore[arg-type]

    assert minimize_scalar(loss_at, bracket=(-3, 3)).x == pytest.approx(logit(frequency), abs=1e-5)


@pytest.mark.parametrize(
    ("fields", "dropout", "message"),
    [
        ({}, 1.0, r"model\.dropout is 1, expected a share"),
        ({"label_smoothing": -0.1}, 0.0, r"optim\.label_smoothing is -0\.1"),
        ({"balance": 1.5}, 0.0, r"optim\.balance is 1\.5, expected a power from 0"),
        ({"mixup": -1.0}, 0.0, r"optim\.mixup is -1"),
    ],
)
def test_shares_that_are_none_are_refused(fields: dict[str, float], dropout: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_shares(OptimConfig(**fields), dropout)  # type: ignore[arg-type]
