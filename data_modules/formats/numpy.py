"""NumPy's files: `.npy` with one record or many, `.npz` with one and what describes it. Nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from data_modules.corpus import RecordError
from data_modules.formats.raw_record import (
    Format,
    RawRecord,
    check_numbers,
    check_shape,
    file_size,
    leads_first,
    refuse_expansion,
    refuse_large,
    unit_stated,
    without_padding,
)
from data_modules.unzip import check_compression

SIGNAL_KEYS = ("signal", "signals", "ecg", "data", "x")
LEADS_KEYS = ("leads", "lead_names", "sig_name")
RATE_KEYS = ("sampling_rate", "fs", "frequency")
UNIT_KEYS = ("unit", "units")
MAX_ROWS = 10_000_000
MAX_DESCRIPTION = 2**16
"""Bytes of an array that is read because it may say what the signal is."""

MAX_MEMBERS = 100
"""Arrays in one `.npz`."""
MAX_DIMENSIONS = 32

Array = NDArray[Any]


def read_npy(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read a record: the whole of a 2-d array, or one of a 3-d stack whose first axis is the records.

    Raises:
        RecordError: `unreadable` or `header`.
    """
    array = _open_npy(path)
    if array.ndim == 3:
        check_shape(array.shape[1:])
        return RawRecord(signal=without_padding(np.asarray(leads_first(array[row]), dtype=np.float32)))
    return RawRecord(signal=np.asarray(leads_first(array), dtype=np.float32))


def npy_record_names(path: Path, dataset: str | None = None) -> tuple[str, ...] | None:
    """Row numbers of a stack; None for a single record.

    Raises:
        RecordError: `unreadable`.
    """
    array = _open_npy(path)
    return row_names(array.shape[0]) if array.ndim == 3 else None


def row_names(num_records: int) -> tuple[str, ...]:
    """Names for the records of a stack that has none: their row numbers from 0, of one length so that they sort."""
    if num_records > MAX_ROWS:
        raise RecordError("header", f"a stack of {num_records} records, at most {MAX_ROWS} are read")
    width = len(str(max(num_records - 1, 0)))
    return tuple(f"{row:0{width}d}" for row in range(num_records))


def _open_npy(path: Path) -> Array:
    size = file_size(path)
    try:
        with path.open("rb") as stream:
            shape, is_fortran, dtype = _declared(stream)
            offset = stream.tell()
    except OSError as error:
        raise RecordError("unreadable", f"{path.name}: {error.strerror or error}") from error
    check_numbers(dtype)
    needed = offset + dtype.itemsize * math.prod(shape)
    if size < needed or 0 in shape:
        raise RecordError("truncated", f"{path.name} has {size} bytes, its header promises {needed}")
    # mapped, so that of a stack nothing but the wanted record is read
    return np.memmap(path, dtype, "r", offset, shape, "F" if is_fortran else "C")


def _declared(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type that a `.npy` declares, before any of its contents is read.

    Raises:
        RecordError: `unreadable`.
    """
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
    except Exception as error:  # numpy evaluates a literal: its parser may stumble in any way
        raise RecordError("unreadable", f"no NumPy array that can be read: {' '.join(str(error).split())}") from error
    if len(shape) > MAX_DIMENSIONS or not all(0 <= length < 2**63 for length in shape):
        raise RecordError("unreadable", f"an array of shape {str(shape)[:80]}")
    return shape, is_fortran, dtype


def read_npz(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read the one 2-d array of an `.npz`, with its leads, sampling rate and unit where it holds them too.

    Raises:
        RecordError: `unreadable` or `header`.
    """
    refuse_large(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if len(members) > MAX_MEMBERS or len(members) < len(archive.infolist()):
                raise RecordError("unreadable", f"{path.name} holds {len(archive.infolist())} arrays, or one twice")
            shapes = {name: _header(archive, member) for name, member in members.items()}
            key = _signal_key(path, shapes, dataset)
            check_shape(shapes[key][0])
            check_numbers(shapes[key][1])
            small = {name for name in shapes if _is_description(*shapes[name])}
            described = {name: _read_member(archive, members[name]) for name in sorted(small - {key})}
            signal = _read_member(archive, members[key])
    except RecordError:
        raise
    except Exception as error:  # zipfile raises whatever it stumbles over in a broken archive
        raise RecordError("unreadable", f"{path.name} is no .npz that can be read: {error}") from error
    leads, unit = _first(described, LEADS_KEYS), _first(described, UNIT_KEYS)
    return RawRecord(
        signal=np.asarray(leads_first(signal), dtype=np.float32),
        lead_names=None if leads is None else tuple(_texts(leads)),
        sampling_rate=_rate(_first(described, RATE_KEYS)),
        unit=None if unit is None or unit.dtype.kind not in "SU" else unit_stated(_only("unit", _texts(unit))),
    )


def _texts(array: Array) -> list[str]:
    plain = np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array
    return [str(text).strip() for text in plain.ravel()]


def _only(reason: str, texts: list[str]) -> str:
    """The one text that stands there, perhaps for each signal; nothing where there is none.

    Raises:
        RecordError: There are several.
    """
    found = list(dict.fromkeys(texts))
    if len(found) > 1:
        raise RecordError(reason, f"the file says {', '.join(found[:3])[:60]!r}; all signals should have the same")
    return found[0] if found else ""


def _rate(array: Array | None) -> float | None:
    """Hz, written as a number or as text; None where nothing is."""
    if array is None or array.dtype.kind not in "fiuSU":
        return None
    text = _only("sampling_rate", _texts(array))
    try:
        return float(text) if text else None
    except ValueError as error:
        found = f"the file says that it was sampled at {text[:20]!r}"
        raise RecordError("sampling_rate", f"{found}, expected a number of Hz") from error


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that a member declares, which must be what it unpacks to; none of its contents is unpacked."""
    check_compression(member)
    with archive.open(member) as stream:
        shape, _, dtype = _declared(stream)
        needed = stream.tell() + dtype.itemsize * math.prod(shape)
    if not dtype.hasobject and member.file_size != needed:
        raise RecordError("truncated", f"{member.filename} has {member.file_size} bytes, its header promises {needed}")
    refuse_expansion(member.filename, needed, member.compress_size)
    return shape, dtype


def _is_description(shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
    return not dtype.hasobject and dtype.itemsize * math.prod(shape) <= MAX_DESCRIPTION


def _signal_key(path: Path, shapes: dict[str, tuple[tuple[int, ...], np.dtype[Any]]], wanted: str | None) -> str:
    flat = [name for name, (shape, _) in shapes.items() if len(shape) == 2]
    named = [name for name in flat if name.casefold() in SIGNAL_KEYS]
    for candidates in ([wanted] if wanted else [], flat, named):
        if len(candidates) == 1 and candidates[0] in shapes:
            return candidates[0]
    found = ", ".join(f"{name} {shape}" for name, (shape, _) in sorted(shapes.items())) or "nothing"
    raise RecordError("unreadable", f"{path.name} holds {found}; name the array of the signal with --dataset")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    with archive.open(member) as stream:
        return npy.read_array(stream, allow_pickle=False)


def _first(arrays: dict[str, Array], keys: tuple[str, ...]) -> Array | None:
    by_key = {name.casefold(): array for name, array in arrays.items()}
    return next((by_key[key] for key in keys if key in by_key), None)


NPY = Format(name="npy", suffixes=(".npy",), read=read_npy, record_names=npy_record_names)
NPZ = Format(name="npz", suffixes=(".npz",), read=read_npz)
