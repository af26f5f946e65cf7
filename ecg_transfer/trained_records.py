"""Recordings that a run was trained on, found again by their content under another corpus's name."""

from __future__ import annotations

import warnings
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from data_modules.cache import Cache, open_cache
from data_modules.corpus import CorpusNotFoundError
from data_modules.datamodule import PARTS, ECGDataModule
from data_modules.sources import data_root
from ecg_transfer.data_identity import DataChangedError, left_out_ids
from ecg_transfer.lineage import lineage
from ecg_transfer.model_folder import RecordSet, read_digests
from ecg_transfer.runs import Run
from ecg_transfer.upstream import UPSTREAM_RECORDS, RecordsOverlapWarning, TrainingUnknownWarning


def refuse_copies(run: Run, data: ECGDataModule, part: str) -> None:
    """Refuse another corpus that holds recordings which the run was trained or, for `test`, chosen on.

    They are told by their content. Where the run's corpus has changed since, all records count that the run did not
    leave out for this part.

    Args:
        run: With labels.
        data: The other corpus, set up.
        part: `val` or `test`.

    Raises:
        DataChangedError: It holds some.
    """
    try:
        made_with = _data_today(run)
    except (CorpusNotFoundError, ValueError) as error:
        _warn_unknown(run, data, str(error))
        return
    is_same = made_with.digest() == run.manifest["data"]["digest"]
    used = _rows_before(made_with, part) if is_same else _rows_but(made_with, left_out_ids(run, part))
    rows = data.rows[part]
    seen = rows[np.isin(_prepared(data, run).digests[rows], made_with.cache.digests[used])]
    if len(seen):
        raise DataChangedError(
            f"{len(seen)} of the {len(rows)} records of the {part} part of {data.config.corpus} are exact copies of "
            f"ones of {run.config.data.corpus} ({', '.join(data.record_ids[row] for row in seen[:3])}, ...) that "
            f"{run.path} {'was' if is_same else 'may have been'} trained or chosen on. `ecg-transfer predict` takes "
            "any record"
        )
    if not is_same:
        _warn_unknown(run, data, f"{made_with.corpus.root} has changed since")


def warn_of_upstreams(run: Run, data: ECGDataModule, part: str) -> None:
    """Warn of another corpus that holds recordings or patients which an upstream of the run was trained on.

    Recordings are told by their content, patients by their id where the corpus is the upstream's own. All upstreams are
    looked at, that of the upstream too. A warning, as at the start of a fine-tuning, and no refusal.

    Args:
        run: With labels.
        data: The other corpus, set up.
        part: `val` or `test`.
    """
    *_, first = runs = list(lineage(run))
    for upstream in runs[1:]:
        if upstream.manifest["data"]["simulated"] == data.corpus.is_simulated:
            _warn_of_training(upstream, data, part)
    about = first.manifest["upstream"]
    if about is not None and about.get("record_sets") is not None:
        _warn_of_exported(first, data, part)
    elif about is not None:
        _warn_unknown(first, data, f"{about['run']}, which it started from, is not beside it", about["run"])


def _warn_of_training(upstream: Run, data: ECGDataModule, part: str) -> None:
    try:
        theirs = data_of(upstream)
    except (CorpusNotFoundError, ValueError) as error:
        _warn_unknown(upstream, data, str(error))
        return
    rows, trained = data.rows[part], theirs.rows["train"]
    seen = np.isin(_prepared(data, upstream).digests[rows], theirs.cache.digests[trained])
    ours, others = data.corpus.table.patient_ids, theirs.corpus.table.patient_ids
    same_patients = np.zeros(len(rows), dtype=bool)
    if data.config.corpus == upstream.config.data.corpus and ours is not None and others is not None:
        same_patients = np.isin([ours[row] for row in rows], [others[row] for row in trained])
    _warn_of_overlap(upstream.name, data, part, seen, same_patients)


def _warn_of_exported(run: Run, data: ECGDataModule, part: str) -> None:
    about, prepared = run.manifest["upstream"], run.config.data.preprocessing(data.corpus.spec)
    if about["simulated"] != data.corpus.is_simulated:
        return
    sets = [records for entry in about["record_sets"] if (records := RecordSet(**entry)).is_comparable(prepared)]
    if not sets:
        _warn_unknown(run, data, f"{about['run']} says nothing of records that are prepared so", about["run"])
        return
    known = np.concatenate([read_digests(run.path / UPSTREAM_RECORDS, records) for records in sets])
    seen = np.isin(_prepared(data, run).digests[data.rows[part]], known)
    _warn_of_overlap(about["run"], data, part, seen, np.zeros_like(seen))


def _warn_of_overlap(
    upstream: str, data: ECGDataModule, part: str, seen: NDArray[np.bool_], same_patients: NDArray[np.bool_]
) -> None:
    """Say how many of a part's records, (records,), an upstream has seen: as they are, or others of their patients."""
    only_patients = same_patients & ~seen
    counts = [
        f"{flags.sum():,} {what}"
        for flags, what in ((seen, "are exact copies of ones"), (only_patients, "are of patients"))
        if flags.any()
    ]
    if counts:
        warnings.warn(
            f"of the {len(seen):,} records of the {part} part of {data.config.corpus}, {' and '.join(counts)} that the "
            f"upstream {upstream} was trained on: scores on them are no scores on new patients",
            RecordsOverlapWarning,
            stacklevel=5,
        )


def _prepared(data: ECGDataModule, run: Run) -> Cache:
    """The records of a corpus prepared as a run's were: copies are told from records prepared alike."""
    prepared = run.config.data.preprocessing(data.corpus.spec)
    return open_cache(data.corpus, prepared, data_root(data.config.root) / "cache", progress=data.progress)


def _rows_before(data: ECGDataModule, part: str) -> NDArray[np.int64]:
    """Rows of the parts that a training uses before it comes to this one."""
    return np.concatenate([data.rows[name] for name in PARTS[: PARTS.index(part)]])


def _rows_but(data: ECGDataModule, record_ids: set[str]) -> NDArray[np.int64]:
    others = np.array([record_id not in record_ids for record_id in data.record_ids])
    return np.flatnonzero(others & data.cache.kept)


def _warn_unknown(run: Run, data: ECGDataModule, reason: str, trained: str | None = None) -> None:
    warnings.warn(
        f"whether {trained or run.name} was trained on records of {data.config.corpus} cannot be checked: {reason}",
        TrainingUnknownWarning,
        stacklevel=5,
    )


def data_of(run: Run) -> ECGDataModule:
    """The data that a run was made with, set up.

    Raises:
        CorpusNotFoundError: They are gone.
        DataChangedError: What lies there is something else.
        ValueError: What lies there is no corpus, or cannot be split.
    """
    data = _data_today(run)
    if data.digest() != run.manifest["data"]["digest"]:
        raise DataChangedError(f"the recordings in {data.corpus.root} are not those that {run.name} was trained on")
    return data


def _data_today(run: Run) -> ECGDataModule:
    config = deepcopy(run.config.data)
    config.source = "simulated" if run.manifest["data"]["simulated"] else "real"
    data = ECGDataModule(config, batch_size=run.config.optim.batch_size)
    data.setup()
    return data
