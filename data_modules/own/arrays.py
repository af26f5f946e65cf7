"""A corpus of arrays in memory: written once to the data root, from then on an own corpus like any other."""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_modules.corpus import LEAD_NAMES, SIMULATION_MARKER, CorpusFormatError
from data_modules.formats.numpy import row_names
from data_modules.formats.raw_record import Unit
from data_modules.masked import without_mask
from data_modules.own.adding import add_corpus
from data_modules.own.alarm import Alarm, CorpusWarning
from data_modules.own.definition import RESERVED, definition_path, is_own_name
from data_modules.own.label_survey import FOLD_COLUMNS, PATIENT_COLUMNS, LabelOptions
from data_modules.own.own_corpus import OwnCorpus
from data_modules.reading import ReadingOptions, whole_rate
from data_modules.sources import data_root

SIGNALS, LABELS = "signals", "labels.csv"
WRITTEN = ".written_from_arrays"
"""File among the signals: they and the table are this module's, and may be replaced."""
RECORD, PATIENT, FOLD = "record", "patient", "fold"
"""Columns of the table that is written."""


def corpus_from_arrays(
    signals: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike | Mapping[str, ArrayLike],
    *,
    sampling_rate: float,
    name: str,
    unit: Unit = "mV",
    label_names: Sequence[str] | None = None,
    leads: Iterable[str] = LEAD_NAMES,
    record_ids: Sequence[str | int] | None = None,
    patients: Sequence[object] | None = None,
    folds: Sequence[float] | None = None,
    root: str | Path | None = None,
    simulated: bool = False,
    replace: bool = False,
    say: Callable[[str], None] | None = None,
) -> OwnCorpus:
    """Make an own corpus of arrays: `pretrain`, `finetune` and `train_from_scratch` take its name from then on.

    The arrays are written to `<root>/<name>/`, since a run must find its data again.

    Args:
        signals: (records, leads, samples) or (records, samples, leads); a sequence of 2-d arrays where lengths differ.
        labels: Multi-hot, (records, labels); or label name -> (records,); or a pandas DataFrame, a column a label.
        sampling_rate: Hz, a whole number.
        name: What the corpus is to be called.
        unit: Of the signals.
        label_names: In column order, where `labels` is an array.
        leads: Names of the leads in the signals' order.
        record_ids: Texts or whole numbers; row numbers by default.
        patients: For each record its patient: all records of one are on one side of a split. None and NaN are unknown.
        folds: For each record 1 to 10: 9 validates, 10 tests.
        root: Data root; None is the environment's ECG_DATA_ROOT, or else `data`.
        simulated: Whether these are no real recordings: runs on them then live apart.
        replace: Whether a corpus that this function wrote under this name is written anew.
        say: Called with each line of what was found, as `print`; None warns of those that sound an alarm: a heart rate
            or limb leads that are no one's, records set aside, a part of the split without records.

    Raises:
        CorpusFormatError: Lengths or names do not fit, the name is taken, or no record can be used. A corpus that was
            to be replaced is left as it was.
        ValueError: The unit or the rate is none.
    """
    home = data_root(root)
    if not is_own_name(name):
        raise CorpusFormatError(f"{name!r} cannot be a corpus's name: a-z, 0-9, _ and -, not {' or '.join(RESERVED)}")
    folder = home / name
    _require_free(home, name, replace=replace)
    columns = _columns(labels, label_names)
    arrays = [without_mask(signal).astype(np.float32, copy=False) for signal in signals]  # type: ignore[union-attr]
    ids = tuple(map(str, record_ids)) if record_ids is not None else row_names(len(arrays))
    extra = {PATIENT: patients, FOLD: folds}
    columns_given = {key: list(map(str, values)) for key, values in extra.items() if values is not None}
    for what, values in {"record_ids": ids, **columns, **columns_given}.items():
        if len(values) != len(arrays):
            raise CorpusFormatError(f"{len(arrays)} signals, but {len(values)} {what}")
    _require_plain(ids)
    _require_label_names(columns)
    texts = {label: ["1" if value else "0" for value in column] for label, column in columns.items()}
    options = LabelOptions(
        names=tuple(columns),
        record_column=RECORD,
        patient_column=PATIENT if patients is not None else None,
        fold_column=FOLD if folds is not None else None,
    )
    reading = ReadingOptions(unit=unit, leads=tuple(map(str, leads)), sampling_rate=whole_rate(sampling_rate))
    with _replaced(folder / SIGNALS, folder / LABELS):
        (folder / SIGNALS).mkdir(parents=True)
        (folder / SIGNALS / WRITTEN).touch()
        if simulated:
            (folder / SIGNALS / SIMULATION_MARKER).write_text("{}\n", encoding="utf-8")
        for record_id, array in zip(ids, arrays, strict=True):
            np.save(folder / SIGNALS / f"{record_id}.npy", array)
        _write_table(folder / LABELS, {RECORD: list(ids), **texts, **columns_given})
        return add_corpus(
            name,
            folder / SIGNALS,
            root=home,
            labels=folder / LABELS,
            reading=reading,
            label_options=options,
            format_name="npy",
            replace_old=replace,
            say=say or _warn,
        )


