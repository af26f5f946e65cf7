"""Batch normalisation, and what follows it in a ResNet: a shortcut that is added, and a rectifier.

In bfloat16 on a GPU these passes over memory, not the convolutions, were 59 % of a ResNet1d-50's step (H200, batch
256). There the three operations are two passes forward and two back in place of five to eight each way: the same numbers
up to rounding. Everywhere else, and for layers that are frozen, synchronised or traced, PyTorch's own are used.

Batch normalisation: Ioffe & Szegedy 2015 (arXiv 1502.03167).
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecg_transfer.models.backbone import is_traced

ROWS, CHANNELS = 64, 64
"""Of a program's tile: 128 bytes of bfloat16 in a row."""
ROWS_OF_SUMS = 32
PROGRAMS, MOST_SPLITS = 2048, 512
"""Of a sum over rows: enough to keep a large GPU's memory busy, few enough that one program adds up what they found."""
CHANNELS_OF_TOTALS = 16


class BatchNorm1d(nn.BatchNorm1d):
    """`nn.BatchNorm1d` that also takes `(B, C, 1, T)`."""

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
        return fused(norm, x, shortcut) if norm.training else evaluated(norm, x, shortcut)
    out = norm(x) if shortcut is None else norm(x) + shortcut
    return F.relu(out, inplace=True)


def _is_served(norm: BatchNorm1d, x: Tensor, shortcut: Tensor | None) -> bool:
    if is_traced() or not x.is_cuda or norm.training != torch.is_grad_enabled():
        return False
    is_usual = norm.affine and norm.track_running_stats and norm.momentum is not None and not _is_watched(norm)
    return is_usual and _has_layout(x) and (shortcut is None or _has_layout(shortcut)) and _has_triton()


def _is_watched(norm: nn.Module) -> bool:
    return bool(norm._forward_hooks or norm._forward_pre_hooks or norm._backward_hooks or norm._backward_pre_hooks)


def _has_layout(x: Tensor) -> bool:
    is_short = x.dtype in (torch.bfloat16, torch.float16, torch.float32)
    return x.dim() == 4 and is_short and x.is_contiguous(memory_format=torch.channels_last) and x.shape[0] * x.shape[3] > 1


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return torch.version.cuda is not None and find_spec("triton") is not None


def fused(norm: BatchNorm1d, x: Tensor, shortcut: Tensor | None) -> Tensor:
    """What `rectified` computes, of `(B, C, 1, T)` in channels-last memory format, as kernels of our own."""
    assert norm.num_batches_tracked is not None
    norm.num_batches_tracked.add_(1)
    out: Tensor = _Rectified.apply(x, shortcut, norm.weight, norm.bias, norm)  # type: ignore[no-untyped-call]
    return out


def evaluated(norm: BatchNorm1d, x: Tensor, shortcut: Tensor | None) -> Tensor:
    """The same with the running statistics, which stay as they are; it has no gradient."""
    out = torch.empty_like(x)
    _rectify(x, shortcut, out, norm.running_mean, norm.running_var, norm, evaluates=True)
    return out


def _rectify(
    x: Tensor,
    shortcut: Tensor | None,
    out: Tensor,
    mean: Tensor | None,
    scale: Tensor | None,
    norm: BatchNorm1d,
    *,
    evaluates: bool,
) -> None:
    from ecg_transfer.models import normalization_kernels as kernels

    num_rows, num_channels = x.numel() // x.shape[1], x.shape[1]
    kernels.rectify[(_number(num_rows, ROWS), _number(num_channels, CHANNELS))](
        x, shortcut, out, mean, scale, norm.weight, norm.bias, num_rows, num_channels, norm.eps,
        ROWS=ROWS, CHANNELS=CHANNELS, ADDS=shortcut is not None, EVALUATES=evaluates,
    )  # fmt: skip


class _Rectified(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        x: Tensor,
        shortcut: Tensor | None,
        gain: Tensor,
        shift: Tensor,
        norm: BatchNorm1d,
    ) -> Tensor:
        from ecg_transfer.models import normalization_kernels as kernels

        num_rows, num_channels = x.numel() // x.shape[1], x.shape[1]
        num_splits, rows_each = _splits(num_rows, num_channels)
        sums = x.new_empty(num_splits, 2, num_channels, dtype=torch.float32)
        mean, scale = x.new_empty(2, num_channels, dtype=torch.float32).unbind()
        kernels.moments[(num_splits, _number(num_channels, CHANNELS))](
            x, norm.running_mean, sums, num_rows, num_channels, rows_each, ROWS=ROWS_OF_SUMS, CHANNELS=CHANNELS
        )
        kernels.statistics[(_number(num_channels, CHANNELS_OF_TOTALS),)](
            sums, mean, scale, norm.running_mean, norm.running_var, num_rows, num_channels, num_splits,
            norm.momentum, norm.eps, SPLITS=_power_of_two(num_splits), CHANNELS=CHANNELS_OF_TOTALS,
        )  # fmt: skip
        out = torch.empty_like(x)
        _rectify(x, shortcut, out, mean, scale, norm, evaluates=False)
        ctx.adds = shortcut is not None
        ctx.save_for_backward(x, out if ctx.adds else None, gain, shift, mean, scale)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        from ecg_transfer.models import normalization_kernels as kernels

        x, out, gain, shift, mean, scale = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        num_rows, num_channels = x.numel() // x.shape[1], x.shape[1]
        num_splits, rows_each = _splits(num_rows, num_channels)
        parts = x.new_empty(num_splits, 2, num_channels, dtype=torch.float32)
        kernels.slope_sums[(num_splits, _number(num_channels, CHANNELS))](
            grad, x, out, parts, mean, scale, gain, shift, num_rows, num_channels, rows_each,
            ROWS=ROWS_OF_SUMS, CHANNELS=CHANNELS, ADDS=ctx.adds,
        )  # fmt: skip
        sums = torch.empty_like(parts[0])
        kernels.total[(_number(2 * num_channels, CHANNELS_OF_TOTALS),)](
            parts, sums, 2 * num_channels, num_splits, SPLITS=_power_of_two(num_splits), CHANNELS=CHANNELS_OF_TOTALS
        )
        grad_x = torch.empty_like(x)
        grad_shortcut = torch.empty_like(x) if ctx.adds else None
        kernels.slopes[(_number(num_rows, ROWS), _number(num_channels, CHANNELS))](
            grad, x, out, grad_x, grad_shortcut, sums, mean, scale, gain, shift, num_rows, num_channels,
            ROWS=ROWS, CHANNELS=CHANNELS, ADDS=ctx.adds,
        )  # fmt: skip
        return grad_x, grad_shortcut, sums[1], sums[0], None


def _splits(num_rows: int, num_channels: int) -> tuple[int, int]:
    """Programs that share the rows, and how many rows each takes, a multiple of a tile's."""
    tiles = _number(num_rows, ROWS_OF_SUMS)
    wanted = min(MOST_SPLITS, max(1, PROGRAMS // _number(num_channels, CHANNELS)), tiles)
    rows_each = _number(tiles, wanted) * ROWS_OF_SUMS
    return _number(num_rows, rows_each), rows_each


def _number(whole: int, part: int) -> int:
    """Parts that cover the whole."""
    return -(-whole // part)


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
