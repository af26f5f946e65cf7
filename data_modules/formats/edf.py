"""EDF, EDF+ and BDF, through pyedflib (BSD, the reference C library EDFlib underneath)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import CorpusFormatError, RecordError
from data_modules.formats.raw_record import Format, RawRecord, refuse_large, unit_stated
from data_modules.leads import canonical_leads
from data_modules.wfdb_header import MAX_SIGNALS, MAX_VALUES

if TYPE_CHECKING:
    import pyedflib

FIXED_BYTES, SIGNAL_BYTES = 256, 256
"""Of the header: once, and for each signal."""

_CODE = re.compile(rb"[+-]?\d+ *")


def read(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read the leads of one recording; signals that are no leads are left unread.

    Raises:
        RecordError: `unreadable`; `header`, if its leads differ in unit, rate or length.
        CorpusFormatError: pyedflib is not installed.
    """
    try:
        import pyedflib
    except ImportError as error:
        raise CorpusFormatError("EDF is read with pyedflib: pip install 'ecg-transfer[edf]'") from error
    refuse_large(path)
    _check_header(path)
    try:
        # annotations are not read: there may be a great many
        with pyedflib.EdfReader(str(path), annotations_mode=pyedflib.DO_NOT_READ_ANNOTATIONS) as file:
            labels = [str(label) for label in file.getSignalLabels()]
            chosen = [index for index, lead in enumerate(canonical_leads(labels)) if lead] or list(range(len(labels)))
            kinds = {
                (_unit(file, index), file.getSampleFrequency(index), int(file.getNSamples()[index])) for index in chosen
            }
            if len(kinds) > 1:
                found = "; ".join(f"{count} samples at {rate:g} Hz in {unit}" for unit, rate, count in sorted(kinds))
                raise RecordError("header", f"the leads of {path.name} differ: {found}")
            unit, rate, num_samples = kinds.pop()
            if not 1 <= num_samples * len(chosen) <= MAX_VALUES:
                raise RecordError("header", f"{path.name} has {len(chosen)} leads of {num_samples} samples")
            signal = np.stack([_read_lead(file, index) for index in chosen])
    except RecordError:
        raise
    except Exception as error:  # pyedflib raises whatever it stumbles over in a broken header
        raise RecordError("unreadable", f"{path.name} is no EDF that can be read: {error}") from error
    names = tuple(labels[index] for index in chosen)
    return RawRecord(signal=signal, lead_names=names, sampling_rate=rate, unit=unit_stated(unit))


def _check_header(path: Path) -> None:
    """Compare what the header declares with the file's size, before EDFlib takes memory for it.

    Layout: https://www.edfplus.info/specs/edf.html; BDF has three bytes a sample.

    Raises:
        RecordError: `header`, or `truncated`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(FIXED_BYTES + MAX_SIGNALS * SIGNAL_BYTES)
    except OSError as error:
        raise RecordError("unreadable", f"{path.name}: {error.strerror or error}") from error
    num_signals = _number(head[252:256])
    if not 1 <= num_signals <= MAX_SIGNALS:
        raise RecordError("header", f"{path.name} has {num_signals} signals, expected 1 to {MAX_SIGNALS}")
    lengths = [_number(text) for text in _column(head, num_signals, 216)]
    num_blocks = _number(head[236:244])
    width = 3 if head[:1] == b"\xff" else 2
    promised = FIXED_BYTES + SIGNAL_BYTES * num_signals + num_blocks * sum(lengths) * width
    if num_blocks < 1 or min(lengths) < 1 or _number(head[184:192]) != FIXED_BYTES + SIGNAL_BYTES * num_signals:
        raise RecordError("header", f"{path.name} has {num_blocks} blocks of {min(lengths)} or more samples")
    if size < promised:
        raise RecordError("truncated", f"{path.name} has {size} bytes, its header promises {promised}")
    limit = 2 ** (8 * width - 1)
    for low, high in zip(_column(head, num_signals, 120), _column(head, num_signals, 128), strict=True):
        if not (_CODE.fullmatch(low) and _CODE.fullmatch(high) and -limit <= int(low) < int(high) < limit):
            found = f"codes from {low.decode('latin-1').strip()!r} to {high.decode('latin-1').strip()!r}"
            expected = f"whole numbers that rise, within {-limit} and {limit - 1}"
            raise RecordError("header", f"{path.name} declares {found}; expected {expected}")


def _column(head: bytes, num_signals: int, start: int) -> list[bytes]:
    """The 8 characters of each signal in a column of the header.

    Args:
        head: The header.
        num_signals: In it.
        start: How many characters a signal has in the columns before.
    """
    at = FIXED_BYTES + start * num_signals
    return [head[at + 8 * number :][:8] for number in range(num_signals)]


def _read_lead(file: pyedflib.EdfReader, index: int) -> NDArray[np.float32]:
    """One lead in its unit, (samples,).

    A code beyond those that the header declares to be the extremes would become a voltage beyond the physical ones:
    either is untrue, and with the declared codes the gain.
    """
    signal = file.readSignal(index)
    low, high = sorted((file.getPhysicalMinimum(index), file.getPhysicalMaximum(index)))
    half_a_step = (high - low) / (file.getDigitalMaximum(index) - file.getDigitalMinimum(index)) / 2
    if not low - half_a_step < signal.min() <= signal.max() < high + half_a_step:
        found = f"{signal.min():g} to {signal.max():g}, its header declares {low:g} to {high:g}"
        raise RecordError("header", f"{file.getLabel(index)} of {Path(file.file_name).name} goes from {found}")
    return np.asarray(signal, np.float32)


def _unit(file: pyedflib.EdfReader, index: int) -> str:
    """The unit of a signal. EDFlib, which writes ASCII alone, makes `AuV` of a micro sign's two bytes in UTF-8."""
    unit = str(file.getPhysicalDimension(index)).strip()
    return "uV" if unit == "AuV" else unit


def _number(text: bytes) -> int:
    """A whole number as EDF writes it, in ASCII and padded with spaces; -1 for anything else."""
    digits = text.strip(b" ")
    return int(digits) if digits.isdigit() and len(digits) <= 8 else -1


FORMAT = Format(name="edf", suffixes=(".edf", ".bdf"), read=read)
