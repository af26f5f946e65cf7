"""One WFDB record of a published corpus: its header compared with what the publisher states, a wrong gain named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_modules.corpus import LEAD_NAMES, Record, RecordError
from data_modules.quality import typical_amplitude
from data_modules.wfdb_record import (
    Header,
    SignalLine,
    checksums_agree,
    read_codes,
    read_header,
    read_signal,
    select_leads,
    to_millivolts,
)

PLAUSIBLE_MILLIVOLTS = (0.2, 10.0)
"""`typical_amplitude` that an ECG has for sure. All 21,837 records of PTB-XL lie between 0.24 and 4.0 mV."""


def read_published(path: Path, record_id: str, *, gain: float | None, sampling_rate: int) -> Record:
    """Read the twelve leads of one record.

    Where the header gives another gain than the publisher (4880 and 2000000 instead of 1000 were seen), none or zero,
    the published one is used if it makes a plausible ECG of the samples, and the record says `gain_replaced`.

    Args:
        path: The `.hea` file.
        record_id: What the record is called in its corpus.
        gain: Published A/D units per millivolt; None trusts the header.
        sampling_rate: Hz, as published.

    Raises:
        RecordError: The record cannot be read, or not be trusted: `gain` and `header` among the reasons.
    """
    header = read_header(path)
    if header.sampling_rate != sampling_rate:
        raise RecordError(
            "header", f"{path.name} was sampled at {header.sampling_rate:g} Hz, this corpus at {sampling_rate} Hz"
        )
    if header.segments or gain is None:
        return Record(record_id=record_id, signal=read_signal(header), sampling_rate=sampling_rate)
    return _read_checked(header, record_id, gain, sampling_rate)


def _read_checked(header: Header, record_id: str, gain: float, sampling_rate: int) -> Record:
    lines = select_leads(header, LEAD_NAMES)
    codes = read_codes(header, lines)
    notes = [] if checksums_agree(codes, lines) else ["checksum_mismatch"]
    signal = to_millivolts(codes, lines, gain)
    if any(line.gain != gain for line in lines):
        amplitude = typical_amplitude(signal, sampling_rate)
        low, high = PLAUSIBLE_MILLIVOLTS
        if not low <= amplitude <= high:
            raise RecordError(
                "gain",
                f"{header.path.name} gives {_gains(lines)} A/D units per mV where {gain:g} are published, and with "
                f"those the record is {amplitude:.3g} mV high, expected {low} to {high} mV",
            )
        notes.insert(0, "gain_replaced")
    return Record(record_id=record_id, signal=signal, sampling_rate=sampling_rate, notes=tuple(notes))


def _gains(lines: Sequence[SignalLine]) -> str:
    return ", ".join(dict.fromkeys(f"{line.gain:g}" for line in lines))
