"""The signals of a WFDB record: format 16 read fast, every other format through wfdb.

Formats: https://wfdb.io/spec/signal-files.html.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.plain_file import require_plain_file
from data_modules.through_wfdb import rdrecord, require_same_scales
from data_modules.wfdb_header import (
    MAX_FREE_VALUES,
    MAX_VALUES,
    UNITS_PER_MILLIVOLT,
    Header,
    SignalLine,
    read_header,
)

__all__ = [
    "Header",
    "SignalLine",
    "checksums_agree",
    "read_codes",
    "read_header",
    "read_signal",
    "select_leads",
    "to_millivolts",
]

MAX_RATIO = 50
"""Values that a byte of a compressed file (FLAC) may stand for: ECGs take about one byte a value."""

_BYTES_PER_SAMPLE = {
    **dict.fromkeys(("8", "80"), 1.0),
    **dict.fromkeys(("16", "61", "160"), 2.0),
    **{"24": 3.0, "32": 4.0, "212": 1.5, "310": 4 / 3, "311": 4 / 3},
}
"""Of the formats whose size does not depend on their contents."""

_MISSING_CODE = {
    **dict.fromkeys(("80", "508"), -(2**7)),
    **dict.fromkeys(("310", "311"), -(2**9)),
    "212": -(2**11),
    **dict.fromkeys(("16", "61", "160", "516"), -(2**15)),
    **dict.fromkeys(("24", "524"), -(2**23)),
    "32": -(2**31),
}
"""What stands for "no sample": the lowest code of a format."""


def select_leads(header: Header, leads: Sequence[str] | None) -> tuple[SignalLine, ...]:
    """Give the lines of the named leads, found by name in any case, in the order asked for; all where None.

    Raises:
        RecordError: `missing_leads`, or `header` where a name is there twice.
    """
    if leads is None:
        return header.signals
    by_name: dict[str, SignalLine] = {}
    for line in header.signals:
        if by_name.setdefault(line.name.casefold(), line) is not line:
            raise RecordError("header", f"{header.path.name}: two signals are called {line.name!r}")
    missing = [lead for lead in leads if lead.casefold() not in by_name]
    if missing:
        found = ", ".join(line.name for line in header.signals)
        raise RecordError("missing_leads", f"{header.path.name} has no {', '.join(missing)}; it has: {found}")
    return tuple(by_name[lead.casefold()] for lead in leads)


def read_codes(header: Header, lines: Sequence[SignalLine]) -> NDArray[np.integer[Any]]:
    """Read signals as the codes in their files. Only files that `lines` name are opened.

    Args:
        header: Of a single-segment record.
        lines: Some of `header.signals`.

    Returns:
        (signals, samples), C-contiguous: int16 from the fast reader, int64 from wfdb.

    Raises:
        RecordError: `truncated`, if a file's size is not what the header says; `unreadable`.
    """
    names = dict.fromkeys(line.file_name for line in lines)
    groups = {name: [line for line in header.signals if line.file_name == name] for name in names}
    sizes = {name: _checked_size(header, group) for name, group in groups.items()}
    if not all(line.storage[:3] == ("16", 1, 0) for group in groups.values() for line in group):
        return _read_codes_with_wfdb(header, lines)
    codes = {name: _read_format_16(header, group, sizes[name]) for name, group in groups.items()}
    if len({len(part[0]) for part in codes.values()}) > 1:
        raise RecordError("truncated", f"{header.path.name}: its signal files differ in length")
    if len(groups) == 1 and _same(lines, next(iter(groups.values()))):
        return next(iter(codes.values()))
    return np.stack([codes[line.file_name][_position(line, groups[line.file_name])] for line in lines])


def _same(lines: Sequence[SignalLine], others: Sequence[SignalLine]) -> bool:
    return len(lines) == len(others) and all(map(operator.is_, lines, others))


def _position(line: SignalLine, lines: Sequence[SignalLine]) -> int:
    """Find a line by identity: two unnamed signals may have equal lines."""
    return next(index for index, other in enumerate(lines) if other is line)


def _checked_size(header: Header, group: list[SignalLine]) -> int:
    """Give a signal file's size in bytes, after checking all that can be checked without reading it."""
    path = header.path.with_name(group[0].file_name)
    try:
        size = require_plain_file(path)
    except OSError as error:
        raise RecordError("no_signal", f"{path.name}: {error.strerror or error}") from error
    if len({(line.storage.format, line.storage.byte_offset) for line in group}) > 1:
        raise RecordError("header", f"{header.path.name} gives signals of {path.name} several formats or offsets")
    storage = group[0].storage
    width = _BYTES_PER_SAMPLE.get(storage.format)
    if header.num_samples is None:
        return size
    frame = sum(line.storage.samples_per_frame for line in group)
    if width is None and frame * header.num_samples > max(MAX_FREE_VALUES, MAX_RATIO * size):
        found = f"{frame * header.num_samples} values in the {size} bytes of {path.name}"
        raise RecordError("header", f"{header.path.name} promises {found}: no ECG is compressed so well")
    if width is None:
        return size
    expected = storage.byte_offset + int(width * frame * header.num_samples)
    # wfdb's writers pad packed formats by some bytes; a format 16 file has exactly its samples
    if size < expected or (storage.format == "16" and size != expected):
        raise RecordError("truncated", f"{path.name} has {size} bytes, its header promises {expected}; fetch it again")
    return size


