"""The same recording twice, also at another sampling rate, gain or resolution, or filtered otherwise.

Two steps: a sketch of each record, whose all-pairs comparison is one matrix product, proposes pairs; the signals
themselves decide. Shape legend: `N` records, `T` samples, `D` numbers of a sketch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import detrend

from data_modules.drift import without_drift

Floats = NDArray[np.float32]

SKETCH_LEADS = (0, 1, 6, 7, 8, 9, 10, 11)
"""I, II and V1 to V6: the other four follow from I and II."""

SKETCH_BINS = 100
BINS_PER_SECOND = 12.5
"""80 ms a bin: coarser than what resampling filters differ in, fine enough to tell beat from beat. 100 of them are 8 s:
the last two seconds of PTB-XL's 100 Hz files carry an artefact of their publisher's resampling, up to .4 mV."""

DRIFT_BINS = 13
"""About a second: what is slower depends on the high-pass filter that a publisher chose."""

SKETCH_SIZE = 128
"""Numbers that remain of 8 x 100 after a random projection (Johnson and Lindenstrauss 1984), which errs in a cosine
near 1 by less than .02."""

CANDIDATE_COSINE = 0.9
COPY_CORRELATION = 0.97
"""Median over seconds of the correlation of all leads. In PTB-XL 1.0.1 and its 238 million pairs, copies have .999 and
more, PTB-XL's 500 and 100 Hz files of one recording .990 and more, all other pairs less than .95."""

BLOCK = 1024


def sketch(signals: Floats, sampling_rate: int) -> Floats:
    """What identifies recordings whatever their rate and gain.

    Args:
        signals: Millivolts as they were prepared, (N, T, 12).
        sampling_rate: Hz of them.

    Returns:
        Unit vectors, (N, D); zero where a recording is flat. The cosine of two is near their correlation.
    """
    num_samples = min(signals.shape[1], round(SKETCH_BINS / BINS_PER_SECOND * sampling_rate))
    starts = np.unique((np.arange(SKETCH_BINS) * sampling_rate / BINS_PER_SECOND).astype(int))
    starts = starts[starts < num_samples]
    chosen = signals[:, :num_samples, SKETCH_LEADS]
    widths = np.diff(np.append(starts, num_samples))
    means = (np.add.reduceat(chosen, starts, axis=1) / widths[:, None]).astype(np.float32)
    bins = np.zeros((len(signals), SKETCH_BINS, len(SKETCH_LEADS)), np.float32)
    bins[:, (starts * BINS_PER_SECOND / sampling_rate).round().astype(int)] = without_drift(means, DRIFT_BINS)
    return _unit(_unit(bins.reshape(len(signals), -1)) @ _projection())


@cache
def _projection() -> Floats:
    generator = np.random.default_rng(128)
    return generator.standard_normal((SKETCH_BINS * len(SKETCH_LEADS), SKETCH_SIZE)).astype(np.float32)


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Floats = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return result


def second_correlation(one: Floats, other: Floats, sampling_rate: int) -> float:
    """How alike two recordings are: the median over whole seconds of the correlation of all leads in that second.

    Drift does not count, nor seconds in which both are zero (padding), nor an artefact or padding of one of them
    in less than half of the others, nor a gain common to all leads.

    Args:
        one: Millivolts, (T, 12).
        other: The same shape and rate.
        sampling_rate: Hz.
    """
    window = min(sampling_rate, len(one))
    length = len(one) // window * window
    left, right = (np.asarray(part[:length], np.float64).reshape(-1, window, part.shape[1]) for part in (one, other))
    recorded = left.any(axis=(1, 2)) | right.any(axis=(1, 2))
    if not recorded.any():
        return 0.0
    left, right = detrend(left[recorded], axis=1), detrend(right[recorded], axis=1)
    power = np.sqrt((left**2).sum(axis=(1, 2)) * (right**2).sum(axis=(1, 2)))
    product = (left * right).sum(axis=(1, 2))
    return float(np.median(np.divide(product, power, out=np.zeros_like(product), where=power > 0)))


def are_copies(one: Floats, other: Floats, sampling_rate: int) -> bool:
    """Whether two recordings are the same one; arguments as for `second_correlation`."""
    return second_correlation(one, other, sampling_rate) >= COPY_CORRELATION


def candidates(ones: Floats, others: Floats | None = None) -> Iterator[tuple[int, int]]:
    """Pairs of sketches that are alike: of a row of `ones` and a row of `others`, or, without these, of two rows.

    Compares every pair: 240 million (all of PTB-XL) take some seconds of a core, and twice the records four times that.

    Args:
        ones: (N, D).
        others: (M, D).
    """
    against = ones if others is None else others
    for start in range(0, len(ones), BLOCK):
        first = start if others is None else 0
        alike = ones[start : start + BLOCK] @ against[first:].T > CANDIDATE_COSINE
        for one, other in zip(*np.nonzero(alike), strict=True):
            if others is not None or one < other:
                yield int(start + one), int(first + other)
