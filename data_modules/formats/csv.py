"""Delimited text, one record a file: a column a lead with its name on top, or numbers alone."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import RecordError
from data_modules.formats.raw_record import Format, RawRecord, leads_first, refuse_large, unit_in_names
from data_modules.leads import canonical_leads, is_further_lead
from data_modules.wfdb_header import MAX_SIGNALS, MAX_VALUES

DELIMITERS = ";\t,"
"""A blank is one where there is none of these: names such as `Lead I` and `II (mV)` have blanks too."""
SAID_DELIMITER = re.compile(r"\s*\"?sep=(?P<delimiter>[,;\t|])\"?[ ,;]*(?:\n|$)", re.IGNORECASE)
"""A first line by which Excel knows the delimiter."""
_BETWEEN = r"(?:^|[;\t\n])\s*[+-]?{number}\s*(?=[;\t\r\n]|$)"
DECIMAL_COMMA = re.compile(_BETWEEN.format(number=r"(?:0?,\d+|\d+,(?:\d\d?|\d{4,}))(?:[eE][+-]?\d+)?"))
"""A cell whose comma can be no other: `0,028` or `12,5`."""
ANY_COMMA = re.compile(_BETWEEN.format(number=r"\d{1,3}(?:,\d{3})+"))
"""A cell whose comma may stand between thousands, too: `1,250`."""
MAX_LINE = 2**20
"""Characters of a first line: records that lie a lead a row have long ones."""


def read(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read one record; an empty cell is "no sample".

    Columns whose name is no lead's (a time, an index) are left out where others have one. Those of further chest leads
    (V7) are signals, too, which the user may say to be others.

    A rate is not taken from a column of times: it may count seconds, milliseconds or samples. Between semicolons or
    tabs a comma may stand for the decimal point, as spreadsheets of many countries write it.

    Raises:
        RecordError: `unreadable` or `header`.
    """
    refuse_large(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError("unreadable", f"{path.name}: {error}") from error
    if said := SAID_DELIMITER.match(text):
        text = text[said.end() :]
    first = text[:MAX_LINE].split("\n", 1)[0]
    inner = first.strip()  # a tab in front belongs to an empty cell where tabs are the delimiter
    delimiter = delimiter_of(inner)
    if delimiter in ";\t":
        text = _with_points(text, delimiter, path)
        first = text[:MAX_LINE].split("\n", 1)[0]
    cells = _cells(first, delimiter)
    if _are_positions(cells):
        _require_columns(text, delimiter, cells, path)
        without_index = list(range(1 if cells[0] == "" else 0, len(cells)))
        values = _numbers(text, delimiter, path, skip=1, columns=without_index)
        return RawRecord(signal=leads_first(values).astype(np.float32))
    if all(_is_number(cell) for cell in cells):
        return RawRecord(signal=leads_first(_numbers(text, delimiter, path)).astype(np.float32))
    _require_columns(text, delimiter, cells, path)
    leads = [index for index, lead in enumerate(canonical_leads(cells)) if lead is not None]
    columns = [index for index, name in enumerate(cells) if not leads or index in leads or is_further_lead(name)]
    if len(columns) > MAX_SIGNALS:
        raise RecordError("header", f"{path.name} has {len(cells)} columns and no lead's name in its first line")
    values = _numbers(text, delimiter, path, skip=1, columns=columns)
    names = tuple(cells[index] for index in columns)
    return RawRecord(
        signal=np.ascontiguousarray(values.T, dtype=np.float32),
        lead_names=names,
        unit=unit_in_names(tuple(cells[index] for index in leads)) if leads else None,
    )


def delimiter_of(line: str) -> str:
    """What is most frequent in a first line; decimal commas may be one more than what stands between them."""
    there = [mark for mark in DELIMITERS if mark in line]
    return max(there, key=lambda mark: line.count(mark) - (mark == ","), default=" ")


def _with_points(text: str, delimiter: str, path: Path) -> str:
    """Write decimal commas as points, below a first line of names.

    Raises:
        RecordError: `unreadable`: what the commas are cannot be seen.
    """
    names, newline, rows = text.partition("\n")
    if all(_is_number(cell.replace(",", ".")) for cell in _cells(names, delimiter)):
        names, newline, rows = "", "", text
    if "," not in rows:
        return text
    if DECIMAL_COMMA.search(rows):
        return names + newline + rows.replace(",", ".")
    if found := ANY_COMMA.search(rows):
        raise RecordError(
            "unreadable",
            f"{path.name} has numbers such as {found.group().strip(';').strip()}, whose comma may be a decimal one or "
            "stand between thousands; write decimal points",
        )
    return text


def _cells(line: str, delimiter: str) -> tuple[str, ...]:
    return tuple(cell.strip().strip('"') for cell in line.split(None if delimiter == " " else delimiter))


def _are_positions(cells: tuple[str, ...]) -> bool:
    """Whether these are `0,1,2,...`, which pandas writes on top of columns without names; an empty one of an index."""
    positions = cells[1:] if cells[:1] == ("",) else cells
    return len(positions) >= 3 and positions == tuple(map(str, range(len(positions))))


def _require_columns(text: str, delimiter: str, names: tuple[str, ...], path: Path) -> None:
    """Refuse a first line of other length than the next: each of its names would mean another column.

    Raises:
        RecordError: `header`.
    """
    start = text.find("\n") + 1
    cells = _cells(text[start : start + MAX_LINE].lstrip("\n").split("\n", 1)[0], delimiter)
    widths = {len(row) - (row[-1:] == ("",) and len(row) > 1) for row in (names, cells)}
    if start and len(names) != len(cells) and len(widths) > 1:
        raise RecordError(
            "header",
            f"{path.name} has {len(names)} names in its first line and {len(cells)} cells in the next one; each column "
            "needs a name, one of row numbers too, and commas where a name has blanks",
        )


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _numbers(
    text: str, delimiter: str, path: Path, *, skip: int = 0, columns: list[int] | None = None
) -> NDArray[np.float64]:
    """Parse the numbers, (lines, columns), after the first lines."""
    if text.count("\n") < skip or not text.split("\n", skip)[-1].strip():
        raise RecordError("unreadable", f"{path.name} has no rows of numbers")
    num_cells = text.count(delimiter) + text.count("\n") + 1
    if num_cells > MAX_VALUES:
        raise RecordError("unreadable", f"{path.name} has some {num_cells} cells, at most {MAX_VALUES} are read")
    # an empty cell needs a converter, which takes ten times as long
    for converter in (None, lambda cell: float(cell) if cell.strip() else math.nan):
        try:
            return np.loadtxt(
                io.StringIO(text),
                delimiter=None if delimiter == " " else delimiter,
                skiprows=skip,
                usecols=columns,
                converters=converter,
                ndmin=2,
                comments=None,
            )
        except ValueError as error:
            problem = error
    raise RecordError("unreadable", f"{path.name} is no table of numbers: {problem}")


FORMAT = Format(name="csv", suffixes=(".csv", ".tsv", ".txt"), read=read)
