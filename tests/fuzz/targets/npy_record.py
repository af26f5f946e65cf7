"""A record or a stack as `.npy`, compared with numpy's own reader."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats import numpy as ours

REFUSALS = (RecordError,)


def _bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def seeds(folder: Path) -> Iterator[bytes]:
    rng = np.random.default_rng(0)
    yield _bytes(rng.normal(size=(12, 60)).astype(np.float32))
    yield _bytes(np.asfortranarray(rng.integers(-9, 9, (60, 3)).astype(">i2")))
    yield _bytes(rng.normal(size=(3, 2, 40)).astype(np.float16))


def check(data: bytes, folder: Path) -> None:
    (folder / "a.npy").write_bytes(data)
    names = ours.npy_record_names(folder / "a.npy")
    raw = ours.read_npy(folder / "a.npy", 0)
    theirs = np.load(io.BytesIO(data), allow_pickle=False)
    with np.errstate(all="ignore"):
        expected = np.asarray(theirs if names is None else theirs[0]).astype(np.float32)
    expected = expected if expected.shape[0] < expected.shape[1] else expected.T
    if names is None:
        np.testing.assert_array_equal(raw.signal, expected)
    else:
        assert len(names) == len(theirs)
        assert raw.signal.shape[0] == expected.shape[0]
        assert np.nansum(np.abs(raw.signal) > 0) == np.nansum(np.abs(expected) > 0)
