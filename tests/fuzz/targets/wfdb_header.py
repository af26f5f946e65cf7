"""A `.hea` beside a signal file of 480 bytes; what is read in format 16 is computed again here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import RecordError
from data_modules.wfdb_header import read_header
from data_modules.wfdb_record import read_signal

REFUSALS = (RecordError,)
CONTENT = np.random.default_rng(0).integers(-3000, 3000, 240).astype("<i2").tobytes()


def seeds(folder: Path) -> Iterator[bytes]:
    (folder / "r.dat").write_bytes(CONTENT)
    scale = "1000(3)/mV 16 0 -5 7 0"
    yield f"r 2 500 120\nr.dat 16 {scale} I\nr.dat 16 {scale} II\n# Dx: 426783006,1\n".encode()
    yield f"r.mat 1 500/2(3) 228 05-May-2020 14:50:55\nr.dat 16x1:0+24 {scale} V1\n".encode()
    yield b"r 3 250\nr.dat 16 200/uV 12 0 0 0 0 I\nr.dat 16 .5e3/V\nr.dat 16 200 12 1024 0 0 0 aVR\n"
    yield "r 1 100 240\nr.dat 16 1e3/µV 16 0 0 0 0 II\n#Age: NaN\n".encode()


def check(data: bytes, folder: Path) -> None:
    (folder / "r.hea").write_bytes(data)
    header = read_header(folder / "r.hea")
    signal = read_signal(header, None)
    if header.segments or any(line.storage[:3] != ("16", 1, 0) for line in header.signals):
        return
    width = len(header.signals)
    flat = np.frombuffer(CONTENT[header.signals[0].storage.byte_offset :], "<i2")
    codes = flat[: len(flat) // width * width].reshape(-1, width).T.astype(np.float64)
    for row, line, found in zip(codes, header.signals, signal, strict=True):
        expected = np.where(row == -32768, np.nan, (row - line.baseline) / line.gain)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(found, expected.astype(np.float32), rtol=1e-6)
