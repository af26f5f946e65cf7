"""What is measured on every record of a cache, once: amplitude, flat leads, lead swaps, near copies.

It lies beside the cache as `<cache>.checks.npz` and is made again where it is missing. All of PTB-XL takes some 10 s of
one core.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data_modules.cache import Cache
from data_modules.lead_swaps import right_arm_margin
from data_modules.near_copies import SKETCH_SIZE, are_copies, candidates, sketch
from data_modules.quality import FLAT_MILLIVOLTS

CHECKS_VERSION = 2
"""Raised when the same cache would give other measurements."""

BLOCK = 256

MAX_COMPARED = 100_000
"""Records up to which each is compared with each other: some 40 s of a core; the time grows with the square."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordChecks:
    """Measurements by row of a cache; those of rows that were set aside mean nothing.

    Measured is what was recorded: neither the zeros behind a short recording nor those in place of leads it lacks.
    """

    amplitudes: NDArray[np.float32]
    """Median over leads and seconds of the peak-to-peak voltage, millivolts, (records,)."""
    flat: NDArray[np.bool_]
    """Leads that hardly move in half of their seconds, (records, 12)."""
    margins: NDArray[np.float64]
    """Of `right_arm_margin`, (records,); -2 where a lead is lacking."""
    sketches: NDArray[np.float32]
    """For comparing with another corpus, (records, D); zero where a record was set aside."""
    copies: NDArray[np.int64]
    """Pairs of rows that hold one recording, (pairs, 2), the smaller row first."""
    compared: NDArray[np.bool_]
    """Whether copies were looked for at all: False beyond `MAX_COMPARED` records; a single value."""


def record_checks(cache: Cache, sampling_rate: int, *, progress: bool | None = None) -> RecordChecks:
    """The measurements of a cache: read, or made and left beside it.

    Args:
        cache: Open.
        sampling_rate: Hz of its signals.
        progress: Whether to show a bar; None shows one where there is a terminal.
    """
    path = cache.path.with_suffix(".checks.npz")
    if (known := _read(path, len(cache.record_ids))) is not None:
        return known
    checks = _measure(cache, sampling_rate, progress)
    # a cache that others may only read is used all the same
    with suppress(PermissionError):
        _write(path, checks)
    return checks


def _measure(cache: Cache, sampling_rate: int, progress: bool | None) -> RecordChecks:
    num_records, kept = len(cache.record_ids), cache.kept
    amplitudes = np.zeros(num_records, np.float32)
    flat = np.zeros((num_records, cache.signals.shape[2]), bool)
    margins = np.full(num_records, -2.0)
    sketches = np.zeros((num_records, SKETCH_SIZE), np.float32)
    hidden = None if progress is None else not progress
    rows = np.flatnonzero(kept)
    for start in tqdm(range(0, len(rows), BLOCK), desc="looking for copies and swapped leads", disable=hidden):
        block = rows[start : start + BLOCK]
        signals = np.asarray(cache.signals[block])
        lengths, absent = _recorded(signals, [cache.notes.get(cache.record_ids[row], ()) for row in block])
        for length in np.unique(lengths):
            alike = lengths == length
            measured = _measure_block(signals[alike, :length], absent[alike], sampling_rate)
            for array, values in zip((amplitudes, flat, margins, sketches), measured, strict=True):
                array[block[alike]] = values
    is_compared = len(rows) <= MAX_COMPARED
    copies = _find_copies(cache, sketches, sampling_rate) if is_compared else []
    return RecordChecks(
        amplitudes=amplitudes,
        flat=flat,
        margins=margins,
        sketches=sketches,
        copies=np.array(copies, np.int64).reshape(-1, 2),
        compared=np.array(is_compared),
    )


def _recorded(
    signals: NDArray[np.float32], notes: Sequence[tuple[str, ...]]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How many samples of each record are no padding, (records,), and which leads it lacks, (records, 12).

    Args:
        signals: Millivolts, (records, samples, 12).
        notes: For each record what the cache notes of it.
    """
    lengths = np.full(len(signals), signals.shape[1])
    for row in (row for row, codes in enumerate(notes) if "padded" in codes):
        lengths[row] = np.flatnonzero(signals[row].any(axis=1)).max(initial=0) + 1
    absent = np.zeros((len(signals), signals.shape[2]), bool)
    for row in (row for row, codes in enumerate(notes) if "absent_lead" in codes):
        moves = signals[row].any(axis=0)
        absent[row] = ~moves & moves.any()
    return lengths, absent


def _measure_block(
    signals: NDArray[np.float32], absent: NDArray[np.bool_], sampling_rate: int
) -> tuple[NDArray[np.generic], ...]:
    """Amplitudes, flat leads, margins and sketches of recordings of one length."""
    seconds = _heights(signals, sampling_rate)
    flat = (np.median(seconds, axis=1) <= FLAT_MILLIVOLTS) & ~absent
    margins = np.where(absent.any(axis=1), -2.0, right_arm_margin(signals, sampling_rate))
    amplitudes = np.nanmedian(np.where(absent[:, None], np.float32("nan"), seconds), axis=(1, 2))
    return amplitudes, flat, margins, sketch(signals, sampling_rate)


def _find_copies(cache: Cache, sketches: NDArray[np.float32], sampling_rate: int) -> list[tuple[int, int]]:
    signals = cache.signals
    return [(a, b) for a, b in candidates(sketches) if are_copies(signals[a], signals[b], sampling_rate)]


def _heights(signals: NDArray[np.float32], sampling_rate: int) -> NDArray[np.float32]:
    """Peak-to-peak voltage within each whole second, (records, seconds, leads)."""
    num_records, num_samples, num_leads = signals.shape
    window = min(sampling_rate, num_samples)
    seconds = signals[:, : num_samples // window * window].reshape(num_records, -1, window, num_leads)
    heights: NDArray[np.float32] = seconds.max(axis=2) - seconds.min(axis=2)
    return heights


def _read(path: Path, num_records: int) -> RecordChecks | None:
    """What lies there; None where that is nothing, torn, changed, or of another version."""
    try:
        with np.load(path, allow_pickle=False) as content:
            if int(content["version"]) != CHECKS_VERSION or len(content["margins"]) != num_records:
                return None
            checks = RecordChecks(**{field.name: content[field.name] for field in fields(RecordChecks)})
            return checks if str(content["sha256"]) == _sha256(checks) else None
    except Exception:  # zipfile and numpy raise whatever they stumble over in a damaged file
        return None


def _sha256(checks: RecordChecks) -> str:
    digest = hashlib.sha256()
    for field in fields(checks):
        array = getattr(checks, field.name)
        digest.update(f"{field.name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


def _write(path: Path, checks: RecordChecks) -> None:
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    arrays = {field.name: getattr(checks, field.name) for field in fields(checks)}
    try:
        with unfinished.open("wb") as stream:
            np.savez(stream, version=CHECKS_VERSION, sha256=np.array(_sha256(checks)), **arrays)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
