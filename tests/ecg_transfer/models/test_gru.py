"""The fast GRU against `nn.GRU`, which is PyTorch's own walk through time, and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ecg_transfer.models import create_backbone, gru
from ecg_transfer.models.gru import GRU


def pair(num_inputs: int, hidden_size: int, dtype: torch.dtype) -> tuple[GRU, nn.GRU]:
    torch.manual_seed(3)
    ours = GRU(num_inputs, hidden_size).to(dtype)
    torch.manual_seed(3)
    theirs = nn.GRU(num_inputs, hidden_size, batch_first=True).to(dtype)
    return ours, theirs


def signals(num_records: int, num_steps: int, num_inputs: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(num_records, num_steps, num_inputs, generator=generator, dtype=dtype)


def slopes(layer: nn.GRU, signal: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The outputs, and the gradients of a random linear function of them in signal and parameters."""
    signal = signal.detach().clone().requires_grad_()
    outputs = layer(signal)[0]
    weights = signals(*outputs.shape, outputs.dtype)
    layer.zero_grad()
    (outputs * weights).sum().backward()
    found = {name: value.grad for name, value in layer.named_parameters()} | {"signal": signal.grad}
    return outputs.detach(), {name: grad for name, grad in found.items() if grad is not None}


def test_parameters_are_those_of_nn_gru() -> None:
    ours, theirs = pair(12, 100, torch.float32)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("num_records", "num_steps", "num_inputs", "hidden_size"),
    [(1, 1, 12, 100), (3, 70, 12, 100), (64, 20, 12, 100), (600, 3, 12, 100), (2, 600, 1, 5), (5, 33, 2, 1)],
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_agrees_with_nn_gru(
    num_records: int, num_steps: int, num_inputs: int, hidden_size: int, dtype: torch.dtype, tolerance: float
) -> None:
    ours, theirs = pair(num_inputs, hidden_size, dtype)
    signal = signals(num_records, num_steps, num_inputs, dtype)
    found, found_slopes = slopes(ours, signal)
    wanted, wanted_slopes = slopes(theirs, signal)
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)
    torch.testing.assert_close(ours(signal)[1], theirs(signal)[1], rtol=0, atol=tolerance)
    assert found_slopes.keys() == wanted_slopes.keys()
    for name, grad in wanted_slopes.items():
        largest = float(grad.abs().max())
        torch.testing.assert_close(found_slopes[name], grad, rtol=0, atol=10 * tolerance * largest, msg=name)


def test_gradients_are_finite_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gru, "ROWS_OF_A_BLOCK", 6)  # three blocks, the last one shorter
    layer, _ = pair(2, 3, torch.float64)
    arguments = signals(2, 8, 2).requires_grad_(), *(value.detach().requires_grad_() for value in layer.parameters())
    assert torch.autograd.gradcheck(lambda *inputs: gru._GRUFunction.apply(*inputs, True), arguments)


def test_outputs_that_are_read_at_some_steps_only() -> None:
    ours, theirs = pair(3, 4, torch.float64)
    signal = signals(2, 300, 3)
    for layer in (ours, theirs):
        outputs, last = layer(signal)
        (outputs[:, 7].sum() + last.square().sum()).backward()
    for found, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_gives_the_numbers_of_training(mode: type[torch.no_grad] | type[torch.inference_mode]) -> None:
    layer, _ = pair(12, 100, torch.float32)
    signal = signals(8, 200, 12, torch.float32)
    trained = layer(signal)[0]
    with mode():
        evaluated = layer(signal)[0]
    assert torch.equal(trained, evaluated)
    assert trained.requires_grad
    assert not evaluated.requires_grad


def test_the_same_numbers_every_time() -> None:
    layer, _ = pair(12, 100, torch.float32)
    signal = signals(16, 100, 12, torch.float32)
    (first, first_slopes), (second, second_slopes) = slopes(layer, signal), slopes(layer, signal)
    assert torch.equal(first, second)
    assert all(torch.equal(grad, second_slopes[name]) for name, grad in first_slopes.items())


def test_autocast_leaves_it_in_float32() -> None:
    layer, _ = pair(12, 100, torch.float32)
    signal = signals(4, 50, 12, torch.float32)
    outside, slopes_outside = slopes(layer, signal)
    with torch.autocast("cpu", torch.bfloat16):
        inside, slopes_inside = slopes(layer, signal)
        assert layer(signal.bfloat16())[0].dtype == torch.float32
    assert torch.equal(inside, outside)
    assert all(torch.equal(slopes_inside[name], grad) for name, grad in slopes_outside.items())


def test_frozen_weights_get_no_gradient_but_pass_one_on() -> None:
    ours, theirs = pair(3, 4, torch.float64)
    for layer in (ours, theirs):
        layer.requires_grad_(False)
    signal = signals(2, 20, 3)
    found, wanted = slopes(ours, signal)[1], slopes(theirs, signal)[1]
    assert list(found) == ["signal"]
    torch.testing.assert_close(found["signal"], wanted["signal"], rtol=0, atol=1e-12)
    assert not ours(signal)[0].requires_grad


def test_half_precision_weights_are_left_to_nn_gru() -> None:
    ours, theirs = pair(3, 4, torch.bfloat16)
    signal = signals(2, 20, 3, torch.bfloat16)
    assert torch.equal(ours(signal)[0], theirs(signal)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: cuDNN's GRU cannot be called")
def test_a_gpu_runs_the_gru_of_cudnn() -> None:
    ours, theirs = pair(12, 100, torch.float32)
    signal = signals(4, 50, 12, torch.float32).cuda()
    assert torch.equal(ours.cuda()(signal)[0], theirs.cuda()(signal)[0])


def test_an_export_holds_one_operator_not_a_loop() -> None:
    backbone = create_backbone("gru_mean").eval()
    program = torch.export.export(backbone, (signals(2, 40, 12, torch.float32).transpose(1, 2),))
    names = [str(node.target) for node in program.graph.nodes]
    assert sum("gru" in name for name in names) == 1
    assert not any("addmm_" in name for name in names)
