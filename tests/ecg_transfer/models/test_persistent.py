"""The recurrent layers as kernels of our own against PyTorch's: interpreted in float32, and in bfloat16 on a GPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ecg_transfer.models import create_backbone, kernels, persistent

pytest.importorskip("triton", reason="the kernels are written in Triton")

HAS_GPU = torch.cuda.is_available()
interpreted = pytest.mark.skipif(HAS_GPU, reason="the kernels are compiled here, not interpreted")
on_gpu = pytest.mark.skipif(not HAS_GPU, reason="there is no GPU")

LAYERS = {
    "lstm": lambda num_leads, hidden: nn.LSTM(num_leads, hidden, batch_first=True),
    "bilstm": lambda num_leads, hidden: nn.LSTM(num_leads, hidden, batch_first=True, bidirectional=True),
    "gru": lambda num_leads, hidden: nn.GRU(num_leads, hidden, batch_first=True),
    "bigru": lambda num_leads, hidden: nn.GRU(num_leads, hidden, batch_first=True, bidirectional=True),
}


def layer_of(cell: str, num_leads: int, hidden: int) -> nn.LSTM | nn.GRU:
    torch.manual_seed(0)
    return LAYERS[cell](num_leads, hidden)


def states_and_gradients(rnn: nn.LSTM | nn.GRU, signal: Tensor, states: Tensor) -> list[Tensor]:
    """What comes out, and the gradients of the signal and of all weights, of a loss in which every state counts."""
    slopes = torch.linspace(-1, 1, states.numel(), device=states.device).view(states.shape).cos()
    return [states.detach().float(), *torch.autograd.grad((states * slopes).sum(), [signal, *rnn.parameters()])]


@interpreted
@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize(
    ("num_records", "num_steps", "num_leads", "hidden"), [(3, 7, 12, 20), (17, 3, 1, 17), (1, 1, 12, 3)]
)
def test_the_numbers_are_those_of_pytorch(
    cell: str, num_records: int, num_steps: int, num_leads: int, hidden: int
) -> None:
    rnn = layer_of(cell, num_leads, hidden)
    signal = torch.randn(num_records, num_steps, num_leads, requires_grad=True)
    ours = states_and_gradients(rnn, signal, persistent.states_of(rnn, signal, torch.float32))
    theirs = states_and_gradients(rnn, signal, rnn(signal)[0])
    for found, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@interpreted
def test_what_is_not_trained_is_not_kept() -> None:
    rnn = layer_of("bilstm", 12, 20)
    signal = torch.randn(2, 5, 12)
    with torch.no_grad():
        torch.testing.assert_close(persistent.states_of(rnn, signal, torch.float32), rnn(signal)[0])


@pytest.mark.parametrize("name", ["bilstm", "gru_mean"])
def test_the_papers_backbones_ask_for_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone, x = create_backbone(name, num_samples=20).eval(), torch.randn(3, 12, 20)
    with torch.no_grad():
        wanted = backbone(x)
    monkeypatch.setattr(persistent, "serves", lambda rnn, signal: True)
    monkeypatch.setattr(persistent, "states_of", lambda rnn, signal: 2 * rnn(signal)[0])
    with torch.no_grad():
        torch.testing.assert_close(backbone(x), 2 * wanted)


@on_gpu
@pytest.mark.parametrize("name", ["lstm_benchmark", "lstm"])
def test_no_layer_computes_in_float16(name: str) -> None:
    """Wider and deeper layers are left in float32; both give numbers that are too small for float16."""
    backbone, x = create_backbone(name, num_samples=100).cuda(), torch.randn(3, 12, 100, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        loss = backbone(x).float().mean() * 2.0**-30
    gradients = torch.autograd.grad(loss, [*backbone.rnn.parameters()])  # type: ignore[union-attr]
    assert all(bool((value != 0).float().mean() > 0.5) for value in gradients)


@interpreted
def test_a_second_backward_is_refused() -> None:
    rnn = layer_of("gru", 12, 20)
    loss = persistent.states_of(rnn, torch.randn(2, 3, 12), torch.float32).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="cannot be called again"):
        loss.backward()


@interpreted
def test_triton_that_does_not_work_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    kernels.can_be_launched.cache_clear()
    try:
        with pytest.warns(UserWarning, match=r"Triton does not work here \(.+\): PyTorch's own layers are used"):
            assert not kernels.can_be_launched()
        assert not kernels.can_be_launched()
    finally:
        kernels.can_be_launched.cache_clear()


def test_the_cpu_and_full_precision_are_pytorchs() -> None:
    rnn, signal = layer_of("lstm", 12, 100), torch.zeros(2, 5, 12)
    assert not persistent.serves(rnn, signal)
    with torch.autocast("cpu", torch.bfloat16):
        assert not persistent.serves(rnn, signal)
    if HAS_GPU:
        assert not persistent.serves(rnn.cuda(), signal.cuda())


@on_gpu
@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize(("num_records", "num_steps"), [(37, 250), (5, 1)])
def test_in_bfloat16_they_are_near_those_of_float32(cell: str, num_records: int, num_steps: int) -> None:
    """bfloat16 has 8 bits: a number is off by .2 % on average."""
    rnn = layer_of(cell, 12, 100).cuda()
    signal = torch.rand(num_records, num_steps, 12, device="cuda").mul_(2).sub_(1).requires_grad_()
    with torch.autocast("cuda", torch.bfloat16):
        assert persistent.serves(rnn, signal)
        states = persistent.states_of(rnn, signal)
    with torch.backends.cudnn.flags(allow_tf32=False):
        theirs = states_and_gradients(rnn, signal, rnn(signal)[0])
    for found, wanted in zip(states_and_gradients(rnn, signal, states), theirs, strict=True):
        assert float((found - wanted).norm()) <= 0.01 * float(wanted.norm())


@on_gpu
def test_small_gradients_do_not_vanish() -> None:
    """Of a loss that is a mean over many records; in float16, which cuDNN takes under any autocast, they would."""
    rnn = layer_of("lstm", 12, 100).cuda()
    signal = torch.rand(16, 100, 12, device="cuda").mul_(2).sub_(1)
    gradients = []
    for share in (1.0, 2.0**-30):
        with torch.autocast("cuda", torch.bfloat16):
            states = persistent.states_of(rnn, signal)
        gradients.append(torch.autograd.grad(states.float().mean() * share, [*rnn.parameters()]))
    for usual, small in zip(*gradients, strict=True):
        assert bool((usual != 0).any())
        torch.testing.assert_close(small * 2.0**30, usual, rtol=1e-3, atol=0)
