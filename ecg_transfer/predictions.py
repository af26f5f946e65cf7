"""Logits by record, the raw material of every published number; and the file a run keeps them in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from ecg_transfer.files import write_atomically


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What a model said of the records of one part of a corpus. Rows are sorted by record id."""

    record_ids: NDArray[np.str_]
    """(N,)."""
    groups: NDArray[np.int64]
    """Number of the patient (or of the copies of one recording) of each record, (N,): bootstraps draw these."""
    logits: NDArray[np.float64]
    """(N, L)."""
    targets: NDArray[np.uint8]
    """Multi-hot, (N, L)."""

    def __len__(self) -> int:
        return len(self.record_ids)


def save_predictions(
    path: Path, predictions: Mapping[str, Predictions], epochs: Mapping[str, int], *, is_durable: bool = True
) -> None:
    """Write sets of predictions by name into one `.npz`, beside its place and renamed.

    Args:
        path: The file.
        predictions: By name, `val_selected/test` say.
        epochs: The epoch each name comes from.
        is_durable: See `ecg_transfer.files.write_atomically`.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, part in predictions.items():
        arrays |= {f"{name}/{field}": value for field, value in vars(part).items()}
        arrays[f"{name}/epoch"] = np.int64(epochs[name])  # type: ignore[assignment]
    with write_atomically(path, is_durable=is_durable) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def load_predictions(path: Path) -> tuple[dict[str, Predictions], dict[str, int]]:
    """Read what `save_predictions` wrote: predictions by name, and the epoch each comes from.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, or is torn.
    """
    with _arrays(path) as arrays:
        names = sorted({key.rpartition("/")[0] for key in arrays})
        predictions = {name: _part(arrays, name) for name in names}
        return predictions, {name: int(arrays[f"{name}/epoch"]) for name in names}


def load_part(path: Path, name: str) -> Predictions:
    """Read one set of predictions by its name and leave the others unread: a study opens thousands of such files.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, is torn, or has no predictions of that name.
    """
    with _arrays(path) as arrays:
        return _part(arrays, name)


@contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Open the file; whatever is wrong with it is a ValueError that names it."""
    try:
        _require_stored(path)
        with np.load(path, allow_pickle=False) as arrays:
            yield arrays
    except FileNotFoundError:
        raise
    except Exception as error:  # numpy's readers raise whatever a broken file makes them stumble over
        raise ValueError(f"{path} is no file of predictions, or it is torn: {error}") from error


def _require_stored(path: Path) -> None:
    """Check that the file is as large as what it holds, as `save_predictions` writes it: a packed one may be a bomb."""
    with ZipFile(path) as archive:
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise ValueError("its arrays are packed")


def _part(arrays: Mapping[str, NDArray[Any]], name: str) -> Predictions:
    return Predictions(**{field: arrays[f"{name}/{field}"] for field in ("record_ids", "groups", "logits", "targets")})
