"""One HDF5 file a (corpus, preprocessing): every record decoded, screened, resampled and cropped, once.

The signals lie contiguous in it as (records, samples, leads), float32 millivolts not yet scaled, so that a batch is
gathered straight from the file's pages: all processes of a machine share them, and nothing is copied to be loaded.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from data_modules.claim import claimed_in_turn, remove_void_claim
from data_modules.config import Preprocessing
from data_modules.corpus import LEAD_NAMES, Corpus, CorpusFormatError
from data_modules.formats.wfdb import files_of
from data_modules.hdf5_writing import hdf5_writer
from data_modules.ingest import CHUNK, SharedRows, ingest, row_sums
from data_modules.unfinished import beside, sweep
from data_modules.wfdb_header import SIGNAL_SUFFIXES

DAMAGE = (OSError, KeyError, ValueError, RuntimeError)
"""What opening a damaged cache ends with: HDF5 names every damage in its own way. An `OSError` with a number is the
system's, not the file's."""

CACHE_VERSION = 1
"""Raised when the same files and `Preprocessing` would give another content."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A finished cache file, opened for reading."""

    path: Path
    record_ids: tuple[str, ...]
    """All records of the corpus's table, in its order: a row each."""
    signals: np.memmap[tuple[int, int, int], np.dtype[np.float32]]
    """Millivolts, (records, samples, 12), memory-mapped; rows that were set aside hold nothing of use."""
    digests: NDArray[np.int64]
    """A number for the content of each row, (records,): equal ones are exact copies."""
    set_aside: dict[str, tuple[str, str]]
    """Record id -> (reason code, what was found)."""
    notes: dict[str, tuple[str, ...]]
    """Record id -> codes of what was mended."""
    sums: NDArray[np.uint64] | None = None
    """What `row_sums` gave for each row as it was written; None in a cache of an earlier version."""

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which rows may be used, (records,)."""
        return np.array([record_id not in self.set_aside for record_id in self.record_ids], dtype=bool)

    @property
    def copies(self) -> NDArray[np.int64]:
        """Number of the content of each row, (records,): equal ones are copies; of rows set aside none is one."""
        numbers: NDArray[np.int64] = np.unique(self.digests, return_inverse=True)[1].astype(np.int64)
        without = self.digests == 0
        numbers[without] = numbers.max(initial=0) + 1 + np.arange(without.sum())
        return numbers

    def is_damaged(self, rows: NDArray[np.int64]) -> bool:
        """Whether one of these rows is not what was written: files rot, and a bad signal trains as well as a good one.

        As fast as the rows are read: a sum a row.
        """
        if self.sums is None:
            return False
        parts = (part for part in np.array_split(np.sort(rows), -(-len(rows) // CHUNK)) if len(part))
        return not all(np.array_equal(row_sums(self.signals[part]), self.sums[part]) for part in parts)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many records were set aside by each reason, and how many were mended how."""
        return {
            "set_aside": dict(sorted(Counter(reason for reason, _ in self.set_aside.values()).items())),
            "notes": dict(sorted(Counter(note for notes in self.notes.values() for note in notes).items())),
        }


