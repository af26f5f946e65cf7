"""WFDB: a header `.hea` with its `.dat` or `.mat`, in any format that the package wfdb reads."""

from __future__ import annotations

from pathlib import Path

from data_modules.corpus import RecordError
from data_modules.formats.raw_record import COUNTS, Format, RawRecord
from data_modules.leads import canonical_leads
from data_modules.wfdb_header import SIGNAL_SUFFIXES, Header, SignalLine, read_header
from data_modules.wfdb_record import read_codes, read_signal, select_leads, to_millivolts

DIAGNOSES = "Dx"
"""Comment in which the PhysioNet challenges write SNOMED CT codes."""


def read(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read the leads of one record in millivolts; signals that are no leads are left unread.

    Where the header gives all of them the gain 0, which is WFDB's word for uncalibrated, they come as raw codes, less
    the baseline.

    Raises:
        RecordError: As `data_modules.wfdb_record.read_signal`.
    """
    header = read_header(path)
    names = _signal_names(header)
    leads = [name for name, lead in zip(names, canonical_leads(names), strict=True) if lead is not None]
    lines = _uncalibrated_lines(header, leads or None)
    return RawRecord(
        signal=to_millivolts(read_codes(header, lines), lines, 1.0) if lines else read_signal(header, leads or None),
        lead_names=tuple(leads or names) if any(names) else None,
        sampling_rate=header.sampling_rate,
        unit=COUNTS if lines else "mV",
        label_codes=diagnoses(header),
    )


def _uncalibrated_lines(header: Header, leads: list[str] | None) -> tuple[SignalLine, ...]:
    """The lines of these leads, of all where None; none of them where one has another gain than 0."""
    lines = () if header.segments else select_leads(header, leads)
    return lines if all(line.gain == 0 for line in lines) else ()


def header_of(path: Path) -> Path:
    """The header of a record that is named without an ending, as WFDB's own tools do, or by its signal file.

    Any other path is given back.
    """
    if path.suffix.casefold() in SIGNAL_SUFFIXES:
        header = path.with_suffix(".hea")
    else:
        header = path if path.exists() else Path(f"{path}.hea")
    return header if header.is_file() else path


def files_of(header: Path) -> list[Path]:
    """The files that a header names: its signals', and those of its segments with their headers; none if unreadable."""
    try:
        content = read_header(header)
        segments = [header.with_name(f"{name}.hea") for name, _ in content.segments if name != "~"]
        signals = [line for part in (content, *map(read_header, segments)) for line in part.signals]
    except RecordError:
        return []
    names = dict.fromkeys(line.file_name for line in signals if line.file_name != "~")
    return [*segments, *(header.with_name(name) for name in names)]


def diagnoses(header: Header) -> tuple[str, ...] | None:
    """The codes of a header's `Dx` comment; None where it has none."""
    text = header.comment(DIAGNOSES)
    return None if text is None else tuple(code for code in map(str.strip, text.split(",")) if code)


def _signal_names(header: Header) -> list[str]:
    """Names of the signals; those of a multi-segment record stand in its first segment's header."""
    first = next((name for name, _ in header.segments if name != "~"), None)
    described = header if first is None else read_header(header.path.with_name(f"{first}.hea"))
    return [line.name for line in described.signals]


FORMAT = Format(name="wfdb", suffixes=(".hea",), read=read)
