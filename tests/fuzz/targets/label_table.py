"""A CSV of labels, surveyed and applied; its cells are those that pandas reads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from data_modules.corpus import CorpusFormatError
from data_modules.own.label_survey import LabelOptions, survey_table
from data_modules.own.labels import apply_rules, read_table

REFUSALS = (CorpusFormatError,)
RECORDS = ("a/0001", "a/0002", "b/0003")


def seeds(folder: Path) -> Iterator[bytes]:
    yield b"record,AF,LBBB,patient,fold\na/0001.hea,1,0,p1,1\n0002,0,1,p2,9\nb/0003,0,0,,10\n"
    yield b'record;label;split\n0001;AF;train\n0002;"AF;LBBB";val\n0003;;test\n'
    yield b"AF\tage\n1\t30\n0\t40\n1\t50\n"


def check(data: bytes, folder: Path) -> None:
    (folder / "l.csv").write_bytes(data)
    table = read_table(folder / "l.csv")
    rules, findings = survey_table(table, "l.csv", RECORDS, LabelOptions())
    if not findings.questions:
        labels = apply_rules(rules, table, RECORDS, {})
        assert all(len(vector) == len(rules.names) for vector in labels.multi_hot.values())
    if b"\0" in data or b"sep=" in data.lower() or len(table.columns) == 1 or '"' in data.decode("utf-8-sig"):
        return
    text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    first = text.lstrip("\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    # columns that hold nothing are left off at the end: of the table's, and here of pandas' rows
    names = list(range(first.count(delimiter) + 1))
    options = {"dtype": str, "keep_default_na": False, "header": None, "names": names}
    theirs = pd.read_csv(io.StringIO(text), sep=delimiter, engine="python", on_bad_lines="skip", **options)
    width = len(table.columns)
    rows = [tuple(str(cell).strip() for cell in row[:width]) for row in theirs.itertuples(index=False)]
    assert set(table.rows) <= set(rows), (table.rows, rows)
