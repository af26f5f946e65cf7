"""Pure functions on signals: resample, crop or pad, scale.

Until it is cached a signal is (leads, samples), float32 millivolts; in a cache and in a batch (..., samples, leads).
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import Literal

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.signal import firwin
from torch import Tensor

from data_modules.config import Preprocessing

MILLIVOLTS_PER_UNIT = 0.2
"""The fixed scale of `millivolt`: brings a typical QRS complex to about ±5, its baseline noise to about ±0.1."""

FLAT = 1e-6
"""Millivolts: a lead that varies less is flat. A nanovolt is a thousandth of the finest step of any corpus."""


def prepare(
    signal: NDArray[np.float32] | NDArray[np.int16],
    sampling_rate: int,
    preprocessing: Preprocessing,
    gain: float | None = None,
) -> NDArray[np.float32]:
    """Resample and crop or pad one record, not yet scaled.

    Args:
        signal: Millivolts, (leads, samples), all finite; or A/D codes.
        sampling_rate: Hz of `signal`.
        preprocessing: What is wanted.
        gain: A/D units per millivolt where `signal` holds codes: only those that are needed become millivolts, the same
            ones as all of them would.

    Returns:
        Millivolts, (leads, preprocessing.num_samples).

    Raises:
        ValueError: `stride` was asked for between rates that are no multiples.
    """
    wanted = preprocessing.num_samples
    available = -(-signal.shape[-1] * preprocessing.sampling_rate // sampling_rate)
    start = max(available - wanted, 0) // 2 if preprocessing.crop == "center" else 0
    resampled = resample(
        signal,
        sampling_rate,
        preprocessing.sampling_rate,
        preprocessing.resample,
        start,
        min(wanted, available - start),
        gain,
    )
    return crop_or_pad(resampled, wanted)


def resample(
    signal: NDArray[np.float32] | NDArray[np.int16],
    original_rate: int,
    target_rate: int,
    method: Literal["polyphase", "stride"] = "polyphase",
    start: int = 0,
    count: int | None = None,
    gain: float | None = None,
) -> NDArray[np.float32]:
    """Bring a signal to another rate, computing only the part that is wanted.

    Args:
        signal: (leads, samples).
        original_rate: Hz of `signal`.
        target_rate: Hz of the result.
        method: `polyphase` is `scipy.signal.resample_poly` with its default Kaiser filter and edge values repeated
            beyond the ends; `stride` keeps every k-th sample, aliasing what lies above the new Nyquist frequency.
        start: First sample wanted, counted at the target rate.
        count: How many are wanted; None is all that there are: `ceil(samples * target_rate / original_rate)`.
        gain: As `prepare`.

    Returns:
        (leads, count) float32.

    Raises:
        ValueError: `stride` between rates whose ratio is no integer.
    """
    divisor = gcd(original_rate, target_rate)
    up, down = target_rate // divisor, original_rate // divisor
    if count is None:
        count = -(-signal.shape[-1] * up // down) - start
    if up == down:
        return _millivolts(signal[:, start : start + count], gain)
    if method == "stride":
        if up != 1:
            raise ValueError(
                f"stride cannot go from {original_rate} to {target_rate} Hz: the ratio is no integer; "
                "use data.resample=polyphase"
            )
        return _millivolts(signal[:, start * down : (start + count) * down : down], gain)
    return _resample_polyphase(signal, up, down, start, count, gain)


def _millivolts(signal: NDArray[np.float32] | NDArray[np.int16], gain: float | None) -> NDArray[np.float32]:
    """What `data_modules.wfdb_record.to_millivolts` makes of these codes, whose zero is 0 mV."""
    if gain is None:
        return signal.astype(np.float32, copy=False)
    millivolts = signal.astype(np.float32)
    millivolts /= np.float32(gain)
    return millivolts


def _resample_polyphase(
    signal: NDArray[np.float32] | NDArray[np.int16], up: int, down: int, start: int, count: int, gain: float | None
) -> NDArray[np.float32]:
    """Anti-aliased resampling as one matrix product a record.

    A run of `up` outputs needs the same filter taps at a shift of `down` inputs, so blocks of inputs times one small
    matrix give blocks of outputs.
    """
    taps, margin = polyphase_matrix(up, down)
    outputs_per_block = taps.shape[1]
    inputs_per_block = outputs_per_block * down // up
    first_block = start // outputs_per_block
    num_blocks = -(-(start + count) // outputs_per_block) - first_block
    begin = first_block * inputs_per_block - margin
    end = begin + (num_blocks - 1) * inputs_per_block + taps.shape[0]
    samples = signal.shape[-1]
    before, after = max(-begin, 0), max(end - samples, 0)
    padded = np.empty((len(signal), end - begin), np.float32)  # edges by hand: np.pad took longer than the division
    inside = padded[:, before : end - begin - after]
    inside[:] = _millivolts(signal[:, begin + before : end - after], gain)
    padded[:, :before], padded[:, end - begin - after :] = inside[:, :1], inside[:, -1:]
    windows = sliding_window_view(padded, taps.shape[0], axis=-1)[:, ::inputs_per_block]
    resampled = (np.ascontiguousarray(windows) @ taps).reshape(len(signal), -1)
    offset = start - first_block * outputs_per_block
    return resampled[:, offset : offset + count]


@lru_cache(maxsize=16)
def polyphase_matrix(up: int, down: int) -> tuple[NDArray[np.float32], int]:
    """The filter of `scipy.signal.resample_poly` as a matrix (inputs of a block, outputs of a block), and its margin.

    The margin is the number of inputs before a block that its first output needs.
    """
    half_length = 10 * max(up, down)
    kernel = firwin(2 * half_length + 1, 1.0 / max(up, down), window=("kaiser", 5.0)) * up
    margin = half_length // up + 1
    runs = max(1, 40 // up)
    outputs = runs * up
    matrix = np.zeros((runs * down + 2 * margin, outputs))
    for output in range(outputs):
        inputs = np.arange(matrix.shape[0]) - margin
        lag = half_length + output * down - inputs * up
        valid = (lag >= 0) & (lag < len(kernel))
        matrix[valid, output] = kernel[lag[valid]]
    return matrix.astype(np.float32), margin


def crop_or_pad(signal: NDArray[np.float32], num_samples: int) -> NDArray[np.float32]:
    """Take the first `num_samples`, or append zeros.

    Args:
        signal: Millivolts, (leads, samples).
        num_samples: Samples wanted.

    Returns:
        (leads, num_samples).
    """
    missing = num_samples - signal.shape[-1]
    return np.pad(signal, ((0, 0), (0, missing))) if missing > 0 else signal[:, :num_samples]


def scale(signal: Tensor, method: Literal["minmax", "millivolt", "zscore", "none"]) -> Tensor:
    """Scale a batch's amplitudes.

    Args:
        signal: Millivolts, (B, samples, leads).
        method: `minmax`: each lead of each record to [-1, 1] (a flat lead becomes 0); `millivolt`: divided by
            `MILLIVOLTS_PER_UNIT`; `zscore`: each lead of each record to mean 0, deviation 1 (a flat lead becomes 0);
            `none`: as it is.

    Returns:
        The same shape and dtype.
    """
    return signal if method == "none" else scale_(signal.clone(), method)


def scale_(signal: Tensor, method: Literal["minmax", "millivolt", "zscore", "none"]) -> Tensor:
    """Scale a batch's amplitudes in place, and return it; see `scale`.

    A batch of 256 is 12 MB, and so would be every intermediate result: their page faults cost more than the arithmetic.
    """
    if method == "none":
        return signal
    if method == "millivolt":
        # by a tensor: by a plain number a GPU multiplies with its reciprocal, which ends in other bits
        return signal.div_(torch.full((), MILLIVOLTS_PER_UNIT, dtype=signal.dtype, device=signal.device))
    low, high = torch.aminmax(signal, dim=1, keepdim=True)
    span = high - low
    flat = span <= FLAT  # not where a sample is NaN: that must not become a harmless 0
    if method == "minmax":
        factor, offset = torch.where(flat, 0, 2 / span.clamp_min(FLAT)), torch.where(flat, 0.0, 1.0)
        return signal.sub_(low).mul_(factor).sub_(offset)
    signal.sub_(signal.mean(dim=1, keepdim=True))
    deviation = signal.square().mean(dim=1, keepdim=True).sqrt().clamp_min(torch.finfo(signal.dtype).tiny)
    # the span, not the deviation, tells a flat lead: the rounding of an offset's mean looks like a deviation
    return signal.div_(torch.where(flat, torch.inf, deviation))
