"""A record as its file holds it, in 16-bit codes, turned so that each lead lies in one piece: judged fastest so.

Only what is as usual in a published corpus is read here. Any other record is left to `data_modules.published_record`,
by giving None: it finds out what it is and says so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.plain_file import read_plain_file
from data_modules.quality import MAX_MILLIVOLTS
from data_modules.usual_header import UsualHeader, usual_header
from data_modules.wfdb_header import MAX_HEADER_BYTES

NUM_LEADS = len(LEAD_NAMES)
GAINS = (2**15 / MAX_MILLIVOLTS, 1e6)
"""A/D units per millivolt between which neighbouring codes are different float32 numbers, in the same order, and none
is more than an ECG can have."""
MAX_SAMPLES = 2**15
"""Of a lead, a minute at 500 Hz: for `data_modules.coded_screening.DOUBT`."""

_OFFSETS = range(0, 2**16, 2)


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
