"""The notes that `data_modules.quality.screen` would make of records, judged on the codes of their files.

A record is measured by itself, while it lies in its core's own cache; what was measured of many is judged at once,
since most calls of numpy take longer than their work. Nothing is decided here that `screen` would decide otherwise:
whatever it would set aside, mend, or has to look at more closely is left to it. A code's millivolts grow with it, so
that the highest and lowest code of a second give its height.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.coded_record import CodedRecord
from data_modules.quality import (
    AMPLITUDE_RANGE,
    FLAT_MILLIVOLTS,
    IDENTITIES,
    MAX_IDENTITY_RESIDUAL,
    SATURATED_SECONDS,
)

LIMB_LEADS = 6
MISSING = -(2**15)
"""The code that stands for "no sample"."""
DOUBT = (0.5, 2.0)
"""Times the limit of `identity_residual`'s square: between them rounding could decide, so that it is computed as there.
Squares of `MAX_SAMPLES` float32 numbers, added up one after the other, err by less than that."""
NEAR = 1 + 1e-5
"""Times a limit in millivolts: nearer to it the rounding of float32 could decide."""
MIN_RUN = 2
"""Samples: of a shorter run not two can be looked at."""

_IDENTITIES = IDENTITIES.astype(np.float32)


class Measured(NamedTuple):
    """What a record is judged by."""

    num_samples: int
    sampling_rate: int
    """Hz."""
    gain: float
    """A/D units per millivolt."""
    notes: tuple[str, ...]
    """As `CodedRecord.notes`, and what is to be said of its lead identities."""
    is_doubtful: bool
    """Whether it is left to `screen` for them, or because it is sampled so slowly."""
    tops: NDArray[np.int16]
    """Highest code of each lead in each second, also in a last part of one, (12, seconds)."""
    bottoms: NDArray[np.int16]
    """The lowest."""
    every_half_run: NDArray[np.int16]
    """Two samples of the shortest run of one value that counts as saturated, wherever it begins, (12, ..)."""


def measure(record: CodedRecord) -> Measured:
    """Pass over a record's codes."""
    codes, rate = record.codes, record.sampling_rate
    seconds = np.arange(0, codes.shape[1], rate)
    tops, bottoms = (extreme.reduceat(codes, seconds, axis=1) for extreme in (np.maximum, np.minimum))
    run = round(SATURATED_SECONDS * rate)
    breaks_identities = not _surely_holds_identities(codes, tops, bottoms) and _breaks_identities(codes)
    return Measured(
        num_samples=codes.shape[1],
        sampling_rate=rate,
        gain=record.gain,
        notes=(*record.notes, "lead_identity") if breaks_identities else record.notes,
        is_doubtful=breaks_identities is None or run < MIN_RUN,
        tops=tops,
        bottoms=bottoms,
        every_half_run=codes[:, :: max(run // 2, 1)].copy(),
    )


def _surely_holds_identities(codes: NDArray[np.int16], tops: NDArray[np.int16], bottoms: NDArray[np.int16]) -> bool:
    """Whether `identity_residual` is below its limit by far, as it is in most records.

    The highest and the lowest sample of a second are, together, at least half the square of its height away from any
    mean. The residuals are exact, halves of whole numbers, and as large as they are with their mean.
    """
    heights = np.subtract(tops[:LIMB_LEADS], bottoms[:LIMB_LEADS], dtype=np.float32)
    residuals = _IDENTITIES @ codes[:LIMB_LEADS].astype(np.float32)
    least_scale = float(np.vdot(heights, heights)) / (2 * LIMB_LEADS)
    return float(np.vecdot(residuals, residuals).max()) < DOUBT[0] * MAX_IDENTITY_RESIDUAL**2 * least_scale


def _breaks_identities(codes: NDArray[np.int16]) -> bool | None:
    """Whether `identity_residual` is above its limit; None where that is to be computed exactly."""
    centred = codes[:LIMB_LEADS].astype(np.float32)
    centred -= np.add.reduce(centred, axis=1, keepdims=True) / np.float32(codes.shape[1])
    residuals = _IDENTITIES @ centred
    scale = float(np.vdot(centred, centred)) / LIMB_LEADS
    worst = float(np.vecdot(residuals, residuals).max())
    limit = MAX_IDENTITY_RESIDUAL**2 * scale
    if scale <= 0 or DOUBT[0] * limit <= worst <= DOUBT[1] * limit:
        return None
    return worst > limit


def notes_on(records: Sequence[Measured], min_seconds: float) -> list[tuple[str, ...] | None]:
    """For each record its notes, if it is kept as it is.

    Args:
        records: Of one sampling rate and gain.
        min_seconds: Shortest recording that is accepted.

    Returns:
        None for a record that `screen` would set aside, mend, or has to look at more closely.
    """
    if not records:
        return []
    rate, gain = records[0].sampling_rate, records[0].gain
    lengths = np.array([record.num_samples for record in records])
    tops, bottoms = np.hstack([record.tops for record in records]), np.hstack([record.bottoms for record in records])
    first = _first(record.tops for record in records)
    highest, lowest = np.maximum.reduceat(tops, first, axis=1), np.minimum.reduceat(bottoms, first, axis=1)
    heights = np.subtract(tops, bottoms, dtype=np.int32)
    heights[:, (first + lengths // rate)[lengths % rate > 0]] = 0  # of a part of a second: it does not count
    is_usual = (lengths >= rate) & (lengths / rate >= min_seconds) & (lowest.min(axis=0) != MISSING)
    is_usual &= ~np.array([record.is_doubtful for record in records])
    is_usual &= _has_heights_of_an_ecg(heights, first, lengths // rate, gain)
    is_usual &= ~_may_stay([record.every_half_run for record in records], highest, lowest)
    return [record.notes if usual else None for record, usual in zip(records, is_usual.tolist(), strict=True)]


def _first(parts: Iterable[NDArray[np.int16]]) -> NDArray[np.int64]:
    """The column with which each part begins when they are put side by side."""
    return np.cumsum([0, *(part.shape[1] for part in parts)])[:-1]


def _has_heights_of_an_ecg(
    heights: NDArray[np.int32], first: NDArray[np.int64], num_seconds: NDArray[np.int64], gain: float
) -> NDArray[np.bool_]:
    """Whether no lead is flat and the typical amplitude is an ECG's: more than half of the seconds say so for both."""
    flat, low, high = (limit * gain for limit in (FLAT_MILLIVOLTS, *AMPLITUDE_RANGE))

    def count(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        counts: NDArray[np.int64] = np.add.reduceat(which, first, axis=1, dtype=np.int64)
        return counts

    moves = (2 * count(heights > flat * NEAR) > num_seconds).all(axis=0)
    num_heights = num_seconds * len(heights)
    is_high, is_too_high = count(heights >= low * NEAR).sum(axis=0), count(heights > high / NEAR).sum(axis=0)
    usual: NDArray[np.bool_] = moves & (2 * is_high > num_heights) & (2 * is_too_high < num_heights)
    return usual


def _may_stay(
    every_half_run: Sequence[NDArray[np.int16]], highest: NDArray[np.int16], lowest: NDArray[np.int16]
) -> NDArray[np.bool_]:
    """False where no lead is at an extreme for as long as a saturated one: two neighbours of these samples would be."""
    codes, first = np.hstack(every_half_run), _first(every_half_run)
    counts = np.diff(first, append=codes.shape[1])
    at_extreme = codes == np.repeat(highest, counts, axis=1)
    at_extreme |= codes == np.repeat(lowest, counts, axis=1)
    stays = np.append((at_extreme[:, :-1] & at_extreme[:, 1:]).any(axis=0), False)
    stays[first[1:] - 1] = False  # the next one is another record's
    return np.logical_or.reduceat(stays, first)
