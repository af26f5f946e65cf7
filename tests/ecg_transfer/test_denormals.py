"""Denormal numbers in a training: zeros, and no other weights for it."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.denormals import denormals_flushed, is_flushing
from ecg_transfer.models import create_backbone
from tests.ecg_transfer.tiny_runs import scratch

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


def halved(value: float) -> float:
    return float(torch.tensor(value).mul(0.5))


@pytest.fixture
def flushing() -> None:
    with denormals_flushed() as in_force:
        pass
    if not in_force:
        pytest.skip("this processor has no such setting")


@pytest.mark.usefixtures("flushing")
def test_within_it_halving_the_smallest_full_number_gives_zero() -> None:
    assert halved(SMALLEST_NORMAL) == SMALLEST_NORMAL / 2
    with denormals_flushed():
        assert is_flushing()
        assert halved(SMALLEST_NORMAL) == 0
        assert halved(2 * SMALLEST_NORMAL) == SMALLEST_NORMAL
    assert halved(SMALLEST_NORMAL) == SMALLEST_NORMAL / 2


@pytest.mark.usefixtures("flushing")
def test_what_was_set_before_is_set_again_after_an_error_too() -> None:
    with denormals_flushed():
        with pytest.raises(KeyError), denormals_flushed():
            raise KeyError
        assert is_flushing()
    assert not is_flushing()


@pytest.mark.usefixtures("flushing")
def test_a_training_has_it_and_leaves_it(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    step = ECGClassifier.training_step
    monkeypatch.setattr(ECGClassifier, "training_step", lambda *given: (seen.append(is_flushing()), step(*given))[1])
    scratch(data, tmp_path, **{"optim.max_epochs": 1})
    assert seen
    assert all(seen)
    assert not is_flushing()


@pytest.mark.usefixtures("flushing")
@pytest.mark.parametrize("backbone", ["lstm_last", "gru_last"])
def test_gradients_that_fade_over_a_thousand_steps_are_the_same_bits(backbone: str) -> None:
    torch.manual_seed(0)
    model = create_backbone(backbone, num_samples=1000)
    signal, target = 0.1 * torch.randn(4, 12, 1000), torch.ones(4, model.num_features)
    found = []
    for setting in (nullcontext(), denormals_flushed()):
        model.zero_grad()
        with setting:
            binary_cross_entropy_with_logits(model(signal), target).backward()  # type: ignore[no-untyped-call]
        found.append([value.grad.clone() for value in model.parameters() if value.grad is not None])
    assert len(found[0]) == len(list(model.parameters()))
    for plain, flushed in zip(*found, strict=True):
        assert plain.abs().max() > SMALLEST_NORMAL
        assert torch.equal(plain, flushed)
