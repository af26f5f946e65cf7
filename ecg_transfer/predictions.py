"""Logits by record, the raw material of every published number; and the file a run keeps them in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

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


def save_predictions(path: Path, predictions: Mapping[str, Predictions], epochs: Mapping[str, int]) -> None:
    """Write sets of predictions by name into one `.npz`, beside its place and renamed.

    Args:
        path: The file.
        predictions: By name, `val_selected/test` say.
        epochs: The epoch each name comes from.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, part in predictions.items():
        arrays |= {f"{name}/{field}": value for field, value in vars(part).items()}
        arrays[f"{name}/epoch"] = np.int64(epochs[name])  # type: ignore[assignment]
    with write_atomically(path) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def load_predictions(path: Path) -> tuple[dict[str, Predictions], dict[str, int]]:
    """Read what `save_predictions` wrote: predictions by name, and the epoch each comes from.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no such file, or is torn.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = sorted({key.rpartition("/")[0] for key in arrays})
            fields = ("record_ids", "groups", "logits", "targets")
            found = {name: Predictions(**{field: arrays[f"{name}/{field}"] for field in fields}) for name in names}
            return found, {name: int(arrays[f"{name}/epoch"]) for name in names}
    except (BadZipFile, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of predictions, or it is torn: {error}") from error
