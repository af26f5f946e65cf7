"""A GRU layer that trains faster on a CPU than `nn.GRU`, with the same parameters and the same numbers.

PyTorch runs `nn.LSTM` through oneDNN, but has no such kernel for the GRU: it walks through time with a dozen small
operators a step, all of them recorded by autograd. Here time is cut into blocks of steps that fit into a core's cache:

- the input's part of all gates is one product a block, and so are the gradients of the weights;
- the slopes of the gates, by which backward multiplies, are computed a block at a time, before the loop over its steps;
- so a step is 5 operators forward and 3 backward, all of which write into place.

Shape legend besides that of `ecg_transfer.models.backbone`: `H` hidden units, `I` inputs, `S` steps of a block. The
gates of a block are `(S, B, 4, H)` in the order n, r, z, m, so that those that read the last state lie side by side:

    r = sigmoid(W_r x + U_r h), z = sigmoid(W_z x + U_z h), m = U_n h, n = tanh(W_n x + r m), h' = n + z (h - n)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecg_transfer.models.backbone import is_traced

ROWS_OF_A_BLOCK = 512
"""`S * B`: 0.8 MB of float32 gates at 100 hidden units; backward has two such arrays in a second-level cache."""


class GRU(nn.GRU):
    """`nn.GRU(num_inputs, hidden_size, batch_first=True)` from a zero state: its parameters, their names, its numbers.

    On a GPU, in half precision, and where the layer is traced or exported, it *is* `nn.GRU`; else the numbers are the
    same up to rounding. Autocast leaves it in float32: at this width the conversions cost more than bfloat16 saves.
    """

    def __init__(self, num_inputs: int, hidden_size: int) -> None:
        super().__init__(num_inputs, hidden_size, batch_first=True)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """All states `(B, T, H)` and the last one `(1, B, H)` of inputs `(B, T, I)`."""
        if not self._is_served(signal):
            states, last = super().forward(signal)
            return states, last
        weights = tuple(self.parameters())
        if torch.is_autocast_enabled("cpu"):
            signal = signal.to(weights[0].dtype)
        is_trained = torch.is_grad_enabled() and any(value.requires_grad for value in (signal, *weights))
        with _full_precision():
            states = _GRUFunction.apply(signal, *weights, is_trained)  # type: ignore[no-untyped-call]
        return states, states[:, -1].unsqueeze(0)

    def _is_served(self, signal: Tensor) -> bool:
        if is_traced():
            return False
        weight = self.weight_hh_l0
        is_exact = weight.dtype in (torch.float32, torch.float64)
        return is_exact and signal.device.type == weight.device.type == "cpu" and signal.dim() == 3


def _full_precision() -> torch.autocast:
    return torch.autocast("cpu", enabled=False)


class _GRUFunction(torch.autograd.Function):
    """States `(B, T, H)` of inputs `(B, T, I)`, the four parameters of `nn.GRU`, and whether backward will come."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        signal: Tensor,
        w_x: Tensor,
        w_h: Tensor,
        b_x: Tensor,
        b_h: Tensor,
        is_trained: bool,
    ) -> Tensor:
        (num_records, num_steps, _), hidden = signal.shape, w_h.shape[1]
        from_input, from_state = _gate_weights(w_x), w_h.t().contiguous()
        bias = torch.cat([b_x[2 * hidden :], b_x[: 2 * hidden] + b_h[: 2 * hidden], b_h[2 * hidden :]])
        states = signal.new_empty(num_steps + 1, num_records, hidden)
        states[0] = 0
        blocks = []
        for start, inputs in _blocks(signal):
            gates = torch.addmm(bias, inputs.flatten(0, 1), from_input).view(len(inputs), num_records, 4, hidden)
            _advance(gates, from_state, states[start : start + len(inputs) + 1])
            if is_trained:
                blocks.append(gates)
        ctx.save_for_backward(signal, w_x, w_h, states, *blocks)
        return states[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    @_full_precision()  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override] # noqa: ANN401
        signal, w_x, w_h, states, *blocks = ctx.saved_tensors
        hidden = w_h.shape[1]
        w_h = w_h.contiguous()
        grad_signal = torch.empty_like(signal) if ctx.needs_input_grad[0] else None
        grad_x, grad_h = signal.new_zeros(4 * hidden, signal.shape[2]), torch.zeros_like(w_h)
        grad_bias = signal.new_zeros(4 * hidden)
        carried = torch.zeros_like(states[0])
        workspace = torch.empty_like(blocks[0])
        for (start, inputs), gates in zip(reversed(_blocks(signal)), reversed(blocks), strict=True):
            before = states[start : start + len(inputs)]
            slopes = _slopes(gates, before, out=workspace[: len(inputs)])
            upstream = grad[:, start : start + len(inputs)].transpose(0, 1).contiguous()
            _retreat(slopes, gates[:, :, 2], w_h, upstream, carried)
            flat = slopes.flatten(0, 1).flatten(1)
            grad_x.addmm_(flat.t(), inputs.flatten(0, 1))
            grad_h.addmm_(flat[:, hidden:].t(), before.flatten(0, 1))
            grad_bias += flat.sum(0)
            if grad_signal is not None:
                parts = (flat @ _gate_weights(w_x).t()).view_as(inputs)
                grad_signal[:, start : start + len(inputs)] = parts.transpose(0, 1)
        new, reset_update = slice(0, hidden), slice(hidden, 3 * hidden)
        return (
            grad_signal,
            torch.cat([grad_x[reset_update], grad_x[new]]),
            grad_h,
            torch.cat([grad_bias[reset_update], grad_bias[new]]),
            grad_bias[hidden:],
            None,
        )


