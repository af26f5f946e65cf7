"""A record as CSV; what is read is computed again, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats import csv
from data_modules.leads import canonical_leads, is_further_lead
from tests.data_modules.ecg_files import synthetic_millivolts
from tests.data_modules.formats.ecg_writers import write_csv

REFUSALS = (RecordError,)


def seeds(folder: Path) -> Iterator[bytes]:
    millivolts = synthetic_millivolts(60, 100)
    write_csv(folder / "a.csv", millivolts)
    yield (folder / "a.csv").read_bytes()
    np.savetxt(folder / "a.csv", millivolts[:2].T, delimiter="\t", fmt="%.3f")
    yield (folder / "a.csv").read_bytes()
    yield b"\xef\xbb\xbfI;II;note\n" + b"0.1;0.2;1\n" * 20 + b"0.3;;2\n" + b"1e-3;-inf;nan\n" * 3
    yield b"I;II\n" + b"0,125;-1,5\n" * 20 + b"12,5;1e-3\n"
    yield b",0,1,2\n" + b"".join(b"%d,0.1,0.2,0.3\n" % row for row in range(20))


def check(data: bytes, folder: Path) -> None:
    (folder / "a.csv").write_bytes(data)
    raw = csv.read(folder / "a.csv")
    lines = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    first = lines[0].strip()
    delimiter = csv.delimiter_of(first)
    cells = [
        line.split(None if delimiter == " " else delimiter)
        for line in lines
        if (line.strip() if delimiter == " " else line)
    ]
    names = [cell.strip().strip('"') for cell in lines[0].split(None if delimiter == " " else delimiter)]
    positions = names[1:] if names[:1] == [""] else names
    if len(positions) >= 3 and positions == [str(number) for number in range(len(positions))]:
        cells = [row[len(names) - len(positions) : len(names)] for row in cells[1:]]
    elif raw.lead_names is not None:
        leads = [index for index, lead in enumerate(canonical_leads(names)) if lead]
        columns = [index for index, name in enumerate(names) if not leads or index in leads or is_further_lead(name)]
        assert raw.lead_names == tuple(names[column] for column in columns)
        cells = [[row[column] for column in columns] for row in cells[1 if lines[0] else 0 :]]
    with np.errstate(all="ignore"):
        expected = np.array([[_number(cell) for cell in row] for row in cells], np.float32)
    found = raw.signal if raw.signal.shape == expected.T.shape else raw.signal.T
    np.testing.assert_array_equal(found, expected.T)


def _number(cell: str) -> float:
    return float(cell.strip().replace(",", ".")) if cell.strip() else float("nan")
