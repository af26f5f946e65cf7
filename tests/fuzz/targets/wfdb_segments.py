"""A record of several segments: its header and the header of its one segment, split at a NUL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_modules.corpus import RecordError
from data_modules.formats import wfdb

REFUSALS = (RecordError,)
CONTENT = np.random.default_rng(0).integers(-3000, 3000, 240).astype("<i2")


def seeds(folder: Path) -> Iterator[bytes]:
    CONTENT.tofile(folder / "s.dat")
    segment = b"s 2 500 120\ns.dat 16 200/mV 16 0 0 0 0 I\ns.dat 16 200/mV 16 0 0 0 0 II\n"
    yield b"r/2 2 500 240\ns 120\ns 120\n\0" + segment
    yield b"r/1 1 500 120\ns 120\n\0s 1 500 120\ns.dat 16x2 200(3)/uV 16 0 0 0 0 V1\n"


def check(data: bytes, folder: Path) -> None:
    whole, _, segment = data.partition(b"\0")
    (folder / "r.hea").write_bytes(whole)
    (folder / "s.hea").write_bytes(segment)
    raw = wfdb.read(folder / "r.hea")
    assert raw.signal.dtype == np.float32
    assert raw.lead_names is None or len(raw.lead_names) == len(raw.signal)
