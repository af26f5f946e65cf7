"""Normalising, adding and rectifying by kernels of our own against PyTorch: interpreted, and on a GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ecg_transfer.models import normalization
from ecg_transfer.models.normalization import BatchNorm1d, rectified
from ecg_transfer.models.resnet1d import Bottleneck

pytest.importorskip("triton", reason="the kernels are written in Triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def norm_of(num_channels: int) -> BatchNorm1d:
    """With weights and running statistics as after some training."""
    torch.manual_seed(0)
    norm = BatchNorm1d(num_channels)
    for value in (norm.weight, norm.bias, norm.running_mean):
        assert value is not None
        nn.init.normal_(value)
    return norm.to(DEVICE)


def signal_of(*shape: int, seed: int) -> Tensor:
    drawn = torch.Generator().manual_seed(seed)
    x = (torch.randn(*shape, generator=drawn) * 2 + 1).to(DEVICE)
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


@pytest.mark.parametrize("adds", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 1, 7), (3, 70, 1, 50), (40, 64, 1, 130), (2, 96, 1, 3)])
def test_the_numbers_are_those_of_pytorch(shape: tuple[int, ...], adds: bool) -> None:
    ours = norm_of(shape[1])
    theirs = copy.deepcopy(ours)
    x, shortcut = signal_of(*shape, seed=1), signal_of(*shape, seed=2) if adds else None
    inputs = [x, *([shortcut] if shortcut is not None else [])]
    slopes = torch.linspace(0, 9, x.numel(), device=DEVICE).view(shape).cos()
    found = normalization.fused(ours, x, shortcut)
    plain = theirs(x) if shortcut is None else theirs(x) + shortcut
    wanted = plain.relu()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    gradients = [
        torch.autograd.grad((out * slopes).sum(), [*inputs, norm.weight, norm.bias])
        for out, norm in ((found, ours), (wanted, theirs))
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))
    for name, value in theirs.named_buffers():
        torch.testing.assert_close(ours.get_buffer(name), value, rtol=1e-4, atol=1e-5)


def test_what_is_not_a_number_stays_so() -> None:
    norm, x = norm_of(4), signal_of(2, 4, 1, 8, seed=1)
    with torch.no_grad():
        x[0, 2, 0, 3] = torch.nan
    out = normalization.fused(norm, x, None)
    assert bool(out[:, 2].isnan().all())
    assert not bool(out[:, [0, 1, 3]].isnan().any())


@pytest.mark.parametrize("mean", [0.0, 30.0, 1000.0])
def test_the_statistics_do_not_cancel(mean: float) -> None:
    """Of a new layer, whose running mean is 0, or which knows nothing: a batch far from 0 is normalised as near it."""
    norm = BatchNorm1d(8).to(DEVICE)
    assert norm.running_mean is not None
    norm.running_mean[3] = torch.nan
    x = (signal_of(16, 8, 1, 64, seed=1).detach() + mean).contiguous(memory_format=torch.channels_last)
    exact = nn.functional.batch_norm(x.double(), None, None, training=True).relu()
    torch.testing.assert_close(normalization.fused(norm, x, None).double(), exact, rtol=0, atol=1e-6 * max(mean, 10))


def test_a_compiler_meets_pytorch_alone() -> None:
    block = Bottleneck(16, 8, 2)
    compiled = torch.compile(block, backend="eager", fullgraph=True)
    x = torch.randn(2, 16, 1, 32)
    torch.testing.assert_close(compiled(x), block(x))


def test_what_does_something_else_is_pytorchs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen layers, those whose statistics are cumulative, watched ones; other layouts; no recording."""
    served: list[BatchNorm1d] = []
    monkeypatch.setattr(normalization, "can_be_launched", lambda: True)
    monkeypatch.setattr(normalization, "fused", lambda norm, x, shortcut: served.append(norm) or norm(x).relu())
    x, usual = signal_of(4, 8, 1, 16, seed=1), norm_of(8)
    frozen, cumulative, watched = norm_of(8).eval(), norm_of(8), norm_of(8)
    cumulative.momentum = None
    watched.register_forward_hook(lambda *_: None)
    rectified(usual, x)
    with normalization.while_recording():
        for norm in (frozen, cumulative, watched, nn.SyncBatchNorm(8).to(DEVICE).eval()):
            rectified(norm, x)
        for other in (x.contiguous(), x[:, :, 0], x.double()):
            rectified(norm_of(8).to(other.dtype), other)
        rectified(usual, x, x.contiguous())
        assert not served
        rectified(usual, x, x)
    rectified(usual, x)
    assert served == [usual]


@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU")
@pytest.mark.parametrize("adds", [False, True])
def test_in_bfloat16_they_are_near_those_of_float32(adds: bool) -> None:
    """bfloat16 has 8 bits: a number is off by .2 % on average."""
    norm, shape = norm_of(256), (64, 256, 1, 125)
    single = [signal_of(*shape, seed=seed).detach().bfloat16().float().requires_grad_() for seed in (1, 2)[: 1 + adds]]
    half = [x.detach().bfloat16().requires_grad_() for x in single]
    results = []
    for x, *shortcut in (single, half):
        out = normalization.fused(norm, x, shortcut[0] if shortcut else None)
        gradients = torch.autograd.grad(out.float().square().mean(), [x, *shortcut, norm.weight, norm.bias])
        results.append([out, *gradients])
    for found, wanted in zip(*reversed(results), strict=True):
        assert float((found.float() - wanted).norm()) < 0.01 * float(wanted.norm())
