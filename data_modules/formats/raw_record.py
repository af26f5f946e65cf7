"""What the reader of a format gives, whatever the format, and the bounds that all of them keep."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import RecordError
from data_modules.wfdb_header import MAX_SIGNALS, MAX_VALUES

Unit = Literal["mV", "uV", "V"]
Counts = Literal["counts"]
COUNTS: Counts = "counts"
"""What stands for a unit where a file says that its numbers are raw codes: only a gain makes them millivolts."""

MILLIVOLTS: dict[Unit, float] = {"mV": 1.0, "uV": 1e-3, "V": 1e3}
"""Millivolts of one unit."""

MAX_FILE_BYTES = 2**28
"""Of a file that a library reads whole."""

MAX_EXPANSION = 100
"""Times that an array may be larger than in its file; ECGs shrink to a third at best, padded ones to a tenth."""

FREE_BYTES = 2**26
"""Up to which any expansion is accepted."""

_UNITS: dict[str, Unit] = {"mv": "mV", "uv": "uV", "µv": "uV", "μv": "uV", "v": "V"}
_UNITS |= {"millivolt": "mV", "millivolts": "mV", "microvolt": "uV", "microvolts": "uV", "volt": "V", "volts": "V"}
_BRACKET = re.compile(r".*[\[(](?P<text>[^\[\]()]{0,40})[\])]\s*")
_COUNTS = re.compile(
    r"(?:adc|a/d|raw|digital)?[ _-]*(?:counts?|units?|codes?|values?|steps?)|adc|adu|a/d|raw|lsb|digits?|bits?",
    re.IGNORECASE,
)
_OTHER_UNIT = re.compile(
    r"a\.?u\.?|arb\.?(?: units?)?|arbitrary(?: units?)?|normali[sz]ed|norm|z-?scores?|unitless|dimensionless|%|"
    r"(?:[\d.,]+ *[*x]? *)?[npkmuµμ]?v(?: */ *\w+)?",
    re.IGNORECASE,
)
"""What a bracket behind a lead's name holds where it says that the numbers are in a unit that is not read."""


@dataclass(frozen=True, kw_only=True)
class RawRecord:
    """One record as its file has it: in the file's own unit and order. What the file does not say is None."""

    signal: NDArray[np.float32]
    """(signals, samples); NaN where the file says "no sample"."""
    lead_names: tuple[str, ...] | None = None
    """Name of each signal, as it is written."""
    sampling_rate: float | None = None
    """Hz."""
    unit: Unit | Counts | None = None
    label_codes: tuple[str, ...] | None = None
    """Diagnosis codes out of the header."""
    notes: tuple[str, ...] = ()
    """Codes out of `data_modules.quality.NOTES`."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format: how its records are counted and read."""

    name: str
    suffixes: tuple[str, ...]
    """In lower case; files are found by them in any case."""
    read: Callable[[Path, int, str | None], RawRecord]
    """`read(path, row, dataset)`: the record in a row of a file; row 0 of a file of one record. Raises RecordError."""
    record_names: Callable[[Path, str | None], tuple[str, ...] | None] = lambda path, dataset: None
    """Names of the records of a file that holds many; None for a file of one record. Raises RecordError."""
    takes_any_name: bool = False
    """Whether files without an ending may be of it, too: archives export DICOM objects as `IM000001` or `1.2.840.7`."""


def unit_named(text: str) -> Unit | None:
    """The unit that a file writes in its own way (`µV`, `uv`); None where it is no voltage."""
    return _UNITS.get(text.strip().casefold())


def unit_stated(text: str) -> Unit | Counts | None:
    """The unit of samples whose file has a place for it, `COUNTS` for raw codes; None where that is empty.

    Raises:
        RecordError: `unit`, if it is no voltage: what is said of the numbers elsewhere cannot make it one.
    """
    unit = unit_named(text)
    if unit is not None or not text.strip():
        return unit
    if _COUNTS.fullmatch(text.strip()):
        return COUNTS
    raise RecordError("unit", f"the file says that its numbers are {text.strip()[:20]!r}, no voltage in mV, uV or V")


