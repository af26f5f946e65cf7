"""What reading a file made to harm may cost at most, and how it is read here."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data_modules.formats import FORMATS

MEGABYTES = 2**20


@contextmanager
def within_limits(seconds: float = 1.0, megabytes: float = 200) -> Iterator[None]:
    started = time.process_time()
    tracemalloc.start()
    try:
        yield
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTES
    assert time.process_time() - started < seconds * 2  # tracing takes as long again


def read(path: Path, dataset: str | None = None) -> np.ndarray:
    kind = next(entry for entry in FORMATS.values() if path.name.endswith(entry.suffixes))
    kind.record_names(path, dataset)
    return kind.read(path, 0, dataset).signal