def _blocks(signal: Tensor) -> list[tuple[int, Tensor]]:
    """First step and inputs `(S, B, I)` of each block of `(B, T, I)`."""
    steps = max(1, ROWS_OF_A_BLOCK // max(1, len(signal)))
    return [(start, signal[:, start : start + steps].transpose(0, 1)) for start in range(0, signal.shape[1], steps)]


def _gate_weights(w_x: Tensor) -> Tensor:
    """The input's weights `(3 H, I)`, in the order r, z, n, as `(I, 4 H)` in the order n, r, z, m; m reads no input."""
    hidden = len(w_x) // 3
    return torch.cat([w_x[2 * hidden :], w_x[: 2 * hidden], torch.zeros_like(w_x[:hidden])]).t().contiguous()


def _advance(gates: Tensor, from_state: Tensor, states: Tensor) -> None:
    """Walk through a block.

    Args:
        gates: `(S, B, 4, H)`; the input's part and the bias, in whose place the gates come.
        from_state: The state's weights, `(H, 3 H)` in the order r, z, n.
        states: `(S + 1, B, H)`; the first one is given, the others are filled in.
    """
    hidden = len(from_state)
    flat = gates.flatten(2)
    steps = zip(
        flat[:, :, hidden:].unbind(),
        flat[:, :, hidden : 3 * hidden].unbind(),
        *(gate.unbind() for gate in gates.unbind(2)),
        states[:-1].unbind(),
        states[1:].unbind(),
        strict=True,
    )
    for reading, r_and_z, n, r, z, m, before, after in steps:
        reading.addmm_(before, from_state)
        r_and_z.sigmoid_()
        n.addcmul_(r, m).tanh_()
        torch.lerp(n, before, z, out=after)


def _slopes(gates: Tensor, before: Tensor, out: Tensor) -> Tensor:
    """By what the loss's slope in a new state is multiplied to be that in what each gate is a function of.

    Args:
        gates: `(S, B, 4, H)`.
        before: The states that the steps begin with, `(S, B, H)`.
        out: Filled, `(S, B, 4, H)`.
    """
    n, r, z, m = gates.unbind(2)
    slope_n, slope_r, slope_z, slope_m = out.unbind(2)
    kept = 1 - z
    torch.mul(n, n, out=slope_n).neg_().add_(1).mul_(kept)
    torch.mul(slope_n, r, out=slope_m)
    torch.mul(slope_m, m, out=slope_r).addcmul_(slope_r, r, value=-1)
    torch.sub(before, n, out=slope_z).mul_(z).mul_(kept)
    return out


def _retreat(slopes: Tensor, z: Tensor, w_h: Tensor, upstream: Tensor, carried: Tensor) -> None:
    """Walk back through a block.

    Args:
        slopes: `(S, B, 4, H)` from `_slopes`; multiplied by the loss's slope in the new states.
        z: The update gate, `(S, B, H)`.
        w_h: The state's weights, `(3 H, H)`.
        upstream: The loss's slope in the outputs, `(S, B, H)`; used up.
        carried: The part of the loss's slope in the last state that later steps brought, `(B, H)`; in its place comes
            that of the state before the block.
    """
    reading = slopes.flatten(2)[:, :, w_h.shape[1] :]
    upstream[-1] += carried
    targets = [carried.zero_(), *upstream[:-1].unbind()]
    steps = list(zip(slopes.unbind(), reading.unbind(), z.unbind(), upstream.unbind(), targets, strict=True))
    for slope, read, kept, grad, target in reversed(steps):
        slope.mul_(grad.unsqueeze(1))
        target.addcmul_(grad, kept).addmm_(read, w_h)
