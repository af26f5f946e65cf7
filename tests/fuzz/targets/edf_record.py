"""A recording as EDF, decoded again by its specification."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats import edf
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts
from tests.data_modules.formats.ecg_writers import write_edf

REFUSALS = (RecordError,)


def seeds(folder: Path) -> Iterator[bytes]:
    write_edf(folder / "a.edf", as_codes(synthetic_millivolts(80, 40)), 40)
    yield (folder / "a.edf").read_bytes()
    write_edf(folder / "a.edf", as_codes(synthetic_millivolts(100, 100)), 100, unit="mV")
    yield (folder / "a.edf").read_bytes()


def check(data: bytes, folder: Path) -> None:
    (folder / "a.edf").write_bytes(data)
    raw = edf.read(folder / "a.edf")
    assert raw.lead_names is not None
    num_signals = int(data[252:256])
    if data[:1] != b"0" or len(raw.signal) != num_signals:
        return

    def column(start: int, width: int) -> list[bytes]:
        at = 256 + start * num_signals
        return [data[at + width * number :][:width] for number in range(num_signals)]

    lengths = [int(text) for text in column(216, 8)]
    low, high, bottom, top = ([float(text) for text in column(start, 8)] for start in (104, 112, 120, 128))
    blocks = np.frombuffer(data[256 * (num_signals + 1) :], "<i2", int(data[236:244]) * sum(lengths))
    parts = np.split(blocks.reshape(int(data[236:244]), -1), np.cumsum(lengths)[:-1], axis=1)
    for index, found in enumerate(raw.signal):
        step = (high[index] - low[index]) / (top[index] - bottom[index])
        assert bottom[index] <= parts[index].min() <= parts[index].max() <= top[index]
        expected = (parts[index].ravel().astype(float) - bottom[index]) * step
        size = abs(low[index]) + abs(high[index])
        np.testing.assert_allclose(found, expected + low[index], rtol=1e-4, atol=1e-5 * size)
