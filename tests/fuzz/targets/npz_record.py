"""A record with its description as `.npz`, compared with numpy's own reader."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats import numpy as ours

REFUSALS = (RecordError,)


def seeds(folder: Path) -> Iterator[bytes]:
    signal = np.random.default_rng(0).normal(size=(3, 40)).astype(np.float32)
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, signal=signal, fs=500, leads=["I", "II", "V1"], unit="uV")
        yield stream.getvalue()


def check(data: bytes, folder: Path) -> None:
    (folder / "a.npz").write_bytes(data)
    raw = ours.read_npz(folder / "a.npz")
    if data[:2] != b"PK":  # where an archive begins later, numpy takes the file for a pickle
        return
    with np.load(io.BytesIO(data), allow_pickle=False) as theirs:
        flat = [name for name in theirs.files if theirs[name].ndim == 2]
        shapes = [np.asarray(theirs[name]) for name in flat]
    with np.errstate(all="ignore"):
        candidates = [array.astype(np.float32) for array in shapes if array.dtype.kind in "fiu"]
    assert any(np.array_equal(raw.signal, array, equal_nan=True) or
               np.array_equal(raw.signal, array.T, equal_nan=True) for array in candidates)  # fmt: skip