def unit_in_names(names: tuple[str, ...]) -> Unit | Counts | None:
    """The unit that all names of leads carry in brackets, as in `II (uV)`; None where one carries none.

    Brackets may hold other things, as in `Lead I (Einthoven)` and `I (1)`.

    Raises:
        RecordError: `unit`, if they differ, or one is no voltage and no raw code: `I (a.u.)`, `I (0.1 mV)`.
    """
    brackets = [match["text"].strip() if (match := _BRACKET.fullmatch(name)) else "" for name in names]
    stated = [text for text in brackets if unit_named(text) or _COUNTS.fullmatch(text) or _OTHER_UNIT.fullmatch(text)]
    units = {unit_stated(text) for text in stated}
    if len(units) > 1:
        raise RecordError("unit", f"the leads are in {', '.join(dict.fromkeys(stated))}; all should be in one unit")
    return units.pop() if len(stated) == len(names) else None


def leads_first(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Turn one record so that its signals are rows: the shorter axis, since no ECG has more leads than samples.

    Args:
        array: (signals, samples) or (samples, signals).

    Raises:
        RecordError: `header`, if it is not clear which axis is which, or there are too many values.
    """
    check_shape(array.shape)
    return array if array.shape[0] < array.shape[1] else array.T


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse shapes that are no record of signals and samples, before anything is allocated.

    Raises:
        RecordError: `header`.
    """
    if len(shape) != 2 or not 1 <= min(shape) <= MAX_SIGNALS or max(shape) < 4 * min(shape):
        raise RecordError(
            "header", f"an array of shape {shape} is no record of 1 to {MAX_SIGNALS} signals and many more samples"
        )
    if shape[0] * shape[1] > MAX_VALUES:
        raise RecordError("header", f"an array of shape {shape} has more than {MAX_VALUES} values")


def check_numbers(dtype: np.dtype[np.generic]) -> None:
    """Refuse what is no plain number.

    Raises:
        RecordError: `unreadable`.
    """
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        raise RecordError("unreadable", f"it holds {dtype}, expected integers or floating point numbers")


def without_padding(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take off the samples at both ends in which no lead has a value other than zero.

    Records of different lengths are padded to stand in one array (CODE-15 and CODE-test are, on both sides).

    Args:
        signal: (signals, samples).
    """
    (present,) = np.nonzero(((signal != 0) & ~np.isnan(signal)).any(axis=0))
    return signal[:, present[0] : present[-1] + 1] if present.size else signal[:, :0]


def refuse_large(path: Path) -> None:
    """Refuse a file that would be read whole and is larger than any record.

    Raises:
        RecordError: `unreadable`.
    """
    if (size := file_size(path)) > MAX_FILE_BYTES:
        raise RecordError("unreadable", f"{path.name} has {size} bytes, at most {MAX_FILE_BYTES} are read")


def file_size(path: Path) -> int:
    """Bytes of a regular file. Opening a pipe would wait for ever, reading a device never end.

    Raises:
        RecordError: `unreadable`.
    """
    try:
        info = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        raise RecordError("unreadable", f"{path.name}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(info.st_mode):
        raise RecordError("unreadable", f"{path.name} is no regular file")
    return info.st_size


def refuse_expansion(what: str, needed: int, stored: int) -> None:
    """Refuse to unpack what is far smaller in the file than in memory.

    Args:
        what: Its name.
        needed: Bytes in memory.
        stored: Bytes that hold it in the file.

    Raises:
        RecordError: `header`.
    """
    if needed > max(FREE_BYTES, MAX_EXPANSION * stored):
        raise RecordError(
            "header", f"{what} grows from {stored} to {needed} bytes, at most {MAX_EXPANSION} times is read"
        )
