"""Imitated bfloat16 against products in double precision, rounded once, and against PyTorch's own kernels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ecg_transfer.models import create_backbone
from ecg_transfer.precision import refusal
from experiments.imitated_bfloat16 import imitated_bfloat16

UNIT = 2.0**-8
"""Of bfloat16, as a share: half the distance of neighbours just above a power of two."""


def _with_gradients(layer: nn.Module, signal: Tensor) -> list[Tensor]:
    """A layer's output and the gradients of its input and weight, all in what the output is in."""
    signal = signal.clone().requires_grad_()
    layer.zero_grad()
    output = layer(signal)
    output.backward(torch.linspace(-1, 1, output.numel()).reshape(output.shape).bfloat16().to(output.dtype))
    assert signal.grad is not None
    assert isinstance(layer.weight, nn.Parameter)
    assert layer.weight.grad is not None
    return [output.detach(), signal.grad, layer.weight.grad.clone()]  # `layer.double()` would turn it too


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv1d(12, 8, 7, stride=2, padding=3, bias=False), (4, 12, 100)),
        (nn.Conv2d(8, 16, (1, 3), bias=False), (4, 8, 1, 50)),
        (nn.Linear(20, 5, bias=False), (16, 20)),
    ],
)
def test_products_are_those_of_double_precision_rounded_once(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer, signal = layer.bfloat16(), torch.randn(shape).bfloat16()
    with imitated_bfloat16():
        found = _with_gradients(layer, signal)
    expected = [exact.bfloat16() for exact in _with_gradients(layer.double(), signal.double())]
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        torch.testing.assert_close(ours, exact, rtol=2 * UNIT, atol=1e-5)  # a neighbour, where the sum lies half way
        assert (ours == exact).float().mean() > 0.99


def test_a_network_is_as_near_to_float32_as_with_kernels_of_pytorch() -> None:
    torch.manual_seed(0)
    network, signal = create_backbone("resnet1d18").eval(), torch.randn(2, 12, 200)

    def embedding() -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            embedded: Tensor = network(signal)
        return embedded.float()

    with imitated_bfloat16():
        imitated = embedding()
    single, native = network(signal).detach(), embedding()
    apart = [(one - other).norm() for one, other in ((imitated, single), (native, single), (imitated, native))]
    assert 0 < apart[0] < 1.5 * apart[1]
    assert apart[2] < 1.5 * apart[1]


def test_bfloat16_is_allowed_while_it_is_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ecg_transfer.precision.cpu_has_bfloat16", lambda: False)
    assert refusal("bf16", "cpu") is not None
    with imitated_bfloat16():
        assert refusal("bf16", "cpu") is None
    assert refusal("bf16", "cpu") is not None
