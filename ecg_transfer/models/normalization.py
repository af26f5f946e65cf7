"""Batch normalisation, and what follows it in a bottleneck: a shortcut that is added, and a rectifier.

On a GPU in bfloat16 these passes over memory, not the convolutions, were 59 % of the kernels' time in a ResNet1d-50's
step (H200, batch 256, 10 s at 100 Hz). While a step is recorded as CUDA graphs they become two kernels forward and two
back that pass over memory, in place of four and five: 1.17 times the speed, and 1.14 for ResNet1d-101; the same numbers
up to rounding. Where nothing is recorded they are not worth their launches (5,900 records/s on an H200; PyTorch's own
8,800 on an H100), and a ResNet1d-18 gained nothing (.91 to .99 times the speed). There, and for layers that are frozen
or watched, PyTorch's own are used.

Batch normalisation: Ioffe & Szegedy 2015 (arXiv 1502.03167).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecg_transfer.models.backbone import is_traced, is_watched
from ecg_transfer.models.kernels import can_be_launched, num_parts, power_of_two

ROWS, CHANNELS = 64, 64
"""Of a program's tile: 128 bytes of bfloat16 in a row."""
PROGRAMS, MOST_SPLITS = 1024, 256
"""Of a sum over rows: enough to keep a large GPU's memory busy, few enough that one program adds up what they found."""
CHANNELS_OF_STATISTICS = 16

_is_recorded = ContextVar("is_recorded", default=False)


@contextmanager
def while_recording() -> Iterator[None]:
    """Around the recording of a training step on a GPU."""
    token = _is_recorded.set(True)
    try:
        yield
    finally:
        _is_recorded.reset(token)


class BatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` that also takes `(B, C, 1, T)`; a single value a channel takes the running statistics.

    So it is where the last batch of an epoch holds one record, of which one time step is left; PyTorch's refuses that.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `(B, C, [1,] T)`."""
        if self.training and input.numel() == input.shape[1]:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() not in (3, 4):
            raise ValueError(f"BatchNorm1d got {input.dim()} dimensions, expected (B, C, T) or (B, C, 1, T)")


def rectified(norm: nn.Module, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
    """`relu(norm(x) + shortcut)`.

    Args:
        norm: `BatchNorm1d`, or what it was exchanged for.
        x: `(B, C, T)` or `(B, C, 1, T)`.
        shortcut: Of the same shape.
    """
    if isinstance(norm, BatchNorm1d) and _is_served(norm, x, shortcut):
        return fused(norm, x, shortcut)
    out = norm(x) if shortcut is None else norm(x) + shortcut
    return F.relu(out, inplace=True)


def _is_served(norm: BatchNorm1d, x: Tensor, shortcut: Tensor | None) -> bool:
    if is_traced() or not _is_recorded.get():  # in this order: a compiler could not follow the second
        return False
    is_usual = (
        norm.training
        and norm.affine
        and norm.track_running_stats
        and norm.momentum is not None
        and not is_watched(norm)
    )
    return is_usual and _has_layout(x) and (shortcut is None or _has_layout(shortcut)) and can_be_launched()


def _has_layout(x: Tensor) -> bool:
    is_short = x.dtype in (torch.bfloat16, torch.float16, torch.float32)
    return x.dim() == 4 and is_short and x.is_contiguous(memory_format=torch.channels_last) and x.numel() > x.shape[1]


def fused(norm: BatchNorm1d, x: Tensor, shortcut: Tensor | None) -> Tensor:
    """What `rectified` computes, of `(B, C, 1, T)` in channels-last memory format, as kernels of our own."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        out: Tensor = _Rectified.apply(x, shortcut, norm.weight, norm.bias, norm)  # type: ignore[no-untyped-call]
    return out


class _Rectified(torch.autograd.Function):
    """Of `x`, the shortcut or None, the layer's weight and bias, and the layer, whose running statistics are moved."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        shortcut: Tensor | None,
        gain: Tensor,
        shift: Tensor,
        norm: BatchNorm1d,
    ) -> Tensor:
        from ecg_transfer.models.kernels import normalization as kernels

        num_rows, num_channels = x.numel() // x.shape[1], x.shape[1]
        num_splits, rows_each = _splits(num_rows, num_channels)
        by_channel = (num_splits, num_parts(num_channels, CHANNELS))
        sums = x.new_empty(num_splits, 2, num_channels, dtype=torch.float32)
        mean, scale = x.new_empty(2, num_channels, dtype=torch.float32).unbind()
        kernels.moments[by_channel](x, sums, num_rows, num_channels, rows_each, ROWS=ROWS, CHANNELS=CHANNELS)
        kernels.statistics[(num_parts(num_channels, CHANNELS_OF_STATISTICS),)](
            x, sums, mean, scale, norm.running_mean, norm.running_var, num_rows, num_channels, num_splits,
            norm.momentum, norm.eps, SPLITS=power_of_two(num_splits), CHANNELS=CHANNELS_OF_STATISTICS,
        )  # fmt: skip
        out = torch.empty_like(x)
        kernels.rectify[(num_parts(num_rows, ROWS), by_channel[1])](
            x, shortcut, out, mean, scale, gain, shift, num_rows, num_channels,
            ROWS=ROWS, CHANNELS=CHANNELS, ADDS=shortcut is not None,
        )  # fmt: skip
        ctx.adds = shortcut is not None
        ctx.save_for_backward(x, out if ctx.adds else None, gain, shift, mean, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from ecg_transfer.models.kernels import normalization as kernels

        x, out, gain, shift, mean, scale = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        num_rows, num_channels = x.numel() // x.shape[1], x.shape[1]
        num_splits, rows_each = _splits(num_rows, num_channels)
        by_channel = (num_splits, num_parts(num_channels, CHANNELS))
        parts = x.new_empty(num_splits, 2, num_channels, dtype=torch.float32)
        kernels.slope_sums[by_channel](
            grad, x, out, parts, mean, scale, gain, shift, num_rows, num_channels, rows_each,
            ROWS=ROWS, CHANNELS=CHANNELS, ADDS=ctx.adds,
        )  # fmt: skip
        sums = parts.sum(0)
        grad_x = torch.empty_like(x)
        grad_shortcut = torch.empty_like(x) if ctx.adds else None
        kernels.slopes[(num_parts(num_rows, ROWS), by_channel[1])](
            grad, x, out, grad_x, grad_shortcut, sums, mean, scale, gain, shift, num_rows, num_channels,
            ROWS=ROWS, CHANNELS=CHANNELS, ADDS=ctx.adds,
        )  # fmt: skip
        return grad_x, grad_shortcut, sums[1], sums[0], None


def _splits(num_rows: int, num_channels: int) -> tuple[int, int]:
    """Programs that share the rows, and how many rows each takes, a multiple of a tile's."""
    wanted = min(MOST_SPLITS, max(1, PROGRAMS * CHANNELS // num_channels), num_parts(num_rows, ROWS))
    rows_each = num_parts(num_rows, wanted * ROWS) * ROWS
    return num_parts(num_rows, rows_each), rows_each
