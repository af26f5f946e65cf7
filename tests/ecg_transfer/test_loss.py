from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from data_modules.batches import Batch
from ecg_transfer.config import OptimConfig
from ecg_transfer.loss import logits_and_loss, require_shares


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


@pytest.mark.parametrize(
    ("fields", "dropout", "message"),
    [
        ({}, 1.0, r"model\.dropout is 1, expected a share"),
        ({"label_smoothing": -0.1}, 0.0, r"optim\.label_smoothing is -0\.1"),
        ({"mixup": -1.0}, 0.0, r"optim\.mixup is -1"),
    ],
)
def test_shares_that_are_none_are_refused(fields: dict[str, float], dropout: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        require_shares(OptimConfig(**fields), dropout)  # type: ignore[arg-type]
