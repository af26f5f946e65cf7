"""Formats that the package wfdb reads, packed and compressed: header and signal file are one input, split at a NUL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import wfdb

from data_modules.corpus import RecordError
from data_modules.wfdb_header import read_header
from data_modules.wfdb_record import read_codes, read_signal
from tests.fuzz.for_wfdb import for_wfdb

REFUSALS = (RecordError,)
FORMATS = ("16", "212", "80", "24", "32", "516", "508", "524")


def seeds(folder: Path) -> Iterator[bytes]:
    codes = np.random.default_rng(0).integers(-100, 100, (60, 2))
    for form in FORMATS:
        wfdb.wrsamp("r", fs=500, units=["mV"] * 2, sig_name=["I", "II"], d_signal=codes, fmt=[form] * 2,
                    adc_gain=[200.0] * 2, baseline=[0] * 2, write_dir=str(folder))  # fmt: skip
        (file,) = (path for path in folder.iterdir() if path.suffix in (".dat", ".flac"))
        yield (folder / "r.hea").read_bytes() + b"\0" + file.read_bytes()
        file.unlink()
    yield b"r 1 500 40\nr.dat 61 200/mV 16 0 0 0 0 I\n\0" + bytes(range(80))
    yield b"r 1 500 40\nr.dat 310 200/mV 16 0 0 0 0 I\n\0" + bytes(range(80))
    yield b"r 2 500 30\nr.dat 16x2 200/mV 16 0 0 0 0 I\nr.dat 16:4 200/mV 16 0 0 0 0 II\n\0" + bytes(range(180))


def check(data: bytes, folder: Path) -> None:
    header_bytes, _, content = data.partition(b"\0")
    for name in ("r.dat", "r.flac"):
        (folder / name).write_bytes(content)
    (folder / "r.hea").write_bytes(header_bytes)
    header = read_header(folder / "r.hea")
    signal = read_signal(header, None)
    codes = read_codes(header, header.signals)
    assert signal.shape == codes.shape
    if header.num_samples is not None:
        assert signal.shape == (len(header.signals), header.num_samples)
    if all(line.storage.format in ("16", "212", "24", "32") for line in header.signals):
        (folder / "w.hea").write_bytes(for_wfdb(header_bytes))
        theirs = wfdb.rdrecord(str(folder / "w"), physical=False)
        np.testing.assert_array_equal(codes, theirs.d_signal.T)
