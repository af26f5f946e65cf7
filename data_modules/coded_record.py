"""A record as its file holds it, in 16-bit codes, turned so that each lead lies in one piece: judged fastest so.

Nothing is decided here that `data_modules.published_record` and `data_modules.quality` would decide otherwise: whatever
is not as usual is left to them, by giving None, and they find out what it is and say so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.plain_file import read_plain_file
from data_modules.quality import (
    AMPLITUDE_RANGE,
    FLAT_MILLIVOLTS,
    IDENTITIES,
    MAX_IDENTITY_RESIDUAL,
    MAX_MILLIVOLTS,
    SATURATED_SECONDS,
    median,
)
from data_modules.usual_header import UsualHeader, usual_header
from data_modules.wfdb_header import MAX_HEADER_BYTES

NUM_LEADS = len(LEAD_NAMES)
LIMB_LEADS = 6
GAINS = (2**15 / MAX_MILLIVOLTS, 1e6)
"""A/D units per millivolt between which neighbouring codes are different float32 numbers, in the same order, and none
is more than an ECG can have."""
MISSING = -(2**15)
"""The code that stands for "no sample"."""
MAX_SAMPLES = 2**15
"""Of a lead, a minute at 500 Hz: for `DOUBT`."""
DOUBT = (0.5, 2.0)
"""Times the limit of `identity_residual`'s square: between them rounding could decide, so that it is computed as there.
Squares of `MAX_SAMPLES` float32 numbers, added up one after the other, err by less than that."""
NEAR = 1 + 1e-5
"""Times a limit in millivolts: nearer to it the rounding of float32 could decide."""

_OFFSETS = range(0, 2**16, 2)
_IDENTITIES = IDENTITIES.astype(np.float32)


class CodedRecord(NamedTuple):
    """The twelve leads of one record in canonical order, one gain for all, code 0 for 0 mV, no sample missing."""

    codes: NDArray[np.int16]
    """(12, samples), contiguous: numpy is slow along the file's short rows of one sample of each lead."""
    gain: float
    """A/D units per millivolt."""
    sampling_rate: int
    """Hz."""
    notes: tuple[str, ...]
    """As `Record.notes`."""


def read_coded(path: str, *, gain: float | None, sampling_rate: int) -> CodedRecord | None:
    """Read a record of a published corpus, if it is one of the usual ones; None where it is not, or not readable.

    Args:
        path: The `.hea` file, its name after a slash; a string, since a `Path` takes as long as reading the header.
        gain: Published A/D units per millivolt.
        sampling_rate: Hz, as published.
    """
    try:
        header = usual_header(read_plain_file(path, MAX_HEADER_BYTES + 1))
        if header is None or not _is_readable(header) or (header.gain, header.sampling_rate) != (gain, sampling_rate):
            return None
        size = header.byte_offset + 2 * NUM_LEADS * header.num_samples
        content = read_plain_file(f"{path[: path.rfind('/') + 1]}{header.file_name}", size + 1)
    except (RecordError, OSError):
        return None
    if len(content) != size:
        return None
    codes = np.frombuffer(content, "<i2", offset=header.byte_offset).reshape(-1, NUM_LEADS).T.copy()
    return CodedRecord(codes, header.gain, sampling_rate, () if _agrees(codes, header) else _MISMATCH)


_MISMATCH = ("checksum_mismatch",)


def _is_readable(header: UsualHeader) -> bool:
    """Whether all that is done with the codes is exact."""
    return (
        1 <= header.num_samples <= MAX_SAMPLES
        and header.byte_offset in _OFFSETS
        and GAINS[0] <= header.gain <= GAINS[1]
        and float(np.float32(header.gain)) == header.gain
    )


def _agrees(codes: NDArray[np.int16], header: UsualHeader) -> bool:
    """As `data_modules.wfdb_record.checksums_agree`."""
    sums = codes.sum(axis=1, dtype=np.int16).tolist()
    return header.initial_values == tuple(codes[:, 0].tolist()) and not any(
        (checksum - total) % 2**16 for checksum, total in zip(header.checksums, sums, strict=True)
    )


def notes_on(record: CodedRecord, min_seconds: float) -> tuple[str, ...] | None:
    """The notes of a record that is kept as it is: those of `data_modules.quality.screen`, judged on the codes.

    A code's millivolts grow with it, so that the highest and lowest code of a second give its height. Only what is
    cheap to judge is judged; most calls of numpy take longer than their work.

    Args:
        record: From `read_coded`.
        min_seconds: Shortest recording that is accepted.

    Returns:
        None for a record that `screen` would set aside, mend, or has to look at more closely.
    """
    codes, rate = record.codes, record.sampling_rate
    num_samples = codes.shape[1]
    if num_samples < rate or num_samples / rate < min_seconds:
        return None
    seconds = np.arange(0, num_samples, rate)
    tops, bottoms = (extreme.reduceat(codes, seconds, axis=1) for extreme in (np.maximum, np.minimum))
    highest, lowest = tops.max(axis=1), bottoms.min(axis=1)
    if lowest.min() == MISSING:
        return None
    heights = np.subtract(tops, bottoms, dtype=np.int32)[:, : num_samples // rate]
    ordered = np.sort(heights, axis=None)
    flat, low, high = (limit * record.gain for limit in (FLAT_MILLIVOLTS, *AMPLITUDE_RANGE))
    if ordered[0] <= flat * NEAR and (median(heights) <= flat * NEAR).any():
        return None
    middle = (ordered[(ordered.size - 1) // 2] + ordered[ordered.size // 2]) / 2
    if not low * NEAR <= middle <= high / NEAR:
        return None
    if _may_stay(codes, (highest, lowest), round(SATURATED_SECONDS * rate)):
        return None
    breaks_identities = _breaks_identities(codes)
    if breaks_identities is None:
        return None
    return (*record.notes, "lead_identity") if breaks_identities else record.notes


def _may_stay(codes: NDArray[np.int16], extremes: tuple[NDArray[np.int16], NDArray[np.int16]], run: int) -> bool:
    """False where no lead is at an extreme for `run` samples on end: two neighbours of every half run would be."""
    if run < 2:
        return True
    every_half_run = np.ascontiguousarray(codes[:, :: run // 2])
    highest, lowest = extremes
    at_extreme = (every_half_run == highest[:, None]) | (every_half_run == lowest[:, None])
    return bool((at_extreme[:, 1:] & at_extreme[:, :-1]).any())


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