def _read_format_16(header: Header, group: list[SignalLine], size: int) -> NDArray[np.int16]:
    """Read one file of interleaved 16-bit little-endian samples as (signals, samples)."""
    path = header.path.with_name(group[0].file_name)
    offset = group[0].storage.byte_offset
    num_samples = header.num_samples or (size - offset) // (2 * len(group))
    count = num_samples * len(group)
    if not 1 <= count <= MAX_VALUES:
        raise RecordError("truncated", f"{path.name} has {size} bytes: {num_samples} samples of {len(group)} signals")
    try:
        flat = np.fromfile(path, dtype="<i2", count=count, offset=offset)
    except OSError as error:
        raise RecordError("unreadable", f"{path.name}: {error.strerror or error}") from error
    if flat.size != count:
        raise RecordError("truncated", f"{path.name} ended after {flat.size} of {count} values")
    return np.ascontiguousarray(flat.reshape(num_samples, len(group)).T)


def _read_codes_with_wfdb(header: Header, lines: Sequence[SignalLine]) -> NDArray[np.int64]:
    channels = [_position(line, header.signals) for line in lines]
    record = rdrecord(header, physical=False, channels=channels)
    codes = np.ascontiguousarray(np.asarray(record.d_signal, dtype=np.int64).T)
    if codes.shape[1] != (header.num_samples or codes.shape[1]) or codes.shape[1] == 0:
        raise RecordError("truncated", f"{header.path.name} has {codes.shape[1]} samples, not those it promises")
    return codes


def to_millivolts(
    codes: NDArray[np.integer[Any]], lines: Sequence[SignalLine], gain: float | None = None
) -> NDArray[np.float32]:
    """Turn codes into millivolts, the code for "no sample" into NaN.

    Bit for bit what wfdb does with `return_res=32`: the code is rounded to float32, the baseline subtracted and the
    difference divided by the gain, each in double precision and rounded to float32. A float32 division gives that same
    number where the gain is a float32 (53 bits are more than twice 24 and 2), at half the time.

    Args:
        codes: (signals, samples).
        lines: Their header lines.
        gain: A/D units per millivolt instead of the header's.

    Returns:
        (signals, samples).
    """
    gains = np.array([line.gain if gain is None else gain for line in lines])[:, None]
    baselines = np.array([line.baseline for line in lines])[:, None]
    missing = [_MISSING_CODE.get(line.storage.format) for line in lines]
    narrow = gains.astype(np.float32)
    signal = codes.astype(np.float32)
    if baselines.any():
        np.subtract(signal, baselines, out=signal, casting="same_kind")
    np.divide(signal, narrow if (narrow == gains).all() else gains, out=signal, casting="same_kind")
    for lead, (code, lowest) in enumerate(zip(missing, codes.min(axis=1), strict=True)):
        if lowest == code:
            signal[lead, codes[lead] == code] = np.nan
    return signal


