"""LSTM and GRU layers on a GPU in bfloat16, in one kernel for all time steps.

cuDNN launches kernels for each step of such a narrow layer, and each waits for the last: 1,000 steps of 100 units took
an H100 6 us each, both ways. Here a multiprocessor walks through all steps of 16 records by itself, its weights beside
it (Diamos et al. 2016, "Persistent RNNs", ICML; Pöppel et al. 2024, arXiv 2412.07752), so that nothing waits for a
launch, and most of the GPU is left to other runs. On an H200 a training step is 1.7 (LSTM), 2.7 (BiLSTM) and 2.5 (GRU)
times as fast as cuDNN's in float32, and four runs side by side do twice what one does.

Products are of bfloat16 with float32 sums, as autocast has them; cell states, and those of a GRU, are float32. (Under
autocast PyTorch calls cuDNN in float16, whatever is asked for, in which the gradients of a mean over many records
vanish: https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/cudnn/AutocastRNN.cpp.)
Other precisions and devices are left to PyTorch's own layers.

Shape legend: see `ecg_transfer.models.kernels.persistent`.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecg_transfer.models.backbone import is_traced, is_watched
from ecg_transfer.models.kernels import can_be_launched, num_parts, power_of_two

ROWS = 16
"""Records of a multiprocessor; a tensor core takes no fewer."""
WARPS = 8
NARROWEST, WIDEST = 16, 128
"""Units with the zeros beside them; wider weights do not fit beside a multiprocessor."""
SHARED_BYTES = 160 * 1024
"""Of a multiprocessor's memory that an LSTM of the widest takes; A100 and H100 have it, most others have 100 kB."""


def outputs_of(rnn: nn.LSTM | nn.GRU, signal: Tensor) -> Tensor:
    """The states of a recurrent network's last layer, `(B, T, D * H)`, of signals `(B, T, leads)`, from a zero state.

    By our kernels where they serve, else by PyTorch's layers; on a GPU those compute in full precision, whatever
    autocast says, because they would in float16.

    Args:
        rnn: With `batch_first`.
        signal: Contiguous.
    """
    if serves(rnn, signal):
        return states_of(rnn, signal)
    in_full = signal.is_cuda and torch.is_autocast_enabled("cuda")
    with torch.autocast("cuda", enabled=False) if in_full else nullcontext():
        outputs: Tensor = rnn(signal.float() if in_full else signal)[0]
    return outputs


def serves(rnn: nn.LSTM | nn.GRU, signal: Tensor) -> bool:
    """Whether `states_of` computes this layer: under bfloat16 autocast, on a GPU that has room for it.

    Args:
        rnn: One layer, `batch_first`, with biases.
        signal: `(B, T, leads)`.
    """
    if is_traced() or not signal.is_cuda or not torch.is_autocast_enabled("cuda"):
        return False
    is_plain = rnn.batch_first and rnn.bias and not rnn.proj_size and not is_watched(rnn)
    is_narrow = rnn.hidden_size <= WIDEST and rnn.input_size <= NARROWEST and rnn.num_layers == 1
    is_half = torch.get_autocast_dtype("cuda") == torch.bfloat16 and rnn.weight_hh_l0.dtype == torch.float32
    return is_plain and is_narrow and is_half and signal.numel() > 0 and _fits(signal.device)


@lru_cache
def _fits(device: torch.device) -> bool:
    properties = torch.cuda.get_device_properties(device)
    has_room = int(getattr(properties, "shared_memory_per_block_optin", 0)) >= SHARED_BYTES
    return has_room and can_be_launched()


