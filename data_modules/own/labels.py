"""Labels, patients and folds of an own corpus: from a CSV table, or from codes in the records' headers."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import CorpusFormatError
from data_modules.formats.csv import SAID_DELIMITER
from data_modules.own.definition import LabelRules
from data_modules.own.record_names import record_names_of
from data_modules.splits import OFFICIAL_TEST_FOLD, OFFICIAL_VAL_FOLD

MAX_TABLE_BYTES = 2**28
MAX_COLUMNS = 1000
MAX_LABELS = 500
SEPARATOR = ";"
"""Between the labels of one cell."""

TRUE, FALSE = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no"})
"""What a cell of a label's column may hold, in lower case."""

UNKNOWN = frozenset({"", "nan", "none", "na", "n/a", "<na>", "nat", "null", "unknown"})
"""What stands for a patient that is not known, in lower case."""
UNKNOWN_LABELS = UNKNOWN - {"", "none"}
"""A cell of labels that are not known; an empty one, and `none`, may mean that there are none."""

FOLD_WORDS = {
    **dict.fromkeys(("train", "training"), 1),
    **dict.fromkeys(("val", "valid", "validation", "dev"), OFFICIAL_VAL_FOLD),
    **dict.fromkeys(("test", "testing"), OFFICIAL_TEST_FOLD),
}
"""Words for a record's part, in lower case, as PTB-XL's folds."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A CSV file as text."""

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]

    def column(self, name: str) -> list[str]:
        """One column's cells.

        Raises:
            CorpusFormatError: There is no such column.
        """
        if name not in self.columns:
            raise CorpusFormatError(f"{self.path} has no column {name!r}; it has: {', '.join(self.columns)}")
        position = self.columns.index(name)
        return [row[position] for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is known of the records that have labels. A record that is in neither mapping has none."""

    multi_hot: Mapping[str, NDArray[np.uint8]]
    """Record id -> (labels,)."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Record id -> reason code, where the labels cannot be used."""
    patients: Mapping[str, str] | None = None
    folds: Mapping[str, int] | None = None
    unmatched: tuple[str, ...] = ()
    """Names in the table that no record has."""
    other_texts: Mapping[str, int] = field(default_factory=dict)
    """Text that is none of the labels -> number of records that carry it, where labels are texts."""


def read_table(path: Path) -> Table:
    """Read a CSV file with a header line; the delimiter is the most frequent of `,`, `;` and tab in that line.

    A first line `sep=;`, by which Excel knows the delimiter, says it instead. Empty lines, before the header too, and
    lines of empty cells are passed over.

    Raises:
        CorpusFormatError: It is too large, no text, or a line is longer than the first.
    """
    if not path.is_file():
        raise CorpusFormatError(f"there is no file {path}")
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise CorpusFormatError(f"{path} is larger than {MAX_TABLE_BYTES} bytes")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusFormatError(f"{path} cannot be read ({error}); it should be a CSV file in UTF-8") from error
    said = SAID_DELIMITER.match(text)
    text = text[said.end() :] if said else text
    first = text.lstrip("\n").partition("\n")[0]
    delimiter = said["delimiter"] if said else max(",;\t", key=first.count)
    if first.count(delimiter) >= MAX_COLUMNS:
        raise CorpusFormatError(f"{path} has {first.count(delimiter) + 1} columns, at most {MAX_COLUMNS} are read")
    try:
        # split at line ends alone: a cell may hold any other character that Python takes for the end of a line
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        table = [tuple(map(str.strip, row)) for row in lines if any(row)]
    except csv.Error as error:
        raise CorpusFormatError(f"{path} is no CSV file: {error}") from error
    if len(table) < 2:
        raise CorpusFormatError(f"{path} has no rows; expected a line of column names, then a line a record")
    table = _without_empty_ends(table)
    header, *rows = table
    if twice := sorted(name for name, count in Counter(header).items() if count > 1):
        raise CorpusFormatError(f"{path} has two columns called {twice[0]!r}; give each its own name")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise CorpusFormatError(f"{path}, row {number} has {len(row)} cells, its first line {len(header)}")
    return Table(path=path, columns=header, rows=rows)


def _without_empty_ends(table: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Leave off the last columns that hold nothing, a name neither: spreadsheets write those once touched."""
    width = max(max((index for index, cell in enumerate(row, 1) if cell), default=1) for row in table)
    if width >= len(table[0]) or not all(len(row) == len(table[0]) for row in table):
        return table
    return [row[:width] for row in table]


def apply_rules(
    rules: LabelRules,
    table: Table | None,
    record_ids: Sequence[str],
    header_codes: Mapping[str, tuple[str, ...] | None],
) -> Labels:
    """Give each record its labels.

    Args:
        rules: Where they stand.
        table: The CSV file, if there is one.
        record_ids: All records, in the order that a table without their names has.
        header_codes: Of the style `header`: the codes of each record, None where it has none.

    Raises:
        CorpusFormatError: A column is missing, a record has two rows, or a fold is none.
    """
    rows = {} if table is None else _rows_of(rules, table, record_ids)
    problems: dict[str, str] = {}
    others: Mapping[str, int] = {}
    if rules.style == "header":
        lists: dict[str, Sequence[str]] = {key: codes for key, codes in header_codes.items() if codes is not None}
        multi_hot, others = _from_lists(lists, rules, lists.values())
    elif table is None:
        raise CorpusFormatError("labels of this style need a table")
    elif rules.style == "list":
        cells = table.column(rules.label_column or "")
        problems = {key: "label_unknown" for key, row in rows.items() if cells[row].casefold() in UNKNOWN_LABELS}
        column = [[part.strip() for part in cell.split(SEPARATOR)] for cell in cells]
        lists = {key: column[row] for key, row in rows.items() if key not in problems}
        multi_hot, others = _from_lists(lists, rules, column)
    else:
        multi_hot, problems = _from_columns(rows, rules, table)
    return Labels(
        multi_hot=multi_hot,
        problems=problems,
        patients=_patients(rules, table, rows, record_ids),
        folds=_folds(rules, table, rows),
        unmatched=_unmatched(rules, table, record_ids),
        other_texts=others,
    )


def _rows_of(rules: LabelRules, table: Table, record_ids: Sequence[str]) -> dict[str, int]:
    """The row of each record that has one."""
    if rules.record_column is None:
        if len(table.rows) != len(record_ids):
            raise CorpusFormatError(
                f"{table.path} has {len(table.rows)} rows for {len(record_ids)} records; rows in the records' order "
                "must be as many, or name the column with the records' names (--record-column)"
            )
        return {record_id: row for row, record_id in enumerate(record_ids)}
    rows: dict[str, int] = {}
    for row, record_id in enumerate(record_names_of(table.column(rules.record_column), record_ids)):
        if record_id is not None and rows.setdefault(record_id, row) != row:
            raise CorpusFormatError(f"{table.path} has two rows for {record_id}; join them into one")
    return rows


def _unmatched(rules: LabelRules, table: Table | None, record_ids: Sequence[str]) -> tuple[str, ...]:
    if table is None or rules.record_column is None:
        return ()
    cells = table.column(rules.record_column)
    return tuple(sorted(c for c, found in zip(cells, record_names_of(cells, record_ids), strict=True) if found is None))


def _sources(rules: LabelRules, known: Collection[str]) -> list[list[str]]:
    """What each label is called in the file: the texts that the user renamed to it, or else its own name.

    Args:
        rules: Where the labels stand; of `rules.codes` those that only say what a label means are in no file.
        known: Texts that are in the file.
    """
    renamed = [[text for text, label in rules.codes.items() if label == name and text in known] for name in rules.names]
    return [texts or [name] for texts, name in zip(renamed, rules.names, strict=True)]


def _from_lists(
    lists: Mapping[str, Sequence[str]], rules: LabelRules, whole_file: Iterable[Sequence[str]]
) -> tuple[dict[str, NDArray[np.uint8]], Counter[str]]:
    """Multi-hot from names or codes; and how many records carry each of those that `rules.names` does not have."""
    known = {text for texts in whole_file for text in texts}
    position = {text: index for index, texts in enumerate(_sources(rules, known)) for text in texts}
    result = {}
    others: Counter[str] = Counter()
    for record_id, texts in lists.items():
        vector = np.zeros(len(rules.names), np.uint8)
        vector[[position[text] for text in texts if text in position]] = 1
        result[record_id] = vector
        others.update({text for text in texts if text} - position.keys())
    return result, others


def _from_columns(
    rows: Mapping[str, int], rules: LabelRules, table: Table
) -> tuple[dict[str, NDArray[np.uint8]], dict[str, str]]:
    """Multi-hot from columns of 0 and 1; a record with any other cell, an empty one say, is not guessed at.

    A label of several columns is there where one of them has it.
    """
    labels = [
        [[cell.casefold() for cell in table.column(name)] for name in names] for names in _sources(rules, table.columns)
    ]
    multi_hot: dict[str, NDArray[np.uint8]] = {}
    problems: dict[str, str] = {}
    for record_id, row in rows.items():
        cells = [[column[row] for column in columns] for columns in labels]
        if all(cell in TRUE or cell in FALSE for found in cells for cell in found):
            multi_hot[record_id] = np.array([any(cell in TRUE for cell in found) for found in cells], np.uint8)
        else:
            problems[record_id] = "label_unknown"
    return multi_hot, problems


def _patients(
    rules: LabelRules, table: Table | None, rows: Mapping[str, int], record_ids: Sequence[str]
) -> dict[str, str] | None:
    if rules.patient_column is None or table is None:
        return None
    column = table.column(rules.patient_column)
    known = {key: column[row] for key, row in rows.items() if column[row].casefold() not in UNKNOWN}
    # a record without a patient is a patient of its own, whose name no cell can have
    return {key: known.get(key, f"\0{key}") for key in record_ids}


def fold_number(cell: str) -> int | None:
    """The fold that a cell names, 1 to 10; 0 for an empty one, None for anything else."""
    cell = cell.casefold()
    if cell in FOLD_WORDS or not cell:
        return FOLD_WORDS.get(cell, 0)
    digits = cell.removesuffix(".0")
    number = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 9 else -1
    return number if 0 <= number <= OFFICIAL_TEST_FOLD else None


def _folds(rules: LabelRules, table: Table | None, rows: Mapping[str, int]) -> dict[str, int] | None:
    if rules.fold_column is None or table is None:
        return None
    column = table.column(rules.fold_column)
    folds = {}
    for record_id, row in rows.items():
        number = fold_number(column[row])
        if number is None:
            raise CorpusFormatError(
                f"{table.path}: {record_id} has the fold {column[row]!r}; expected 1 to 10 (9 validates, 10 tests), or "
                "train, val, test"
            )
        folds[record_id] = number
    return folds
