"""A stack of records as HDF5, compared with h5py's plain reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats import hdf5

REFUSALS = (RecordError,)


def seeds(folder: Path) -> Iterator[bytes]:
    stack = np.random.default_rng(0).normal(size=(3, 20, 2)).astype(np.float32)
    for options in ({}, {"compression": "gzip", "shuffle": True}, {"chunks": (1, 20, 2), "fletcher32": True}):
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("tracings", data=stack, **options)
            file["exam_id"] = np.array([7, 9, 8])
        yield (folder / "a.h5").read_bytes()
    with h5py.File(folder / "a.h5", "w", libver="latest") as file:
        file["x"] = stack
        file["ids"] = np.array([b"a", b"bc", b"d"])  # texts of variable length are read by a process of their own
    yield (folder / "a.h5").read_bytes()


def check(data: bytes, folder: Path) -> None:
    (folder / "a.h5").write_bytes(data)
    names = hdf5.record_names(folder / "a.h5")
    raw = hdf5.read(folder / "a.h5", 0)
    with h5py.File(folder / "a.h5") as file:
        arrays = [item for item in file.values() if isinstance(item, h5py.Dataset) and item.ndim == (3 if names else 2)]
        with np.errstate(all="ignore"):
            first = np.asarray(arrays[0][0] if names else arrays[0][()]).astype(np.float32)
    first = first if first.shape[0] < first.shape[1] else first.T
    assert raw.signal.shape[0] == first.shape[0]
    assert np.count_nonzero(np.nan_to_num(raw.signal)) == np.count_nonzero(np.nan_to_num(first))