def _warn(line: str) -> None:
    if isinstance(line, Alarm):
        warnings.warn(line.strip(), CorpusWarning, stacklevel=4)  # of whoever called `corpus_from_arrays`


def _require_free(home: Path, name: str, *, replace: bool) -> None:
    """Refuse a name that is taken, or, if it is to be replaced, taken by what the user put there."""
    folder, description = home / name, definition_path(home, name)
    if not replace and (folder.exists() or description.exists()):
        raise CorpusFormatError(f"{folder} is there already; replace=True writes it anew")
    theirs = [path for path in (folder / SIGNALS, folder / LABELS, description) if path.exists()]
    if theirs and not any((path / WRITTEN).exists() for path in (folder / SIGNALS, _aside(folder / SIGNALS))):
        raise CorpusFormatError(
            f"{' and '.join(map(str, theirs))} would be lost, and nothing says that corpus_from_arrays wrote it: "
            "give the corpus another name, or move this away"
        )


@contextmanager
def _replaced(*paths: Path) -> Iterator[None]:
    """Put files or folders aside: if the block fails they come back, otherwise they are removed."""
    aside = {path: _aside(path) for path in paths}
    for path, old in aside.items():
        if old.exists():  # a process was killed in the block
            _remove(path)
        elif path.exists():
            path.rename(old)
    try:
        yield
    except BaseException:
        for path, old in aside.items():
            _remove(path)
            if old.exists():
                old.rename(path)
        with suppress(OSError):  # is not empty, or was never made
            paths[0].parent.rmdir()
        raise
    for old in aside.values():
        _remove(old)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.before")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _columns(
    labels: ArrayLike | Mapping[str, ArrayLike], label_names: Sequence[str] | None
) -> dict[str, NDArray[np.bool_]]:
    """Label name -> (records,)."""
    if isinstance(labels, Mapping):
        names, arrays = list(labels), [without_mask(column) for column in labels.values()]
    elif hasattr(labels, "columns") and hasattr(labels, "to_numpy"):
        names, arrays = list(labels.columns), list(labels.to_numpy().T)
    else:
        array = without_mask(labels)
        if array.ndim == 1:
            raise CorpusFormatError(
                f"labels of shape {array.shape}: expected a column a label, as {{'AF': is_af}}; "
                "of a pandas Series of texts labels.str.get_dummies(';') makes them"
            )
        if array.ndim != 2 or label_names is None or array.shape[1] != len(label_names):
            raise CorpusFormatError(
                f"labels of shape {array.shape}: expected (records, labels) and label_names for them"
            )
        names, arrays = list(label_names), list(array.T)
    found = dict(zip(map(str, names), arrays, strict=True))
    if len(found) < len(names):
        raise CorpusFormatError(f"two labels have one name: {', '.join(map(str, names))}")
    for name, column in found.items():
        known = column[[str(value) != "<NA>" for value in column.tolist()]]  # pandas' NA equals nothing, nor itself
        if len(known) < len(column) or not np.isin(known, (0, 1)).all():
            raise CorpusFormatError(f"the label {name} should be 0 or 1 in each record")
    return {name: column.astype(bool) for name, column in found.items()}


def _require_label_names(names: Iterable[str]) -> None:
    """Refuse names that the table of labels could not hold, or would hold as something else."""
    taken = (RECORD, *PATIENT_COLUMNS, *FOLD_COLUMNS)
    for name in names:
        if name.casefold() in taken:
            raise CorpusFormatError(f"a label cannot be called {name!r}: that is the table's column of something else")
        if not name or name != name.strip() or set(name) & set("=;,"):
            raise CorpusFormatError(
                f"a label cannot be called {name!r}: expected text without = ; , and blanks around it"
            )


def _require_plain(ids: Sequence[str]) -> None:
    """Refuse ids that are no file names."""
    marks = set("/\\:\0\n,;\"'")
    wrong = [name for name in ids if not name or name[0] in ".-" or name != name.strip() or set(name) & marks]
    if wrong or len(set(ids)) < len(ids):
        raise CorpusFormatError(f"record ids become file names: {wrong[0]!r} cannot" if wrong else "record ids repeat")


def _write_table(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
