"""HDF5: one array of many records, or of one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats.hdf5_texts import read_texts
from data_modules.formats.numpy import row_names
from data_modules.formats.raw_record import (
    Format,
    RawRecord,
    check_numbers,
    check_shape,
    file_size,
    leads_first,
    refuse_expansion,
    without_padding,
)
from data_modules.hdf5_dataset import longest_read, own_dataset, require_stored

ID_DATASETS = ("record_ids", "record_id", "exam_id", "ids", "id")
"""Datasets that name the records, where there is one of as many entries as records; `exam_id` is CODE-15's."""


def read(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read one record of (records, samples, leads) or (records, leads, samples), without padding; or a single 2-d one.

    Raises:
        RecordError: `unreadable` or `header`.
    """
    # opened for each record: an HDF5 handle survives neither pickling nor a fork, and opening takes under 1 ms
    with _open(path, dataset) as array:
        check_shape(array.shape[-2:])
        stored = array.id.get_storage_size()
        record = math.prod(array.shape[-2:]) * array.dtype.itemsize
        refuse_expansion(f"`{array.name.strip('/')}`", max(record, longest_read(array)), stored)
        signal = np.asarray(leads_first(array[row] if array.ndim == 3 else array[()]), dtype=np.float32)
        return RawRecord(signal=without_padding(signal) if array.ndim == 3 else signal)


def record_names(path: Path, dataset: str | None = None) -> tuple[str, ...] | None:
    """The ids that the file gives, or else row numbers; None for a single record.

    Raises:
        RecordError: `unreadable` or `header`.
    """
    with _open(path, dataset) as array:
        if array.ndim == 2:
            return None
        return _given_ids(array.file, len(array)) or row_names(len(array))


def _given_ids(file: h5py.File, num_records: int) -> tuple[str, ...] | None:
    for name in ID_DATASETS:
        if isinstance(file.get(name, getlink=True), h5py.HardLink):  # `in` would follow a link to another file
            ids = own_dataset(file, name)
            require_stored(ids)
            if ids.shape == (num_records,) and ids.dtype.kind in "iuSO":
                refuse_expansion(f"`{name}`", longest_read(ids), ids.id.get_storage_size())
                found = _as_text(ids)
                return found if len(set(found)) == num_records and all(map(_is_plain, found)) else None
    return None


def _as_text(ids: h5py.Dataset) -> tuple[str, ...]:
    """The ids as text.

    Raises:
        ValueError: They are no text.
    """
    if ids.dtype.kind in "iu":
        return tuple(map(str, ids[()].tolist()))
    if h5py.check_string_dtype(ids.dtype) is None:
        raise ValueError(f"`{ids.name.strip('/')}` holds {ids.dtype}, expected numbers or text")
    return tuple(ids.asstr()[()] if ids.dtype.kind == "S" else read_texts(Path(ids.file.filename), ids.name))


def _is_plain(text: str) -> bool:
    return text.isprintable() and bool(text.strip())


@contextmanager
def _open(path: Path, wanted: str | None) -> Iterator[h5py.Dataset]:
    file_size(path)
    try:
        with h5py.File(path, "r") as file:
            array = own_dataset(file, wanted or _only_array(file))
            require_stored(array)
            if array.ndim not in (2, 3):
                raise RecordError("header", f"{path.name}: `{array.name}` has shape {array.shape}, expected 3 lengths")
            check_numbers(array.dtype)
            yield array
    except RecordError:
        raise
    except Exception as error:  # h5py raises whatever the library stumbles over in a broken file
        raise RecordError("unreadable", f"{path.name}: {' '.join(str(error).split())}") from error


def _only_array(file: h5py.File) -> str:
    """The one 3-d dataset at the top of the file, or else the one 2-d; links are not followed.

    Raises:
        ValueError: There is none, or there are several.
    """
    hard = [str(name) for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    shapes = {name: file[name].shape for name in hard if isinstance(file[name], h5py.Dataset)}
    for num_dimensions in (3, 2):
        found = [name for name, shape in shapes.items() if shape is not None and len(shape) == num_dimensions]
        if len(found) == 1:
            return found[0]
    listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items()) or "no dataset"
    raise ValueError(f"it holds {listed}; name the array of the signals with --dataset")


FORMAT = Format(name="hdf5", suffixes=(".h5", ".hdf5"), read=read, record_names=record_names)
