"""A record as its file holds it, in 16-bit codes, turned so that each lead lies in one piece: judged fastest so.

Nothing is decided here that `data_modules.published_record` and `data_modules.quality` would decide otherwise: whatever
is not as usual is left to them, by giving None, and they find out what it is and say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
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
from data_modules.wfdb_header import Header, SignalLine, read_header

NUM_LEADS = len(LEAD_NAMES)
LIMB_LEADS = 6
GAINS = (1e-2, 1e6)
"""A/D units per millivolt between which neighbouring codes are different float32 numbers, in the same order."""
MISSING = -(2**15)
"""The code that stands for "no sample"."""
MAX_SAMPLES = 2**15
"""Of a lead, a minute at 500 Hz: its sum fits into 32 bits, and for `DOUBT`."""
DOUBT = (0.5, 2.0)
"""Times the limit of `identity_residual`'s square: between them rounding could decide, so that it is computed as there.
Squares of `MAX_SAMPLES` float32 numbers, added up one after the other, err by less than that."""

_OFFSETS = range(0, 2**16, 2)
_IDENTITIES = IDENTITIES.astype(np.float32)
_NAMES = [name.casefold() for name in LEAD_NAMES]


class CodedRecord(NamedTuple):
    """The twelve leads of one record in canonical order, one gain for all, code 0 for 0 mV, no sample missing."""

    codes: NDArray[np.int16]
    """(12, samples), contiguous: numpy is slow along the file's short rows of one sample of each lead."""
    gain: float
    """A/D units per millivolt."""
    sampling_rate: int
    """Hz."""
    totals: NDArray[np.int32]
    """Sum of each lead's codes, (12,)."""
    notes: tuple[str, ...]
    """As `Record.notes`."""


def read_coded(path: Path, *, gain: float | None, sampling_rate: int) -> CodedRecord | None:
    """Read a record of a published corpus, if it is one of the usual ones; None where it is not, or not readable.

    Args:
        path: The `.hea` file.
        gain: Published A/D units per millivolt.
        sampling_rate: Hz, as published.
    """
    try:
        header = read_header(path)
        if gain is None or header.sampling_rate != sampling_rate or not _is_usual(header, gain):
            return None
        lines, num_samples = header.signals[:NUM_LEADS], header.num_samples or 0
        offset = lines[0].storage.byte_offset
        size = offset + 2 * NUM_LEADS * num_samples
        content = read_plain_file(path.with_name(lines[0].file_name), size + 1)
    except (RecordError, OSError):
        return None
    if len(content) != size:
        return None
    codes = np.frombuffer(content, "<i2", offset=offset).reshape(num_samples, NUM_LEADS).T.copy()
    totals = codes.sum(axis=1, dtype=np.int32)
    return CodedRecord(codes, gain, sampling_rate, totals, () if _agrees(codes, totals, lines) else _MISMATCH)


_MISMATCH = ("checksum_mismatch",)


def _is_usual(header: Header, gain: float) -> bool:
    """Whether the twelve leads, and nothing else, lie in one file of format 16 in canonical order, as published."""
    lines = header.signals
    names = [line.name.casefold() for line in lines]
    if names[:NUM_LEADS] != _NAMES or len(set(names)) != len(names):
        return False
    file, storage = lines[0].file_name, lines[0].storage
    alike = (file, storage, gain, 0)
    return (
        storage[:3] == ("16", 1, 0)
        and storage.byte_offset in _OFFSETS
        and 1 <= (header.num_samples or 0) <= MAX_SAMPLES
        and GAINS[0] <= gain <= GAINS[1]
        and float(np.float32(gain)) == gain
        and all(line[:4] == alike for line in lines[:NUM_LEADS])
        and all(line.file_name != file for line in lines[NUM_LEADS:])
    )


def _agrees(codes: NDArray[np.int16], totals: NDArray[np.int32], lines: Sequence[SignalLine]) -> bool:
    """As `data_modules.wfdb_record.checksums_agree`."""
    return all(
        (line.checksum is None or (line.checksum - total) % 2**16 == 0)
        and (line.initial_value is None or line.initial_value == first)
        for line, total, first in zip(lines, totals.tolist(), codes[:, 0].tolist(), strict=True)
    )


def notes_on(record: CodedRecord, min_seconds: float) -> tuple[str, ...] | None:
    """The notes of a record that is kept as it is: those of `data_modules.quality.screen`, judged on the codes.

    A code's millivolts grow with it, so that the highest and lowest code of a second give its height in millivolts
    exactly. Only what is cheap to judge is judged.

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
    in_seconds = codes[:, : num_samples // rate * rate].reshape(NUM_LEADS, -1, rate)
    tops, bottoms = in_seconds.max(axis=2), in_seconds.min(axis=2)
    highest, lowest = tops.max(axis=1), bottoms.min(axis=1)
    if (rest := codes[:, num_samples // rate * rate :]).size:
        highest, lowest = np.maximum(highest, rest.max(axis=1)), np.minimum(lowest, rest.min(axis=1))
    gain = np.float32(record.gain)
    extreme = max(int(highest.max()), -int(lowest.min())) / gain
    if int(lowest.min()) == MISSING or extreme > MAX_MILLIVOLTS:
        return None
    height = tops.astype(np.float32) / gain - bottoms.astype(np.float32) / gain
    if (median(height) <= FLAT_MILLIVOLTS).any():
        return None
    if not AMPLITUDE_RANGE[0] <= float(median(height.ravel())) <= AMPLITUDE_RANGE[1]:
        return None
    if _may_stay(codes, (highest, lowest), round(SATURATED_SECONDS * rate)):
        return None
    breaks_identities = _breaks_identities(codes, record.totals)
    if breaks_identities is None:
        return None
    return (*record.notes, "lead_identity") if breaks_identities else record.notes


def _may_stay(codes: NDArray[np.int16], extremes: Sequence[NDArray[np.int16]], run: int) -> bool:
    """False where no lead is at an extreme for `run` samples on end: two neighbours of every half run would be."""
    if run < 2:
        return True
    every_half_run = np.ascontiguousarray(codes[:, :: run // 2])
    at_extremes = [every_half_run == extreme[:, None] for extreme in extremes]
    return any(bool((at_extreme[:, 1:] & at_extreme[:, :-1]).any()) for at_extreme in at_extremes)


def _breaks_identities(codes: NDArray[np.int16], totals: NDArray[np.int32]) -> bool | None:
    """Whether `identity_residual` is above its limit; None where that is to be computed exactly."""
    centred = codes[:LIMB_LEADS].astype(np.float32)
    centred -= (totals[:LIMB_LEADS, None] / codes.shape[1]).astype(np.float32)
    residuals = _IDENTITIES @ centred
    scale = float(np.vdot(centred, centred)) / LIMB_LEADS
    worst = max(float(np.vdot(residual, residual)) for residual in residuals)
    limit = MAX_IDENTITY_RESIDUAL**2 * scale
    if scale <= 0 or DOUBT[0] * limit <= worst <= DOUBT[1] * limit:
        return None
    return worst > limit
