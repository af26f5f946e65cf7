"""Adding an own corpus: look, say what was found, refuse what is unclear, read everything once, write the YAML."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_modules.cache import Cache, open_cache, remove_caches
from data_modules.config import DataConfig
from data_modules.corpora import CORPORA
from data_modules.corpus import CorpusFormatError, RecordError
from data_modules.formats import FORMATS
from data_modules.formats.raw_record import Format
from data_modules.formats.wfdb import diagnoses
from data_modules.own.alarm import Alarm
from data_modules.own.definition import RESERVED, Definition, LabelRules, definition_path, definition_yaml, is_own_name
from data_modules.own.label_survey import Findings, LabelOptions, survey_headers, survey_table
from data_modules.own.labels import read_table
from data_modules.own.listing import Place, detect_format, falling_numbers, first_problem, list_records
from data_modules.own.own_corpus import OwnCorpus
from data_modules.own.signal_survey import survey_signals
from data_modules.reading import ReadingOptions
from data_modules.splits import OFFICIAL_TEST_FOLD, OFFICIAL_VAL_FOLD, join_groups, split_records
from data_modules.unfinished import beside
from data_modules.wfdb_record import read_header


class UnclearCorpusError(CorpusFormatError):
    """What a corpus is cannot be told from its files alone; the message says which options tell it."""


def add_corpus(
    name: str,
    path: Path,
    *,
    root: Path,
    labels: Path | None = None,
    reading: ReadingOptions | None = None,
    label_options: LabelOptions | None = None,
    format_name: str | None = None,
    short: Literal["set_aside", "pad"] = "pad",
    replace_old: bool = False,
    say: Callable[[str], None] = lambda line: None,
    progress: bool | None = None,
) -> OwnCorpus:
    """Look at a folder of records, read all of them once, and write `<root>/<name>.yaml`.

    Args:
        name: What it is to be called.
        path: Folder of records, or one file of many.
        root: The data root.
        labels: CSV table; None takes the diagnosis codes in WFDB headers.
        reading: What the user says of the files.
        label_options: What the user says of the table.
        format_name: A key of `FORMATS`; None looks.
        short: What is done with recordings shorter than a model's input.
        replace_old: Whether a corpus that has this name already is described anew.
        say: Called with each line of what was found: an `Alarm` where something looks wrong.
        progress: Whether to show a bar; None shows one where there is a terminal.

    Raises:
        UnclearCorpusError: The unit, the leads, the rate or a column is not clear; nothing was written.
        CorpusFormatError: The name is taken, or nothing can be used; nothing was written.
    """
    name = str(name)  # of a column of names it is NumPy's, which no cache can hold
    _check_name(name, root, replace_old=replace_old)
    reading, path = reading or ReadingOptions(), path.absolute()
    ignored = [labels] if labels else []
    chosen = _format(format_name) if format_name else detect_format(path, ignored)
    places, broken = list_records(path, chosen, reading.dataset, ignored)
    if not places:
        raise CorpusFormatError(f"{path} holds no {chosen.name} record that can be read{first_problem(broken)}")
    say(f"{len(places):,} records in {path} ({chosen.name})")
    for stem, problem in list(broken.items())[:5]:
        say(Alarm(f"cannot be read: {stem} ({problem.reason})"))
    signals = survey_signals(places, chosen, reading)
    rules, found = _survey_labels(places, chosen, labels, label_options or LabelOptions(), root)
    for line in (*signals.lines, *found.lines):
        say(line)
    if questions := [*signals.questions, *found.questions]:
        raise UnclearCorpusError("not added:" + "".join(f"\n  - {question}" for question in dict.fromkeys(questions)))
    definition = Definition(
        name=name,
        path=_written(path, root),
        format=chosen.name,
        reading=reading,
        labels=rules,
        short=short,
        num_records=len(places),
        sampling_rates=signals.sampling_rates,
    )
    corpus = OwnCorpus(definition, root)
    if replace_old:  # other files of the same sizes and times would be taken for the old ones
        remove_caches(name, root / "cache")
    cache = open_cache(corpus, DataConfig().preprocessing(corpus.spec), root / "cache", progress=progress)
    for line in describe(corpus, cache):
        say(line)
    _write(definition_path(root, name), definition_yaml(definition))
    return corpus


def describe(corpus: OwnCorpus, cache: Cache) -> list[str]:
    """What a corpus holds, after all of it was read: labels, patients, copies, what is set aside and why."""
    table, kept = corpus.table, cache.kept
    counts = table.labels[kept].sum(axis=0, dtype=int)
    lines = [f"labels (records): {', '.join(f'{n} {c}' for n, c in zip(table.label_names, counts, strict=True))}"]
    if same := [name for name, count in zip(table.label_names, counts, strict=True) if count in (0, kept.sum())]:
        lines.append(Alarm(f"nothing can be learnt of {', '.join(same)}: all records have it, or none"))
    if none := int((table.labels[kept].sum(axis=1) == 0).sum()):
        lines.append(f"{none} records have none of the labels (data.unlabelled=drop leaves them out)")
    if table.patient_ids is not None and table.folds is not None:
        lines.append(f"patients: {len(set(table.patient_ids))}; the folds say which are on which side of a split")
        if torn := _patients_on_several_sides(table.patient_ids, table.folds, kept):
            lines.append(Alarm(f"  {torn} OF THEM ARE ON SEVERAL SIDES: scores on them are no scores on new patients"))
    elif table.patient_ids is not None:
        lines.append(f"patients: {len(set(table.patient_ids))}; all records of one are on one side of a split")
    else:
        lines.append("patients: not known; a patient with several records may be on both sides of a split")
    if table.folds is not None:
        folds = Counter(table.folds.tolist())
        parts = {"train": sum(folds[n] for n in range(1, 9)), "val": folds[9], "test": folds[10], "none": folds[0]}
        lines.append(f"folds: {', '.join(f'{part} {count}' for part, count in parts.items() if count)}")
    copies = int(kept.sum()) - len(np.unique(cache.digests[kept]))
    lines.append(f"exact copies of another record: {copies}")
    lines += _describe_split(corpus, cache)
    reasons = Counter(table.set_aside.values()) + Counter(reason for reason, _ in cache.set_aside.values())
    counted = ", ".join(f"{key} {n}" for key, n in sorted(reasons.items()))
    lines.append(Alarm(f"set aside: {counted}") if reasons else "set aside: none")
    for record_id, (reason, detail) in list(cache.set_aside.items())[:3]:
        lines.append(Alarm(f"  {record_id}: {reason}: {detail}"))
    if notes := cache.counts()["notes"]:
        lines.append(f"mended or noted: {', '.join(f'{key} {count}' for key, count in notes.items())}")
    return lines


def _patients_on_several_sides(patient_ids: Sequence[str], folds: NDArray[np.int64], kept: NDArray[np.bool_]) -> int:
    """How many patients the folds put into more than one part."""
    parts = np.select([folds == 0, folds == OFFICIAL_VAL_FOLD, folds == OFFICIAL_TEST_FOLD], [0, 2, 3], 1)
    rows = zip(patient_ids, parts.tolist(), kept.tolist(), strict=True)
    sides = {(patient, part) for patient, part, is_kept in rows if is_kept and part}
    return sum(count > 1 for count in Counter(patient for patient, _ in sides).values())


def _describe_split(corpus: OwnCorpus, cache: Cache) -> list[str]:
    """How many records each part of the default split has, and what cannot be learnt or tested with so few."""
    table, config = corpus.table, DataConfig()
    kept = np.flatnonzero(cache.kept)
    labels, folds = table.labels[kept], None if table.folds is None else table.folds[kept]
    groups = join_groups(table.patient_ids, cache.copies)[kept]
    split = split_records(config, labels, folds, groups, cache.copies[kept])
    parts = {"train": split.train, "validate": split.val, "test": split.test}
    lines = [f"split: {', '.join(f'{len(rows)} records {part}' for part, rows in parts.items())}"]
    for part, rows in parts.items():
        positives = labels[rows].sum(axis=0, dtype=int)
        without = [name for name, count in zip(table.label_names, positives, strict=True) if count == 0]
        if without and len(rows):
            lines.append(f"  no record to {part} has {', '.join(without)}")
        if not len(rows):
            lines.append(Alarm(f"  NO RECORD IS LEFT TO {part.upper()}: too few patients, or folds that leave it out"))
    return lines


def _check_name(name: str, root: Path, *, replace_old: bool) -> None:
    if name in CORPORA:
        raise CorpusFormatError(f"{name} is the name of a published corpus; give yours another one")
    if not is_own_name(name):
        raise CorpusFormatError(
            f"{name!r} cannot be a corpus's name: a letter, then up to 39 of a-z 0-9 _ -; not {' or '.join(RESERVED)}"
        )
    if definition_path(root, name).exists() and not replace_old:
        raise CorpusFormatError(f"{definition_path(root, name)} is there already; --replace describes it anew")


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise CorpusFormatError(f"there is no format {name!r}: there are {', '.join(FORMATS)}")
    return FORMATS[name]


def _survey_labels(
    places: dict[str, Place], chosen: Format, labels: Path | None, options: LabelOptions, root: Path
) -> tuple[LabelRules, Findings]:
    if labels is not None:
        rules, found = survey_table(read_table(labels), _written(labels.absolute(), root), tuple(places), options)
        if options.in_order and (pair := falling_numbers(places)):
            found.questions.append(
                f"files are ordered by name, which puts {pair[0]} before {pair[1]}: write the numbers in the names "
                "with as many digits, or name the records in a column of the table (--record-column)"
            )
        return rules, found
    if chosen.name != "wfdb":
        return LabelRules(), Findings(
            questions=["nothing says what the labels are; name their table with --labels labels.csv"]
        )
    codes = {record_id: _codes(place) for record_id, place in places.items()}
    if not any(codes.values()):
        return LabelRules(), Findings(
            questions=["the headers have no `Dx` comment with codes; name the table of labels with --labels labels.csv"]
        )
    return survey_headers(codes, options)


def _codes(place: Place) -> tuple[str, ...] | None:
    try:
        return diagnoses(read_header(place.file))
    except RecordError:
        return None


def _written(path: Path, root: Path) -> str:
    """How the YAML has a path: relative to the data root where it lies below it, else absolute."""
    home = root.absolute()
    path = Path(os.path.normpath(path))
    return path.relative_to(home).as_posix() if path.is_relative_to(home) else str(path)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = beside(path)
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
