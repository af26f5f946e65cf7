"""What a table of labels seems to hold: which column is which, said to the user, settled by an option where unclear."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data_modules.own.definition import LabelRules
from data_modules.own.label_texts import free_text, unclear_texts
from data_modules.own.labels import (
    FALSE,
    MAX_LABELS,
    SEPARATOR,
    TRUE,
    UNKNOWN_LABELS,
    Table,
    fold_number,
)
from data_modules.own.record_names import record_names_of

PATIENT_COLUMNS = ("patient", "patient_id", "patientid", "subject", "subject_id", "pat_id", "case_id", "mrn")
PART_COLUMNS = ("split", "part")
"""Columns that may hold folds, or a part of anything else."""
FOLD_COLUMNS = ("fold", "strat_fold", *PART_COLUMNS)
LIST_COLUMNS = ("label", "labels", "diagnosis", "diagnoses", "class", "classes", "target", "dx")
NOT_LABELS = (
    *("age", "sex", "gender", "male", "female", "is_male", "height", "weight", "date", "device", "site"),
    *("train", "training", "is_train", "val", "valid", "validation", "is_val", "is_valid", "dev"),
    *("test", "testing", "is_test", "holdout"),
)
"""Names, in lower case, by which columns are recognised; those of patients and folds without blanks, `_` and `-`."""


_TAKES = "(--label-names takes one as a label, --patient-column as the patients' names)"


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """What the user says of the labels; everything else is seen."""

    names: tuple[str, ...] = ()
    """Labels to keep, in this order, `TEXT=NAME` to rename one: all by default."""
    record_column: str | None = None
    in_order: bool = False
    """The table's rows are the records in their order; no column names them."""
    label_column: str | None = None
    patient_column: str | None = None
    fold_column: str | None = None


@dataclass(kw_only=True)
class Findings:
    """What was seen, and what the user has to say."""

    lines: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    """Each names the option that settles it; none means that all is clear."""


def survey_table(
    table: Table, file: str, record_ids: Sequence[str], options: LabelOptions
) -> tuple[LabelRules, Findings]:
    """Find out which columns hold records, labels, patients and folds.

    Args:
        table: The CSV file.
        file: Its path, as the YAML is to have it.
        record_ids: All records, in order.
        options: What the user says.

    Raises:
        CorpusFormatError: An option names a column that is not there.
    """
    findings = Findings()
    record_column = None if options.in_order else _record_column(table, record_ids, options.record_column, findings)
    if options.in_order:
        findings.lines.append(f"rows in the records' order: {_ends(record_ids)}")
    patient_column = options.patient_column or _named(table, PATIENT_COLUMNS, options)
    if patient_column is not None:
        findings.lines.append(f"patients are named by {patient_column!r}")
    fold_column = options.fold_column or _named(table, FOLD_COLUMNS, options)
    taken = {record_column, patient_column, fold_column}
    if fold_column is not None and options.fold_column is None and fold_column.casefold() in PART_COLUMNS:
        wrong = [cell for cell in table.column(fold_column) if fold_number(cell) is None]
        if wrong:
            findings.lines.append(f"{fold_column!r} is left out: {wrong[0]!r} is no fold")
            fold_column = None
    style, label_column, names, ignored = _labels(
        table, [c for c in table.columns if c not in taken], options, findings
    )
    wanted, codes = chosen_names(names, options.names, findings)
    if ignored:
        findings.lines.append(f"columns left out: {', '.join(ignored)} {_TAKES}")
    rules = LabelRules(
        style="list" if style == "list" else "columns",
        table=file,
        names=wanted,
        codes=codes,
        left_out=_left_out(names, options) if style == "list" else (),
        record_column=record_column,
        label_column=label_column,
        patient_column=patient_column,
        fold_column=fold_column,
    )
    return rules, findings


