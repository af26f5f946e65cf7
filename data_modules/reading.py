"""From what a file of any format holds to a record: millivolts, twelve leads, a rate; nothing of it guessed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from data_modules.corpus import LEAD_NAMES, Record, RecordError
from data_modules.formats.raw_record import COUNTS, MILLIVOLTS, RawRecord, Unit
from data_modules.leads import canonical_leads, twelve_leads

NO_LEAD = "-"
"""In `--leads`, a signal that is no lead."""

MAX_RATE = 10_000
"""Hz; no ECG is sampled faster."""


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """What the user says of files that do not say it themselves. What a file does say must agree with it."""

    unit: Unit | None = None
    """Of the numbers in files that name none."""
    gain: float | None = None
    """A/D units per millivolt, in place of `unit`, for files of raw counts."""
    leads: tuple[str, ...] | None = None
    """Names of the signals in the order of the file; `-` for one that is no lead. Goes before the file's names."""
    sampling_rate: int | None = None
    """Hz, for files that give none."""
    missing_leads: Literal["refuse", "zero"] = "refuse"
    """What is done with records that lack leads which cannot be derived: set aside, or zeros in their place."""
    dataset: str | None = None
    """Which array of an HDF5 or NPZ file holds the signals, where there are several."""

    def __post_init__(self) -> None:
        """Take the unit in any case, and a rate of any kind of number.

        Raises:
            ValueError: It is none.
        """
        if self.sampling_rate is not None:
            object.__setattr__(self, "sampling_rate", whole_rate(self.sampling_rate))
        if self.unit is not None:
            units = {unit.casefold(): unit for unit in MILLIVOLTS}
            if str(self.unit).casefold() not in units:
                raise ValueError(f"the unit is {self.unit!r}, expected {', '.join(MILLIVOLTS)}")
            object.__setattr__(self, "unit", units[self.unit.casefold()])

    def as_dict(self) -> dict[str, int | float | str]:
        """The options that are given, as plain values."""
        given = {name: value for name, value in asdict(self).items() if value is not None}
        return {name: ",".join(value) if isinstance(value, tuple) else value for name, value in given.items()}


def whole_rate(sampling_rate: float) -> int:
    """A sampling rate as the whole number that it is.

    Raises:
        ValueError: It is none.
    """
    if not 1 <= sampling_rate <= MAX_RATE or sampling_rate != int(sampling_rate):
        raise ValueError(
            f"the sampling rate is {sampling_rate:g}, expected a whole number of Hz from 1 to {MAX_RATE}: resample to "
            "one before"
        )
    return int(sampling_rate)


def to_record(raw: RawRecord, options: ReadingOptions, record_id: str) -> Record:
    """Make a record of what a file holds.

    Args:
        raw: From a format's reader.
        options: What the file leaves open.
        record_id: What it is to be called.

    Raises:
        RecordError: `unit`, `sampling_rate` or `missing_leads` where neither the file nor the user says it or the two
            differ; the message names the option that settles it.
    """
    names = lead_names(raw, options)
    signal, absent = twelve_leads(raw.signal * np.float32(_millivolts(raw, options)), names)
    if absent and options.missing_leads == "refuse":
        raise RecordError(
            "missing_leads",
            f"{record_id} has no {', '.join(absent)}; --missing-leads zero takes it with zeros in their place",
        )
    return Record(
        record_id=record_id,
        signal=np.ascontiguousarray(signal, dtype=np.float32),
        sampling_rate=_rate(raw, options),
        notes=(*raw.notes, *(("absent_lead",) if absent else ())),
        absent_leads=tuple(absent),
    )


def lead_names(raw: RawRecord, options: ReadingOptions) -> list[str | None]:
    """The canonical name of each signal, None for one that is no lead.

    Raises:
        RecordError: `missing_leads`, if nobody names them, the names are not as many as the signals, or the user's are
            none of a lead.
    """
    num_signals = len(raw.signal)
    if options.leads is not None:
        if len(options.leads) != num_signals:
            called = f" ({', '.join(raw.lead_names)})" if raw.lead_names else ""
            raise RecordError(
                "missing_leads",
                f"{num_signals} signals{called}, but --leads names {len(options.leads)}: give one for each",
            )
        leads = canonical_leads(options.leads)
        if wrong := [name for name, lead in zip(options.leads, leads, strict=True) if lead is None and name != NO_LEAD]:
            raise RecordError(
                "missing_leads",
                f"--leads names {wrong[0]!r}, which is none of {', '.join(LEAD_NAMES)}; {NO_LEAD} is for other signals",
            )
        return leads
    if raw.lead_names is None:
        raise RecordError(
            "missing_leads",
            f"nothing says which of the {num_signals} signals is which lead; say it with --leads I,II,III,...",
        )
    if len(raw.lead_names) != num_signals:
        raise RecordError("header", f"the file has {num_signals} signals and names {len(raw.lead_names)}")
    return canonical_leads(raw.lead_names)


def _millivolts(raw: RawRecord, options: ReadingOptions) -> float:
    """Millivolts of one unit of the numbers in the file."""
    if raw.unit == COUNTS and options.gain is None:
        said = "" if options.unit is None else f", you say {options.unit}"
        raise RecordError("unit", f"the file says that its numbers are raw codes{said}; say --gain (A/D units per mV)")
    if raw.unit not in (None, COUNTS):
        if options.gain is not None or options.unit not in (None, raw.unit):
            wanted = options.unit or f"{options.gain:g} A/D units per mV"
            raise RecordError("unit", f"the file says that it is in {raw.unit}, you say {wanted}; leave the option out")
        return MILLIVOLTS[raw.unit]
    if options.gain is not None:
        if not 0 < options.gain < math.inf:
            raise RecordError("gain", f"a gain of {options.gain:g} A/D units per mV, expected a positive number")
        return 1.0 / options.gain
    if options.unit is None:
        raise RecordError("unit", "nothing says in which unit the numbers are; say it with --unit mV, uV or V")
    return MILLIVOLTS[options.unit]


def _rate(raw: RawRecord, options: ReadingOptions) -> int:
    rate = raw.sampling_rate if raw.sampling_rate is not None else options.sampling_rate
    if rate is None:
        raise RecordError("sampling_rate", "nothing says how fast it was sampled; say it with --rate, in Hz")
    try:
        whole = whole_rate(rate)
    except ValueError as error:
        raise RecordError("sampling_rate", str(error)) from error
    if options.sampling_rate not in (None, whole):
        found = f"the file says that it was sampled at {rate:g} Hz, you say {options.sampling_rate} Hz"
        raise RecordError("sampling_rate", f"{found}; leave the option out")
    return whole
