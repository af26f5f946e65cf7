"""A corpus of arrays in memory: written once to the data root, from then on an own corpus like any other."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_modules.corpus import LEAD_NAMES, SIMULATION_MARKER, CorpusFormatError
from data_modules.formats.numpy import row_names
from data_modules.formats.raw_record import Unit
from data_modules.own.adding import add_corpus
from data_modules.own.definition import RESERVED, definition_path, is_own_name
from data_modules.own.label_survey import LabelOptions
from data_modules.own.own_corpus import OwnCorpus
from data_modules.reading import ReadingOptions
from data_modules.sources import data_root

SIGNALS, LABELS = "signals", "labels.csv"
RECORD, PATIENT, FOLD = "record", "patient", "fold"
"""Columns of the table that is written."""


def corpus_from_arrays(
    signals: ArrayLike | Sequence[ArrayLike],
    labels: ArrayLike | Mapping[str, ArrayLike],
    *,
    sampling_rate: int,
    name: str,
    unit: Unit = "mV",
    label_names: Sequence[str] | None = None,
    leads: Sequence[str] = LEAD_NAMES,
    record_ids: Sequence[str] | None = None,
    patients: Sequence[object] | None = None,
    folds: Sequence[int] | None = None,
    root: str | Path | None = None,
    simulated: bool = False,
    replace: bool = False,
) -> OwnCorpus:
    """Make an own corpus of arrays: `pretrain`, `finetune` and `train_from_scratch` take its name from then on.

    The arrays are written to `<root>/<name>/`, since a run must find its data again.

    Args:
        signals: (records, leads, samples) or (records, samples, leads); a sequence of 2-d arrays where lengths differ.
        labels: Multi-hot, (records, labels); or label name -> (records,).
        sampling_rate: Hz.
        name: What the corpus is to be called.
        unit: Of the signals.
        label_names: In column order, where `labels` is an array.
        leads: Names of the leads in the signals' order.
        record_ids: Row numbers by default.
        patients: For each record its patient: all records of one are on one side of a split.
        folds: For each record 1 to 10: 9 validates, 10 tests.
        root: Data root; None is the environment's ECG_DATA_ROOT, or else `data`.
        simulated: Whether these are no real recordings: runs on them then live apart.
        replace: Whether a corpus of this name is written anew.

    Raises:
        CorpusFormatError: Lengths or names do not fit, the name is taken, or no record can be used.
    """
    home = data_root(root)
    if not is_own_name(name):
        raise CorpusFormatError(f"{name!r} cannot be a corpus's name: a-z, 0-9, _ and -, not {' or '.join(RESERVED)}")
    folder = home / name
    if not replace and (folder.exists() or definition_path(home, name).exists()):
        raise CorpusFormatError(f"{folder} is there already; replace=True writes it anew")
    columns = _columns(labels, label_names)
    arrays = [np.asarray(signal, dtype=np.float32) for signal in signals]  # type: ignore[union-attr]
    ids = tuple(record_ids) if record_ids is not None else row_names(len(arrays))
    extra = {PATIENT: patients, FOLD: folds}
    columns_given = {key: list(map(str, values)) for key, values in extra.items() if values is not None}
    for what, values in {"record_ids": ids, **columns, **columns_given}.items():
        if len(values) != len(arrays):
            raise CorpusFormatError(f"{len(arrays)} signals, but {len(values)} {what}")
    _require_plain(ids)
    (folder / SIGNALS).mkdir(parents=True, exist_ok=True)
    marker = folder / SIGNALS / SIMULATION_MARKER
    marker.write_text("{}\n", encoding="utf-8") if simulated else marker.unlink(missing_ok=True)
    for old in sorted((folder / SIGNALS).glob("*.npy")):
        old.unlink()
    for record_id, array in zip(ids, arrays, strict=True):
        np.save(folder / SIGNALS / f"{record_id}.npy", array)
    texts = {label: ["1" if value else "0" for value in column] for label, column in columns.items()}
    _write_table(folder / LABELS, {RECORD: list(ids), **texts, **columns_given})
    options = LabelOptions(
        names=tuple(columns),
        record_column=RECORD,
        patient_column=PATIENT if patients is not None else None,
        fold_column=FOLD if folds is not None else None,
    )
    reading = ReadingOptions(unit=unit, leads=tuple(leads), sampling_rate=sampling_rate)
    return add_corpus(
        name,
        folder / SIGNALS,
        root=home,
        labels=folder / LABELS,
        reading=reading,
        label_options=options,
        format_name="npy",
        replace_old=replace,
    )


def _columns(
    labels: ArrayLike | Mapping[str, ArrayLike], label_names: Sequence[str] | None
) -> dict[str, NDArray[np.bool_]]:
    """Label name -> (records,)."""
    if isinstance(labels, Mapping):
        found = {str(name): np.asarray(column) for name, column in labels.items()}
    else:
        array = np.asarray(labels)
        if array.ndim != 2 or label_names is None or array.shape[1] != len(label_names):
            raise CorpusFormatError(
                f"labels of shape {array.shape}: expected (records, labels) and label_names for them"
            )
        found = dict(zip(map(str, label_names), array.T, strict=True))
    for name, column in found.items():
        if not np.isin(column, (0, 1)).all():
            raise CorpusFormatError(f"the label {name} should be 0 or 1 in each record")
    return {name: column.astype(bool) for name, column in found.items()}


def _require_plain(ids: Sequence[str]) -> None:
    """Refuse ids that are no file names."""
    wrong = [name for name in ids if not name or name[0] in ".-" or set(name) & set("/\\:\0\n,;\"'")]
    if wrong or len(set(ids)) < len(ids):
        raise CorpusFormatError(f"record ids become file names: {wrong[0]!r} cannot" if wrong else "record ids repeat")


def _write_table(path: Path, columns: Mapping[str, Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
