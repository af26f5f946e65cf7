"""The Triton kernels of `ecg_transfer.models.normalization`, on arrays of `N` rows (a record's sample) of `C` channels.

Each of the two passes over a batch has a kernel of its own: the first takes sums of each channel, by a program for some
rows, whose sums stay apart so that they are always added in the same order; the second computes the values.

    x, out, shortcut and the slopes in them     (N, C)          any precision
    sums                                        (splits, 2, C)  float32, as everything else
    mean, scale (1 / standard deviation), gain, shift           (C,)
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def moments(
    x: tl.tensor,
    sums: tl.tensor,
    num_rows: int,
    num_channels: int,
    rows_each: int,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Sums and sums of squares of what is left of `x` without its first row, which keeps them from cancelling."""
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < num_channels
    about = tl.load(x + channels, mask=is_channel, other=0).to(tl.float32)[None, :]
    first, second = tl.zeros((ROWS, CHANNELS), tl.float32), tl.zeros((ROWS, CHANNELS), tl.float32)
    for start in range(0, rows_each, ROWS):
        rows = tl.program_id(0) * rows_each + start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        here = (rows < num_rows) & is_channel[None, :]
        value = tl.load(x + rows * num_channels + channels[None, :], mask=here, other=0).to(tl.float32)
        value = tl.where(here, value - about, 0)
        first += value
        second += value * value
    at = sums + tl.program_id(0) * 2 * num_channels + channels
    tl.store(at, tl.sum(first, 0), mask=is_channel)
    tl.store(at + num_channels, tl.sum(second, 0), mask=is_channel)


@triton.jit
def statistics(
    x: tl.tensor,
    sums: tl.tensor,
    mean: tl.tensor,
    scale: tl.tensor,
    running_mean: tl.tensor,
    running_var: tl.tensor,
    num_rows: int,
    num_channels: int,
    num_splits: int,
    momentum: float,
    eps: float,
    SPLITS: tl.constexpr,
    CHANNELS: tl.constexpr,
) -> None:
    """Mean and scale of each channel from its sums about the first row, and the running statistics after them."""
    channels = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < num_channels
    splits = tl.arange(0, SPLITS)[:, None]
    at = sums + splits * 2 * num_channels + channels[None, :]
    here = (splits < num_splits) & is_channel[None, :]
    first = tl.sum(tl.load(at, mask=here, other=0), 0) / num_rows
    second = tl.sum(tl.load(at + num_channels, mask=here, other=0), 0) / num_rows
    variance = tl.maximum(second - first * first, 0)
    center = tl.load(x + channels, mask=is_channel, other=0).to(tl.float32) + first
    before = tl.load(running_mean + channels, mask=is_channel, other=0)
    spread = tl.load(running_var + channels, mask=is_channel, other=0)
    tl.store(mean + channels, center, mask=is_channel)
    tl.store(scale + channels, 1 / tl.sqrt(variance + eps), mask=is_channel)
    tl.store(running_mean + channels, before + momentum * (center - before), mask=is_channel)
    unbiased = variance * (num_rows / (num_rows - 1.0))
    tl.store(running_var + channels, spread + momentum * (unbiased - spread), mask=is_channel)


