"""EDF, EDF+ and BDF, through pyedflib (BSD, the reference C library EDFlib underneath)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_modules.corpus import CorpusFormatError, RecordError
from data_modules.formats.raw_record import Format, RawRecord, refuse_large, unit_named
from data_modules.leads import canonical_lead
from data_modules.wfdb_header import MAX_SIGNALS, MAX_VALUES


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
    try:
        with pyedflib.EdfReader(str(path)) as file:
            if not 1 <= file.signals_in_file <= MAX_SIGNALS:
                raise RecordError("header", f"{path.name} has {file.signals_in_file} signals, at most {MAX_SIGNALS}")
            labels = [str(label) for label in file.getSignalLabels()]
            chosen = [index for index, label in enumerate(labels) if canonical_lead(label)] or list(range(len(labels)))
            kinds = {
                (file.getPhysicalDimension(index), file.getSampleFrequency(index), int(file.getNSamples()[index]))
                for index in chosen
            }
            if len(kinds) > 1:
                found = "; ".join(f"{count} samples at {rate:g} Hz in {unit}" for unit, rate, count in sorted(kinds))
                raise RecordError("header", f"the leads of {path.name} differ: {found}")
            unit, rate, num_samples = kinds.pop()
            if num_samples * len(chosen) > MAX_VALUES:
                raise RecordError("header", f"{path.name} has {len(chosen)} leads of {num_samples} samples, too many")
            signal = np.stack([file.readSignal(index) for index in chosen]).astype(np.float32)
    except OSError as error:
        raise RecordError("unreadable", f"{path.name} is no EDF that can be read: {error}") from error
    names = tuple(labels[index] for index in chosen)
    return RawRecord(signal=signal, lead_names=names, sampling_rate=rate, unit=unit_named(unit))


FORMAT = Format(name="edf", suffixes=(".edf", ".bdf"), read=read)
