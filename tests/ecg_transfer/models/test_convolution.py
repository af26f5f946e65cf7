"""The weights' gradient as matrix products must be the one that PyTorch's own convolution gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from ecg_transfer.models import convolution, create_backbone
from ecg_transfer.models.convolution import Conv1d, weight_gradient

SHAPES = [  # records, channels in, channels out, samples of a kernel, stride, time steps
    (3, 12, 64, 7, 2, 101),
    (70, 64, 64, 3, 1, 63),  # more than one product: 32 records of 63 windows each
    (33, 64, 128, 3, 2, 63),
    (1, 128, 128, 1, 1, 9),
    (5, 128, 256, 1, 2, 10),
    (5, 128, 256, 1, 2, 11),
    (2, 64, 64, 5, 1, 3),  # a kernel longer than the signal
    (2, 64, 64, 39, 1, 50),
    (1, 64, 64, 3, 2, 5000),  # more windows than a product takes
]


@pytest.fixture(autouse=True)
def _with_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine's CPU."""
    monkeypatch.setattr(convolution, "_products_are_faster", lambda: True)


def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of each gradient that is computed as products from now on."""
    found: list[tuple[int, ...]] = []

    def note(x: Tensor, grad: Tensor, kernel_size: int, stride: int) -> Tensor:
        gradient = weight_gradient(x, grad, kernel_size, stride)
        found.append(tuple(gradient.shape))
        return gradient

    monkeypatch.setattr(convolution, "weight_gradient", note)
    return found


def channels_last(x: Tensor) -> Tensor:
    return x.unsqueeze(2).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("records", "inputs", "outputs", "kernel_size", "stride", "steps"), SHAPES)
@pytest.mark.parametrize("layout", [channels_last, lambda x: x.unsqueeze(2)], ids=["channels last", "channels first"])
def test_gradients_are_those_of_the_convolution_in_double_precision(
    records: int,
    inputs: int,
    outputs: int,
    kernel_size: int,
    stride: int,
    steps: int,
    layout: Callable[[Tensor], Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = products(monkeypatch)
    torch.manual_seed(steps)
    layer = Conv1d(inputs, outputs, kernel_size, stride)
    signal = torch.randn(records, inputs, steps)
    x = layout(signal).requires_grad_()
    out = layer(x)
    upstream = torch.randn_like(out)
    out.backward(upstream)
    exact_signal, exact_weight = signal.double().requires_grad_(), layer.weight.detach().double().requires_grad_()
    exact = F.conv1d(exact_signal, exact_weight, None, stride, kernel_size // 2)
    exact.backward(upstream.squeeze(2).double())
    assert found == [(outputs, inputs, kernel_size)]
    assert x.grad is not None
    assert layer.weight.grad is not None
    for ours, theirs in ((out, exact), (x.grad, exact_signal.grad), (layer.weight.grad, exact_weight.grad)):
        expected = theirs.detach().view_as(ours).float()
        torch.testing.assert_close(ours.detach(), expected, rtol=1e-4, atol=2e-6 * float(expected.abs().max()) + 1e-6)
    assert layer.weight.grad.is_contiguous()


@pytest.mark.parametrize("name", ["resnet1d18", "resnet1d50", "xresnet1d18", "resnet1d_wang"])
def test_a_network_learns_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = products(monkeypatch)
    torch.manual_seed(0)
    network, signal = create_backbone(name), torch.randn(4, 250, 12).transpose(1, 2)
    weights = dict(network.named_parameters())
    upstream = torch.randn(4, network.num_features)

    def gradients() -> dict[str, Tensor]:
        network.zero_grad()
        torch.manual_seed(1)  # for dropout
        (network(signal) * upstream).sum().backward()
        return {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}

    ours, num_products = gradients(), len(found)
    monkeypatch.setattr(convolution, "_products_are_faster", lambda: False)
    theirs = gradients()
    assert num_products == len(found) > 0
    assert ours.keys() == theirs.keys() == weights.keys()
    for key, expected in theirs.items():
        difference = float((ours[key] - expected).norm() / expected.norm())
        assert difference < 2e-3, key  # rounding, through up to 50 layers of BatchNorm over 4 records


def test_gradients_add_up_over_batches() -> None:
    torch.manual_seed(0)
    layer, signal = Conv1d(64, 64, 3), torch.randn(6, 64, 40)
    layer(channels_last(signal)).square().sum().backward()
    assert layer.weight.grad is not None
    whole = layer.weight.grad.clone()
    layer.zero_grad()
    for part in signal.split(2):
        layer(channels_last(part)).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, whole, rtol=1e-4, atol=1e-3)


def test_frozen_weights_get_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = products(monkeypatch)
    layer = Conv1d(64, 64, 3)
    layer.weight.requires_grad_(False)
    x = channels_last(torch.randn(2, 64, 20)).requires_grad_()
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None
    assert found == []


@pytest.mark.parametrize(("inputs", "outputs", "kernel_size"), [(12, 32, 5), (32, 32, 39), (12, 128, 1), (64, 256, 1)])
def test_narrow_convolutions_are_left_to_pytorch(
    inputs: int, outputs: int, kernel_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = products(monkeypatch)
    Conv1d(inputs, outputs, kernel_size)(channels_last(torch.randn(2, inputs, 40))).sum().backward()
    assert found == []


def test_other_precisions_are_left_to_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = products(monkeypatch)
    layer, x = Conv1d(64, 64, 3), channels_last(torch.randn(2, 64, 20))
    with torch.autocast("cpu", torch.bfloat16):
        layer(x).float().sum().backward()
    layer.double()(x.double()).sum().backward()
    assert found == []


def test_an_exported_network_holds_pytorchs_own_convolutions() -> None:
    network = create_backbone("resnet1d18")
    exported = torch.export.export(network, (torch.randn(2, 12, 250),))
    called = {str(node.target) for node in exported.graph.nodes if node.op == "call_function"}
    assert "aten.conv2d.default" in called
    assert not any("WeightGradient" in name for name in called)