def checksums_agree(codes: NDArray[np.integer[Any]], lines: Sequence[SignalLine]) -> bool:
    """Whether codes have the initial values and checksums of their header lines; what a line lacks is not compared."""
    sums = codes.astype(np.uint16, copy=False).sum(axis=1, dtype=np.uint16)
    return all(
        (line.checksum is None or line.checksum % 2**16 == total)
        and (line.initial_value is None or line.initial_value == first)
        for line, total, first in zip(lines, sums.tolist(), codes[:, 0].tolist(), strict=True)
    )


def read_signal(header: Header, leads: Sequence[str] | None = LEAD_NAMES) -> NDArray[np.float32]:
    """Read a record's signals with the gains its header gives.

    Args:
        header: From `read_header`.
        leads: Names in any case, in the order wanted; all signals in file order where None.

    Returns:
        Millivolts, (leads, samples); NaN where the file says "no sample".

    Raises:
        RecordError: A file is missing, cut short or unreadable, leads are missing, or a gain is no positive number.
    """
    if header.segments:
        return _read_segments(header, leads)
    lines = select_leads(header, leads)
    _require_gains(header, lines)
    return to_millivolts(read_codes(header, lines), lines)


def _require_gains(header: Header, lines: Sequence[SignalLine]) -> None:
    if not all(0 < line.gain < np.inf for line in lines):
        found = ", ".join(f"{line.name} {line.gain:g}" for line in lines)
        raise RecordError("gain", f"{header.path.name}: a gain is no positive number of A/D units per mV: {found}")


def _read_segments(header: Header, leads: Sequence[str] | None) -> NDArray[np.float32]:
    """Read a multi-segment record through wfdb, after the same checks of every segment's header and files."""
    widest = 0
    for name, _ in header.segments:
        if name != "~":
            segment = read_header(header.path.with_name(f"{name}.hea"))
            if segment.segments:
                raise RecordError("header", f"{header.path.name}: its segment {name} has segments itself")
            widest = max(widest, len(segment.signals))
            _require_gains(segment, [line for line in segment.signals if line.file_name != "~"])
            for file_name in {line.file_name for line in segment.signals if line.file_name != "~"}:
                _checked_size(segment, [line for line in segment.signals if line.file_name == file_name])
            require_same_scales(segment)
    record = rdrecord(header, physical=True, return_res=32)
    if widest > record.n_sig:
        raise RecordError("header", f"{header.path.name} declares {record.n_sig} signals, a segment of it {widest}")
    scales = [UNITS_PER_MILLIVOLT.get((unit or "mV").lower(), np.nan) for unit in record.units]
    if not np.isfinite(scales).all():
        raise RecordError("gain", f"{header.path.name}: units {', '.join(record.units)} are no voltages")
    names = [name or "" for name in record.sig_name]
    position = {name.casefold(): index for index, name in enumerate(names)}
    missing = [lead for lead in leads or () if lead.casefold() not in position]
    if missing:
        found = ", ".join(names)
        raise RecordError("missing_leads", f"{header.path.name} has no {', '.join(missing)}; it has: {found}")
    order = [position[lead.casefold()] for lead in leads] if leads else list(range(record.n_sig))
    signal: NDArray[np.float32] = (record.p_signal.T / np.array(scales)[:, None]).astype(np.float32)
    selected: NDArray[np.float32] = signal[order]
    return selected