def states_of(rnn: nn.LSTM | nn.GRU, signal: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """All states `(B, T, D * H)` of signals `(B, T, leads)`, from a zero state.

    Args:
        rnn: What `serves` says yes to.
        signal: Any float precision.
        dtype: Of the products, and of the states.
    """
    weights = [getattr(rnn, name) for names in rnn._all_weights for name in names]
    is_trained = torch.is_grad_enabled() and any(value.requires_grad for value in (signal, *weights))
    with torch.cuda.device_of(signal):  # type: ignore[no-untyped-call]
        states: Tensor = _States.apply(signal.contiguous(), dtype, isinstance(rnn, nn.GRU), is_trained, *weights)  # type: ignore[no-untyped-call]
    return states


class _States(torch.autograd.Function):
    """States of a signal, the products' precision, whether it is a GRU and is trained, each direction's weights."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        signal: Tensor,
        dtype: torch.dtype,
        is_gru: bool,
        is_trained: bool,
        *weights: Tensor,
    ) -> Tensor:
        from ecg_transfer.models.kernels import persistent as kernels

        (num_records, num_steps, num_leads), hidden = signal.shape, weights[1].shape[1]
        num_gates, directions = 3 if is_gru else 4, len(weights) // 4
        width, inputs = (max(NARROWEST, power_of_two(number)) for number in (hidden, num_leads))
        weight_x = _filled(weights[0::4], dtype, num_gates, width, inputs)
        weight_h = _filled(weights[1::4], dtype, num_gates, width, width)
        bias = _biases(weights, num_gates, width)
        states = signal.new_empty(num_records, num_steps, directions * hidden, dtype=dtype)
        kept = directions * is_trained
        gates = signal.new_empty(kept, num_records, num_steps, 4, width, dtype=dtype)
        cells = signal.new_empty(kept, num_records, num_steps + 1, width, dtype=torch.float32)
        kernel = kernels.gru_forward if is_gru else kernels.lstm_forward
        kernel[(num_parts(num_records, ROWS), directions)](
            signal, weight_x, weight_h, bias, gates, cells, states, num_records, num_steps, num_leads, hidden,
            INPUTS=inputs, WIDTH=width, ROWS=ROWS, KEPT=is_trained, num_warps=WARPS,
        )  # fmt: skip
        ctx.save_for_backward(signal, weight_x, weight_h, gates, cells, states)
        ctx.is_gru, ctx.hidden, ctx.is_spent = is_gru, hidden, False
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from ecg_transfer.models.kernels import persistent as kernels

        if ctx.is_spent:
            raise RuntimeError("backward cannot be called again: the slopes are in the gates' place; go forward again")
        ctx.is_spent = True
        signal, weight_x, weight_h, gates, cells, states = ctx.saved_tensors
        directions, num_records, num_steps, _, width = gates.shape
        kernel = kernels.gru_backward if ctx.is_gru else kernels.lstm_backward
        kernel[(num_parts(num_records, ROWS), directions)](
            grad.contiguous(), weight_h, gates, cells, num_records, num_steps, ctx.hidden,
            WIDTH=width, ROWS=ROWS, num_warps=WARPS,
        )  # fmt: skip
        num_gates = weight_h.shape[1]  # a GRU's third reads the signal and its fourth the state
        num_leads, grads = signal.shape[2], []
        for direction, slopes in enumerate(gates.flatten(1, 2).flatten(2)):
            before = states[:, :, direction * ctx.hidden : (direction + 1) * ctx.hidden]
            before = F.pad(before[:, 1:], (0, 0, 0, 1)) if direction else F.pad(before[:, :-1], (0, 0, 1, 0))
            inputs = torch.cat([signal.to(before.dtype), before], dim=2).flatten(0, 1)
            by_input = (slopes.t() @ inputs).view(4, width, -1)[:, : ctx.hidden]
            by_bias = slopes.sum(0, dtype=torch.float32).view(4, width)[:, : ctx.hidden]
            grads += [
                by_input[:num_gates, :, :num_leads].flatten(0, 1).float(),
                torch.cat([by_input[:2, :, num_leads:], by_input[2 - num_gates :, :, num_leads:]])
                .flatten(0, 1)
                .float(),
                by_bias[:num_gates].flatten(),
                torch.cat([by_bias[:2], by_bias[2 - num_gates :]]).flatten(),
            ]
        return _grad_of_signal(ctx, signal, weight_x, gates), None, None, None, *grads


def _grad_of_signal(ctx: Any, signal: Tensor, weight_x: Tensor, gates: Tensor) -> Tensor | None:  # noqa: ANN401
    if not ctx.needs_input_grad[0]:
        return None
    slopes = gates[:, :, :, : weight_x.shape[1]].flatten(3).flatten(1, 2)
    grad = (slopes @ weight_x.flatten(1, 2)).float().sum(0)
    return grad[:, : signal.shape[2]].reshape(signal.shape).to(signal.dtype)


def _filled(weights: tuple[Tensor, ...], dtype: torch.dtype, num_gates: int, width: int, num_inputs: int) -> Tensor:
    """Weights `(gates * H, inputs)` of each direction as one array `(D, gates, W, num_inputs)`."""
    stacked = torch.stack(weights).to(dtype)
    stacked = stacked.view(len(weights), num_gates, -1, stacked.shape[2])
    return F.pad(stacked, (0, num_inputs - stacked.shape[3], 0, width - stacked.shape[2]))


def _biases(weights: tuple[Tensor, ...], num_gates: int, width: int) -> Tensor:
    """What is added in each gate, `(D, 4, W)` in float32; a GRU's fourth is what its reset gate multiplies."""
    directions = len(weights) // 4
    of_x, of_h = (torch.stack(weights[first::4]).view(directions, num_gates, -1) for first in (2, 3))
    is_gru = num_gates == 3
    added = torch.cat([of_x[:, :2] + of_h[:, :2], of_x[:, 2:], of_h[:, 2:]], dim=1) if is_gru else of_x + of_h
    return F.pad(added, (0, width - added.shape[2]))
