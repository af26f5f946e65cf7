"""From record files to rows of a cache: read, screen, resample, crop; on all cores, a chunk of records at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_modules.coded_screening import Measured, measure, notes_on
from data_modules.config import Preprocessing
from data_modules.corpus import Corpus, Record, RecordError
from data_modules.forked import forked_map
from data_modules.quality import screen
from data_modules.signal import prepare

CHUNK = 64
"""Records that a worker decodes before it reports."""

PARALLEL_FROM = 4 * CHUNK
"""Records from which workers are worth their start."""


@dataclass(kw_only=True)
class Ingested:
    """What became of the records of one chunk, or of all."""

    digests: list[int] = field(default_factory=list)
    """For each record a number for its content; 0 where it was set aside."""
    sums: list[int] = field(default_factory=list)
    """For each record what `row_sums` gives for its row: 0 where it was set aside."""
    set_aside: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Record id -> (reason code, what was found)."""
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Record id -> codes of what was mended."""

    def extend(self, other: Ingested) -> None:
        """Append the records of the next chunk."""
        self.digests += other.digests
        self.sums += other.sums
        self.set_aside |= other.set_aside
        self.notes |= other.notes


@dataclass(frozen=True, kw_only=True)
class SharedRows:
    """Where the decoded signals go: an array (records, samples, leads) inside a file that all workers write to."""

    path: Path
    offset: int
    """Bytes before the array."""
    shape: tuple[int, int, int]

    def write(self, row: int, signals: NDArray[np.float32]) -> None:
        """Write rows, (records, samples, leads), contiguous, from a given one on."""
        with self.path.open("rb+", buffering=0) as stream:
            stream.seek(self.offset + row * signals[0].nbytes)
            left = signals.data.cast("B")
            while left:
                left = left[stream.write(left) :]

    def sync(self) -> None:
        """Wait until all of the file lies on the disk."""
        with self.path.open("rb+") as stream:
            os.fsync(stream.fileno())


def ingest(corpus: Corpus, preprocessing: Preprocessing, rows: SharedRows, *, progress: bool | None) -> Ingested:
    """Decode every record of a corpus into its row.

    Args:
        corpus: What to read; row i is record i of its table.
        preprocessing: How.
        rows: Where to.
        progress: Whether to show a bar; None shows one where there is a terminal.
    """
    num_records = len(corpus.table)
    decode = _ChunkDecoder(corpus, preprocessing, rows)
    whole = Ingested()
    hidden = None if progress is None else not progress  # tqdm's None: hidden where there is no terminal
    with (
        tqdm(total=num_records, desc=f"reading {corpus.spec.name}", unit=" records", disable=hidden) as bar,
        ThreadPoolExecutor(1) as disk,  # waits for it while the next records are read: little is left for the end
    ):
        syncs: list[Future[None]] = []
        for chunk in forked_map(decode, range(0, num_records, CHUNK), at_least=-(-PARALLEL_FROM // CHUNK)):
            whole.extend(chunk)
            bar.update(len(chunk.digests))
            if all(sync.done() for sync in syncs):
                syncs.append(disk.submit(rows.sync))
        for sync in syncs:
            sync.result()
    return whole


def screen_for(record: Record, preprocessing: Preprocessing) -> Record:
    """Screen a record for a model's input: in training and in prediction alike.

    Raises:
        RecordError: As `data_modules.quality.screen`; `short` where short records are not padded.
    """
    seconds = preprocessing.num_samples / preprocessing.sampling_rate
    screened = screen(record, None if preprocessing.short == "pad" else seconds)
    if record.signal.shape[-1] / record.sampling_rate < seconds:
        return replace(screened, notes=(*screened.notes, "padded"))
    return screened


def content_digest(prepared: NDArray[np.float32]) -> int:
    """A number for a prepared signal (leads, samples): equal ones mean equal samples."""
    content = hashlib.blake2b(prepared.tobytes(), digest_size=8).digest()
    return int.from_bytes(content, "little", signed=True)


def row_sums(signals: NDArray[np.float32]) -> NDArray[np.uint64]:
    """The sum of each row's 64-bit words, modulo 2^64, (records,): any one changed byte changes it.

    Args:
        signals: (records, samples, 12).
    """
    words = np.ascontiguousarray(signals).reshape(len(signals), signals[0].size).view(np.uint64)
    sums: NDArray[np.uint64] = words.sum(axis=1, dtype=np.uint64)
    return sums


_Decoded = tuple[int, tuple[str, ...]]
"""The digest of a record and its notes."""


class _ChunkDecoder:
    """Decodes the records from a given row on into the shared rows."""

    def __init__(self, corpus: Corpus, preprocessing: Preprocessing, rows: SharedRows) -> None:
        self._corpus, self._preprocessing, self._rows = corpus, preprocessing, rows
        self._min_seconds = preprocessing.num_samples / preprocessing.sampling_rate

    def __call__(self, start: int) -> Ingested:
        chunk = Ingested()
        record_ids = self._corpus.table.record_ids[start : start + CHUNK]
        signals = np.zeros((len(record_ids), *self._rows.shape[1:]), np.float32)
        decoded = self._decode_coded(record_ids, signals)
        for place, record_id in enumerate(record_ids):
            if place not in decoded:
                try:
                    decoded[place] = self._decode(record_id, signals[place])
                except RecordError as error:
                    chunk.set_aside[record_id] = (error.reason, error.detail)
                    decoded[place], signals[place] = (0, ()), 0
            digest, notes = decoded[place]
            chunk.digests.append(digest)
            if notes:
                chunk.notes[record_id] = notes
        self._rows.write(start, signals)
        chunk.sums = row_sums(signals).tolist()
        return chunk

    def _decode_coded(self, record_ids: Sequence[str], signals: NDArray[np.float32]) -> dict[int, _Decoded]:
        """Decode those records whose files are as usual, on their codes, and that are kept as they are; by place.

        Which ones these are is known when all have been measured: the rows of the others are to be written again.
        """
        measured: dict[int, Measured] = {}
        digests: list[int] = []
        for place, record_id in enumerate(record_ids):
            if (record := self._corpus.read_coded(record_id)) is not None:
                measured[place] = measure(record)
                prepared = prepare(record.codes, record.sampling_rate, self._preprocessing, record.gain)
                digests.append(_store(prepared, signals[place]))
        verdicts = notes_on(tuple(measured.values()), self._min_seconds)
        found = zip(measured, digests, verdicts, strict=True)
        return {place: (digest, notes) for place, digest, notes in found if notes is not None}

    def _decode(self, record_id: str, row: NDArray[np.float32]) -> _Decoded:
        """Decode one record in millivolts, as any file can be."""
        record = screen_for(self._corpus.read(record_id), self._preprocessing)
        return _store(prepare(record.signal, record.sampling_rate, self._preprocessing), row), record.notes


def _store(prepared: NDArray[np.float32], row: NDArray[np.float32]) -> int:
    row[:] = prepared.T
    return content_digest(prepared)
