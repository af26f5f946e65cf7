"""Recordings that a run was trained on, found again by their content under another corpus's name."""

from __future__ import annotations

import warnings
from copy import deepcopy

import numpy as np
from numpy.typing import NDArray

from data_modules.cache import open_cache
from data_modules.corpus import CorpusNotFoundError
from data_modules.datamodule import PARTS, ECGDataModule
from data_modules.sources import data_root
from ecg_transfer.data_identity import DataChangedError, left_out_ids
from ecg_transfer.runs import Run


class TrainingUnknownWarning(UserWarning):
    """A model is evaluated on recordings that cannot be compared with those of its training."""


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
    prepared = made_with.config.preprocessing(data.corpus.spec)  # copies are told from records prepared alike
    cache = open_cache(data.corpus, prepared, data_root(data.config.root) / "cache", progress=data.progress)
    rows = data.rows[part]
    seen = rows[np.isin(cache.digests[rows], made_with.cache.digests[used])]
    if len(seen):
        raise DataChangedError(
            f"{len(seen)} of the {len(rows)} records of the {part} part of {data.config.corpus} are exact copies of "
            f"ones of {run.config.data.corpus} ({', '.join(data.record_ids[row] for row in seen[:3])}, ...) that "
            f"{run.path} {'was' if is_same else 'may have been'} trained or chosen on. `ecg-transfer predict` takes "
            "any record"
        )
    if not is_same:
        _warn_unknown(run, data, f"{made_with.corpus.root} has changed since")


def _rows_before(data: ECGDataModule, part: str) -> NDArray[np.int64]:
    """Rows of the parts that a training uses before it comes to this one."""
    return np.concatenate([data.rows[name] for name in PARTS[: PARTS.index(part)]])


def _rows_but(data: ECGDataModule, record_ids: set[str]) -> NDArray[np.int64]:
    others = np.array([record_id not in record_ids for record_id in data.record_ids])
    return np.flatnonzero(others & data.cache.kept)


def _warn_unknown(run: Run, data: ECGDataModule, reason: str) -> None:
    warnings.warn(
        f"whether {run.name} was trained on records of {data.config.corpus} cannot be checked: {reason}",
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