def open_cache(corpus: Corpus, preprocessing: Preprocessing, folder: Path, *, progress: bool | None = None) -> Cache:
    """The cache of a corpus; built if it is not there yet.

    It is built beside its place and renamed when it is whole, so that a name always stands for a finished cache. Of
    several processes that want it one builds it under a claim, the others wait; see `data_modules.claim`. One that is
    damaged is built anew: it holds nothing that is not in the record files.

    Args:
        corpus: What to read.
        preprocessing: How; `scale` does not matter here.
        folder: Where caches live.
        progress: Whether to show a bar; None shows one where there is a terminal.

    Raises:
        CorpusFormatError: Not one record of the corpus can be used.
        OSError: The cache cannot be written.
    """
    path = cache_path(corpus, preprocessing, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        if not path.exists():
            with claimed_in_turn(path, done=path.exists, report=_say) as to_be_built:
                if to_be_built:
                    _build(corpus, preprocessing, path, progress)
        try:
            cache = _open(path, corpus.table.record_ids)
        except DAMAGE as error:
            if getattr(error, "errno", None) is not None and path.exists():
                raise
            discard(path, str(error))
        else:
            with suppress(OSError):  # a builder was killed after the renaming; or the folder is for reading only
                remove_void_claim(path)
            return cache


def remove_caches(name: str, folder: Path) -> None:
    """Remove all caches of a corpus, with what was measured on them."""
    own = re.compile(rf"{re.escape(name)}-[0-9a-f]{{16}}(?:\.h5|\.checks\.npz)")
    for path in sorted(folder.glob(f"{name}-*")):
        if own.fullmatch(path.name):
            path.unlink(missing_ok=True)


def discard(path: Path, why: str) -> None:
    """Remove a damaged cache, with a word on it; opened again, it is built anew."""
    _say(f"the cache {path} is damaged ({why}); it is built anew")
    path.unlink(missing_ok=True)


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def cache_path(corpus: Corpus, preprocessing: Preprocessing, folder: Path) -> Path:
    """Where the cache of a corpus lies, or would."""
    return folder / f"{corpus.spec.name}-{fingerprint(corpus, preprocessing)[:16]}.h5"


def fingerprint(corpus: Corpus, preprocessing: Preprocessing) -> str:
    """A digest of all that decides a cache's content: sizes and times of each record's files, and the preprocessing."""
    wanted = {key: value for key, value in asdict(preprocessing).items() if key != "scale"}
    digest = hashlib.sha256()
    digest.update(json.dumps([CACHE_VERSION, corpus.spec.name, corpus.reading_options(), wanted]).encode())
    stats: dict[str, str] = {}
    root = os.path.join(corpus.root, "")  # noqa: PTH118 - a Path for each file costs as much as asking for its size
    for record_id, file in zip(corpus.table.record_ids, corpus.table.files, strict=True):
        if file not in stats:
            path = f"{root}{file}"
            stats[file] = _size_and_time(path) if not path.endswith(".hea") else _sizes_and_times(path)
        digest.update(f"{record_id}\0{file}\0{stats[file]}\n".encode())
    return digest.hexdigest()


def _sizes_and_times(header: str) -> str:
    """Of a WFDB record's files: those of its own name where there is one, since looking into a header takes longer."""
    found = [_size_and_time(path) for path in (header, *(f"{header[:-4]}{suffix}" for suffix in SIGNAL_SUFFIXES))]
    if not any(found[1:]):
        found += [_size_and_time(str(path)) for path in files_of(Path(header))]
    return " ".join(found)


def _size_and_time(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return ""
    return f"{found.st_size}:{found.st_mtime_ns}"


def _open(path: Path, record_ids: tuple[str, ...]) -> Cache:
    with h5py.File(path) as file:
        signals, digests, written = file["signals"], file["digests"][()], file["log"].asstr()[()]
        sums = file["sums"][()] if "sums" in file else None
        if tuple(file["record_ids"].asstr()[()]) != record_ids:
            raise ValueError("its records are not the corpus's")
        if sums is not None and file.attrs["sha256"] != _sha256(digests, sums, written):
            raise ValueError("its notes are not what was written")
        log = json.loads(written)
        return Cache(
            path=path,
            record_ids=record_ids,
            signals=np.memmap(path, np.float32, "r", offset=signals.id.get_offset(), shape=signals.shape),
            digests=digests,
            sums=sums,
            set_aside={record_id: (reason, detail) for record_id, (reason, detail) in log["set_aside"].items()},
            notes={record_id: tuple(notes) for record_id, notes in log["notes"].items()},
        )


def _build(corpus: Corpus, preprocessing: Preprocessing, path: Path, progress: bool | None) -> None:
    sweep(path.parent)
    unfinished = beside(path)
    shape = (len(corpus.table), preprocessing.num_samples, len(LEAD_NAMES))
    _require_room(path.parent, 4 * math.prod(shape))
    try:
        rows = _create(unfinished, corpus, preprocessing, shape)
        ingested = ingest(corpus, preprocessing, rows, progress=progress)
        if len(ingested.set_aside) == len(corpus.table):
            raise CorpusFormatError(_nothing_usable(corpus, ingested.set_aside))
        log = {"set_aside": dict(sorted(ingested.set_aside.items())), "notes": dict(sorted(ingested.notes.items()))}
        digests, sums = np.array(ingested.digests, np.int64), np.array(ingested.sums, np.uint64)
        written = json.dumps(log)
        with hdf5_writer(unfinished, "a") as file:
            file["digests"], file["sums"], file["log"] = digests, sums, written
            file.attrs["sha256"] = _sha256(digests, sums, written)
        rows.sync()
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _sha256(digests: NDArray[np.int64], sums: NDArray[np.uint64], log: str) -> str:
    return hashlib.sha256(digests.tobytes() + sums.tobytes() + log.encode()).hexdigest()


def _create(path: Path, corpus: Corpus, preprocessing: Preprocessing, shape: tuple[int, int, int]) -> SharedRows:
    """Write the file without its signals, and say where in it they belong."""
    with hdf5_writer(path, "w") as file:
        file.attrs["corpus"] = corpus.spec.name
        file.attrs["preprocessing"] = json.dumps(asdict(preprocessing))
        file["record_ids"] = np.array(corpus.table.record_ids, dtype=h5py.string_dtype())
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.CONTIGUOUS)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        layout.set_obj_track_times(False)  # the same records make the same bytes, whenever
        signals = h5py.h5d.create(file.id, b"signals", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(shape), layout)
        rows = SharedRows(path=path, offset=signals.get_offset(), shape=shape)
    _reserve(rows)
    return rows


def _reserve(rows: SharedRows) -> None:
    """Have the disk keep room for the signals: that it is full is said before they are read."""
    if not hasattr(os, "posix_fallocate") or 0 in rows.shape:
        return
    with rows.path.open("rb+") as stream:
        try:
            os.posix_fallocate(stream.fileno(), rows.offset, 4 * math.prod(rows.shape))
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise


def _nothing_usable(corpus: Corpus, set_aside: dict[str, tuple[str, str]]) -> str:
    record_id, (reason, detail) = next(iter(set_aside.items()), ("none", ("empty", "its table has no rows")))
    return (
        f"none of the {len(corpus.table)} records of {corpus.spec.title} in {corpus.root} can be used; "
        f"the first one, {record_id}: {reason}: {detail}"
    )


def _require_room(folder: Path, num_bytes: int) -> None:
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free < num_bytes * 1.05:
        raise OSError(
            errno.ENOSPC,
            f"the cache needs {num_bytes / 1e9:.2f} GB and {folder} has {free / 1e9:.2f} GB left; "
            "make room, or move the data with data.root or ECG_DATA_ROOT",
        )
