"""State spaces against their recurrence, sample by sample, in complex float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ecg_transfer.models import create_backbone
from ecg_transfer.models.s4d import StateSpaceKernel, convolve


def kernel_of(num_channels: int = 3) -> StateSpaceKernel:
    """With weights as training would leave them: anything."""
    torch.manual_seed(0)
    kernel = StateSpaceKernel(num_channels).double()
    for value in kernel.parameters():
        value.data += 0.3 * torch.randn_like(value)
    return kernel


def recurrence(kernel: StateSpaceKernel, signal: np.ndarray) -> np.ndarray:
    """x[t] = exp(dt A) x[t - 1] + (exp(dt A) - 1) / A u[t]; y = 2 Re(C x): (H, T) of (H, T)."""
    step = kernel.log_step.detach().exp().numpy()[:, None]
    a = -kernel.log_decay.detach().exp().numpy() + 1j * kernel.frequency.detach().numpy()
    c = kernel.output[0].detach().numpy() + 1j * kernel.output[1].detach().numpy()
    transition = np.exp(step * a)
    state, outputs = np.zeros_like(a), []
    for sample in signal.T:
        state = transition * state + (transition - 1) / a * sample[:, None]
        outputs.append(2 * (c * state).real.sum(axis=1))
    return np.stack(outputs, axis=1)


def test_the_kernel_is_the_recurrences_response() -> None:
    kernel, signal = kernel_of(), np.random.default_rng(1).standard_normal((3, 200))
    response = kernel(200).detach().numpy()
    found = np.stack([np.convolve(x, k)[:200] for x, k in zip(signal, response, strict=True)])
    np.testing.assert_allclose(found, recurrence(kernel, signal), rtol=1e-10, atol=1e-12)


def test_it_starts_as_s4d_lin() -> None:
    kernel = StateSpaceKernel(500)
    assert torch.allclose(kernel.log_decay.exp(), torch.tensor(0.5))
    assert torch.allclose(kernel.frequency, math.pi * torch.arange(4.0).expand(500, 4))
    steps = kernel.log_step.detach().exp()
    assert 1e-3 <= steps.min() < 1.2e-3
    assert 0.08 < steps.max() <= 0.1


@pytest.mark.parametrize("exporting", [False, True])
def test_both_directions_by_direct_sums(exporting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(2)
    signal, past, future = (generator.standard_normal(shape) for shape in ((2, 3, 40), (3, 40), (3, 40)))
    expected = np.zeros_like(signal)
    for t in range(40):
        for j in range(40):
            weight = past[:, t - j] if j <= t else future[:, j - t - 1]
            expected[:, :, t] += weight * signal[:, :, j]
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: exporting)
    found = convolve(*(torch.from_numpy(value) for value in (signal, past, future)))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize(("name", "width"), [("s4d", 512), ("s4d_small", 64)])
def test_sizes(name: str, width: int) -> None:
    """A layer: step, decay, frequency and complex output of 4 pairs in both directions; D; the mix; the norm."""
    kernel = 2 * width * (1 + 4 + 4 + 2 * 4)
    layer = kernel + width + (width + 1) * 2 * width + 2 * width
    number = 13 * width + 4 * layer
    assert sum(value.numel() for value in create_backbone(name).parameters()) == number
    assert number == {"s4d": 2_183_680, "s4d_small": 43_584}[name]


def test_what_lies_ahead_counts_too() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("s4d_small").eval()
    signal = torch.randn(1, 12, 60)
    changed = signal.clone()
    changed[:, :, 50] += 1
    difference = (backbone.forward_features(changed) - backbone.forward_features(signal)).abs().sum(dim=1)[0]
    assert difference[:50].min() > 0
    assert difference[50:].min() > 0
