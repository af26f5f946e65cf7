"""A `.hea` beside a signal file of 480 bytes: read as wfdb reads it; signals in format 16 are computed again here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import wfdb

from data_modules.corpus import RecordError
from data_modules.wfdb_header import Header, read_header
from data_modules.wfdb_record import read_signal
from tests.fuzz.for_wfdb import for_wfdb

REFUSALS = (RecordError,)
CONTENT = np.random.default_rng(0).integers(-3000, 3000, 240).astype("<i2").tobytes()
PER_MILLIVOLT = {"mv": 1.0, "uv": 1e3, "v": 1e-3}


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
    (folder / "w.hea").write_bytes(for_wfdb(data))
    theirs = wfdb.rdheader(str(folder / "w"))
    assert (theirs.fs, theirs.sig_len or None) == (header.sampling_rate, header.num_samples), vars(theirs)
    if header.segments:
        return
    _require_same_signals(header, theirs)
    if any(line.storage[:3] != ("16", 1, 0) for line in header.signals):
        return
    width = len(header.signals)
    content = CONTENT[header.signals[0].storage.byte_offset :]
    flat = np.frombuffer(content[: len(content) // 2 * 2], "<i2")
    codes = flat[: len(flat) // width * width].reshape(-1, width).T.astype(np.float64)
    for row, line, found in zip(codes, header.signals, signal, strict=True):
        expected = np.where(row == -32768, np.nan, (row - line.baseline) / line.gain)
        with np.errstate(all="ignore"):
            np.testing.assert_allclose(found, expected.astype(np.float32), rtol=1e-6)


def _require_same_signals(header: Header, theirs: wfdb.Record) -> None:
    """Gains, baselines, initial values, checksums and names; wfdb drops what is not ASCII, and what follows a tab."""
    gains = [g * PER_MILLIVOLT[(u or "mV").lower()] for g, u in zip(theirs.adc_gain, theirs.units, strict=True)]
    np.testing.assert_allclose([line.gain for line in header.signals], gains, rtol=1e-12)
    assert [line.baseline for line in header.signals] == [baseline or 0 for baseline in theirs.baseline], vars(theirs)
    assert [line.initial_value for line in header.signals] == theirs.init_value, vars(theirs)
    assert [line.checksum for line in header.signals] == theirs.checksum, vars(theirs)
    shown = [line.name.replace("/µ", "/u").replace("/μ", "/u") for line in header.signals]  # as `for_wfdb` writes them
    names = [name.encode("ascii", "ignore").decode().lstrip().partition("\t")[0].strip() for name in shown]
    assert names == [(name or "").strip() for name in theirs.sig_name], vars(theirs)