def survey_headers(codes: Mapping[str, tuple[str, ...] | None], options: LabelOptions) -> tuple[LabelRules, Findings]:
    """Take the diagnosis codes in the records' headers as labels.

    Args:
        codes: Of each record; None where its header has none.
        options: What the user says.
    """
    findings = Findings()
    counts = Counter(code for found in codes.values() for code in found or ())
    names, renamed = chosen_names(sorted(counts), options.names, findings)
    left_out = _left_out(sorted(counts), options)
    return LabelRules(style="header", names=names, codes=renamed, left_out=left_out), findings


def _left_out(found: Sequence[str], options: LabelOptions) -> tuple[str, ...]:
    """The texts that the user did not name among the labels."""
    return tuple(text for text in found if options.names and text not in _texts(options))


def chosen_names(
    found: Sequence[str], wanted: Sequence[str], findings: Findings
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The labels to keep, and what they are called in the file where that differs or several texts are one label."""
    pairs = [item.split("=", 1) if "=" in item else [item, item] for item in wanted] or [[name, name] for name in found]
    if missing := [text for text, _ in pairs if text not in found]:
        findings.questions.append(
            f"there is no label {', '.join(missing)}; there are {_some(found)}: see --label-names"
        )
    if len(pairs) > MAX_LABELS:
        findings.questions.append(
            f"{len(pairs)} different labels, at most {MAX_LABELS}; choose with --label-names A,B,C"
        )
    codes: dict[str, str] = {}
    for text, name in pairs:
        if codes.setdefault(text, name) != name:
            findings.questions.append(f"{text} is to be called {codes[text]} and {name}: give it one name")
    renamed = {name for text, name in pairs if text != name}
    return tuple(dict.fromkeys(codes.values())), {text: name for text, name in codes.items() if name in renamed}


def _record_column(table: Table, record_ids: Sequence[str], wanted: str | None, findings: Findings) -> str | None:
    """The column whose cells name the most records."""
    columns = [wanted] if wanted else list(table.columns)
    named = {name: record_names_of(table.column(name), record_ids) for name in columns}
    matched = {name: len(set(found) - {None}) for name, found in named.items()}
    best = max(columns, key=lambda name: matched[name])
    enough = min(len(table.rows), len(record_ids)) / 2
    if matched[best] == 0 or (not wanted and matched[best] < enough):
        findings.questions.append(
            f"no column of {table.path.name} names the records ({_some(record_ids)}); say which with --record-column, "
            "or --in-order if its rows are the records in their order"
        )
        return None
    rivals = [name for name in columns if matched[name] >= enough and _disagree(named[name], named[best])]
    if rivals:
        findings.questions.append(
            f"{best!r} and {', '.join(map(repr, rivals))} name records, and not the same ones; say which it is with "
            "--record-column"
        )
        return None
    if (ends := _numbered_otherwise(table.column(best), record_ids)) is not None and not (
        wanted and ends[1] < len(record_ids)
    ):
        inside = f"; if record 0 has no row, --record-column {best!r}" if ends[1] < len(record_ids) else ""
        findings.questions.append(
            f"{best!r} runs from {ends[0]} to {ends[1]}, the records are numbered from 0 to {len(record_ids) - 1}: "
            f"number the table's rows from 0, or say --in-order if they are the records in their order{inside}"
        )
        return None
    findings.lines.append(f"records are named by {best!r}: {matched[best]} of {len(record_ids)} have a row")
    return best


def _disagree(some: Sequence[str | None], others: Sequence[str | None]) -> bool:
    """Whether a column names each of its records once, but another one in a row than a second column does.

    A running number beside the records' names, say; an age or a patient's number comes back in other rows.
    """
    names = [name for name in some if name is not None]
    is_unique = len(set(names)) == len(names)
    return is_unique and any(a != b for a, b in zip(some, others, strict=True) if a is not None and b is not None)


def _numbered_otherwise(cells: Sequence[str], record_ids: Sequence[str]) -> tuple[int, int] | None:
    """The first and last number of a column without a 0, where the records count from there; None for any other."""
    numbers, num_records = _numbers(cells), len(record_ids)
    if sorted(_numbers(record_ids)) != list(range(num_records)) or not numbers:
        return None
    first, last = min(numbers), max(numbers)
    return (first, last) if first > 0 else None


def _numbers(cells: Sequence[str]) -> list[int]:
    texts = (cell.removesuffix(".0") for cell in cells)
    return [int(text) for text in texts if text.isascii() and text.isdecimal() and len(text) < 20]


def _named(table: Table, names: Sequence[str], options: LabelOptions) -> str | None:
    """The first column called like one of these that the user does not take for a label."""
    known, labels = {_plain(name) for name in names}, _texts(options)
    return next((column for column in table.columns if _plain(column) in known and column not in labels), None)


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).casefold()


def _texts(options: LabelOptions) -> set[str]:
    """What the labels that the user names are called in the file."""
    return {item.split("=", 1)[0] for item in options.names}


def _labels(
    table: Table, columns: Sequence[str], options: LabelOptions, findings: Findings
) -> tuple[str, str | None, list[str], list[str]]:
    """Style, column of lists, labels that there are, and columns that are none."""
    texts = _texts(options)
    if options.label_column is None:
        binary = [name for name in columns if _is_binary(table.column(name))]
        if texts and texts <= set(columns):
            findings.questions += [question for name in sorted(texts) if (question := _odd_cells(table, name))]
            return "columns", None, sorted(texts), []
        plain = [name for name in binary if name.casefold() not in NOT_LABELS]
        if plain and (not texts or texts & set(plain) or _list_column(table, columns) is None):
            findings.lines.append(f"labels: {len(plain)} columns of 0 and 1")
            names = [name for name in columns if name in plain or name in texts]
            return "columns", None, names, [name for name in columns if name not in names]
    column = options.label_column or _list_column(table, columns)
    if column is None:
        found = ", ".join(columns) or "no other column"
        findings.questions.append(
            f"{table.path.name} has {found}: no columns of 0 and 1, and not one of names; say which it is with "
            "--label-column (names with ; between them) or --label-names (columns of 0 and 1)"
        )
        return "columns", None, sorted(texts), []
    cells = table.column(column)
    known = [cell for cell in cells if cell.casefold() not in UNKNOWN_LABELS]
    counts = Counter(part for cell in known for part in {*map(str.strip, cell.split(SEPARATOR))} if part)
    names = sorted(counts)
    findings.lines.append(f"labels: names in the column {column!r}, {SEPARATOR} between them")
    if empty := cells.count(""):
        findings.lines.append(f"{empty} cells of it are empty: these records count as having none of the labels")
    findings.questions += [*free_text(column, counts, texts), *unclear_texts(column, names, texts)]
    return "list", column, names, [name for name in columns if name != column]


def _odd_cells(table: Table, column: str) -> str | None:
    """A question where most of what stands in a label's column is no 0 and no 1."""
    cells = [cell for cell in table.column(column) if cell]
    odd = [cell for cell in cells if cell.casefold() not in TRUE | FALSE]
    if 2 * len(odd) <= len(cells):
        return None
    return f"the column {column!r} holds {odd[0]!r}; of a label are expected 0 or 1, true or false, yes or no"


def _list_column(table: Table, columns: Sequence[str]) -> str | None:
    """A column called like one of labels, or else the only one of words."""
    called = [name for name in columns if name.casefold() in LIST_COLUMNS]
    words = [name for name in columns if name.casefold() not in NOT_LABELS and not _is_numeric(table.column(name))]
    for candidates in (called, words):
        if len(candidates) == 1:
            return candidates[0]
    return None


def _is_binary(cells: Sequence[str]) -> bool:
    found = {cell.casefold() for cell in cells} - {""}
    return bool(found) and found <= TRUE | FALSE


def _is_numeric(cells: Sequence[str]) -> bool:
    return all(cell.replace(".", "", 1).lstrip("+-").isdecimal() for cell in cells if cell)


def _ends(names: Sequence[str]) -> str:
    places = {"the first is": names[0], "the second": names[min(1, len(names) - 1)], "the last": names[-1]}
    return ", ".join(f"{place} {name}" for place, name in places.items())


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")