@triton.jit
def rectify(
    x: tl.tensor,
    shortcut: tl.tensor,
    out: tl.tensor,
    mean: tl.tensor,
    scale: tl.tensor,
    gain: tl.tensor,
    shift: tl.tensor,
    num_rows: int,
    num_channels: int,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ADDS: tl.constexpr,
) -> None:
    """Normalise, add the shortcut if there is one, rectify; what is not a number stays so."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None].to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < num_channels
    here = (rows < num_rows) & is_channel[None, :]
    at = rows * num_channels + channels[None, :]
    factor = tl.load(scale + channels, mask=is_channel, other=0) * tl.load(gain + channels, mask=is_channel, other=0)
    offset = tl.load(shift + channels, mask=is_channel, other=0)
    about = tl.load(mean + channels, mask=is_channel, other=0)
    value = (tl.load(x + at, mask=here, other=0).to(tl.float32) - about[None, :]) * factor[None, :] + offset[None, :]
    if ADDS:
        value += tl.load(shortcut + at, mask=here, other=0).to(tl.float32)
    tl.store(out + at, tl.where(value < 0, 0, value).to(out.dtype.element_ty), mask=here)


@triton.jit
def _slope_and_value(
    grad: tl.tensor,
    x: tl.tensor,
    out: tl.tensor,
    at: tl.tensor,
    here: tl.tensor,
    about: tl.tensor,
    factor: tl.tensor,
    by: tl.tensor,
    offset: tl.tensor,
    ADDS: tl.constexpr,
) -> tl.tuple:
    """The slopes in what was rectified, and the normalised values; without a shortcut its sign follows from `x`."""
    value = tl.load(x + at, mask=here, other=0).to(tl.float32) - about
    if ADDS:
        level = tl.load(out + at, mask=here, other=0).to(tl.float32)
    else:
        level = value * by + offset
    slope = tl.load(grad + at, mask=here, other=0).to(tl.float32)
    return tl.where(level > 0, slope, 0), value * factor


@triton.jit
def slope_sums(
    grad: tl.tensor,
    x: tl.tensor,
    out: tl.tensor,
    sums: tl.tensor,
    mean: tl.tensor,
    scale: tl.tensor,
    gain: tl.tensor,
    shift: tl.tensor,
    num_rows: int,
    num_channels: int,
    rows_each: int,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ADDS: tl.constexpr,
) -> None:
    """Sums of the slopes in what was rectified, and of their products with the normalised values."""
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < num_channels
    about = tl.load(mean + channels, mask=is_channel, other=0)[None, :]
    factor = tl.load(scale + channels, mask=is_channel, other=0)[None, :]
    by = factor * tl.load(gain + channels, mask=is_channel, other=0)[None, :]
    offset = tl.load(shift + channels, mask=is_channel, other=0)[None, :]
    first, second = tl.zeros((ROWS, CHANNELS), tl.float32), tl.zeros((ROWS, CHANNELS), tl.float32)
    for start in range(0, rows_each, ROWS):
        rows = tl.program_id(0) * rows_each + start + tl.arange(0, ROWS)[:, None].to(tl.int64)
        here = (rows < num_rows) & is_channel[None, :]
        at = rows * num_channels + channels[None, :]
        slope, value = _slope_and_value(grad, x, out, at, here, about, factor, by, offset, ADDS)
        first += slope
        second += slope * value
    at = sums + tl.program_id(0) * 2 * num_channels + channels
    tl.store(at, tl.sum(first, 0), mask=is_channel)
    tl.store(at + num_channels, tl.sum(second, 0), mask=is_channel)


@triton.jit
def slopes(
    grad: tl.tensor,
    x: tl.tensor,
    out: tl.tensor,
    grad_x: tl.tensor,
    grad_shortcut: tl.tensor,
    sums: tl.tensor,
    mean: tl.tensor,
    scale: tl.tensor,
    gain: tl.tensor,
    shift: tl.tensor,
    num_rows: int,
    num_channels: int,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
    ADDS: tl.constexpr,
) -> None:
    """The slopes in `x`, and in the shortcut if there is one; `sums` of all rows, `(2, C)`."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None].to(tl.int64)
    channels = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    is_channel = channels < num_channels
    here = (rows < num_rows) & is_channel[None, :]
    at = rows * num_channels + channels[None, :]
    about = tl.load(mean + channels, mask=is_channel, other=0)[None, :]
    factor = tl.load(scale + channels, mask=is_channel, other=0)[None, :]
    by = factor * tl.load(gain + channels, mask=is_channel, other=0)[None, :]
    offset = tl.load(shift + channels, mask=is_channel, other=0)[None, :]
    first = tl.load(sums + channels, mask=is_channel, other=0)[None, :] / num_rows
    second = tl.load(sums + num_channels + channels, mask=is_channel, other=0)[None, :] / num_rows
    slope, value = _slope_and_value(grad, x, out, at, here, about, factor, by, offset, ADDS)
    tl.store(grad_x + at, (by * (slope - first - value * second)).to(grad_x.dtype.element_ty), mask=here)
    if ADDS:
        tl.store(grad_shortcut + at, slope.to(grad_shortcut.dtype.element_ty), mask=here)
