"""The package wfdb, for the formats that are not read here: asked only where it reads the checked header as we do."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from data_modules.corpus import RecordError
from data_modules.wfdb_header import UNITS_PER_MILLIVOLT, Header, SignalLine

if TYPE_CHECKING:
    import wfdb


def rdrecord(header: Header, **options: object) -> wfdb.Record:
    """Read the signals of a record, all of whose files were checked.

    What wfdb opens and allocates follows its own reading of the header, whose grammar differs at the edges: it drops
    bytes that are not ASCII, and what follows a field that it understands.

    Args:
        header: As it was checked.
        **options: Of `wfdb.rdrecord`.

    Raises:
        RecordError: `header`, if wfdb understands the header in another way; `unreadable`.
    """
    wfdb, path = _wfdb(header)
    try:
        theirs = wfdb.rdheader(path)
        same = theirs.fs == header.sampling_rate and (theirs.sig_len or None) == header.num_samples
        if header.segments:
            same = same and list(zip(theirs.seg_name, theirs.seg_len, strict=True)) == list(header.segments)
        else:
            same = same and [_place(line) for line in header.signals] == list(_their_places(theirs))
        if not same:
            raise _other_reading(header)
        return wfdb.rdrecord(path, **options)
    except RecordError:
        raise
    except Exception as error:  # wfdb raises whatever its parser stumbles over
        raise RecordError("unreadable", f"wfdb cannot read {header.path.name}: {error}") from error


def require_same_scales(header: Header) -> None:
    """Check that wfdb understands gains, baselines and names of a segment as we do: it reads a gain of `1E3` as 1.

    Raises:
        RecordError: `header`, or `unreadable`.
    """
    wfdb, path = _wfdb(header)
    try:
        theirs = wfdb.rdheader(path)
        same = [_scale(line) for line in header.signals] == list(_their_scales(theirs))
    except Exception as error:  # as above
        raise RecordError("unreadable", f"wfdb cannot read {header.path.name}: {error}") from error
    if not same:
        raise _other_reading(header)


def _wfdb(header: Header) -> tuple[ModuleType, str]:
    """The package, and the name by which it finds a record."""
    import wfdb  # slow to import, and most corpora never need it

    path = str(header.path.absolute().with_suffix(""))
    if "::" in path:
        raise RecordError("unreadable", f"{header.path}: rename that folder, wfdb takes `::` for part of an address")
    return wfdb, path


def _other_reading(header: Header) -> RecordError:
    return RecordError(
        "header", f"wfdb reads {header.path.name} in another way; write it as the format's specification says"
    )


def _place(line: SignalLine) -> tuple[object, ...]:
    return line.file_name, int(line.storage.format), *line.storage[1:]


def _their_places(theirs: wfdb.Record) -> Iterator[tuple[object, ...]]:
    numbers = zip(theirs.fmt, theirs.samps_per_frame, theirs.skew, theirs.byte_offset, strict=True)
    for file_name, columns in zip(theirs.file_name, numbers, strict=True):
        yield file_name, *(int(value or 0) for value in columns)


def _scale(line: SignalLine) -> tuple[object, ...]:
    return line.name, line.baseline, None if np.isnan(line.gain) else line.gain


def _their_scales(theirs: wfdb.Record) -> Iterator[tuple[object, ...]]:
    scales = (theirs.sig_name, theirs.baseline, theirs.adc_gain, theirs.units)
    for name, baseline, gain, unit in zip(*scales, strict=True):
        per_millivolt = UNITS_PER_MILLIVOLT.get((unit or "mV").lower())
        yield name or "", int(baseline or 0), None if per_millivolt is None else gain * per_millivolt
