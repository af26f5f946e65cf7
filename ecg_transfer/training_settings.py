"""What a process is set up with while it trains; benchmarks and probes set themselves up alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ecg_transfer.allocator import freed_memory_kept
from ecg_transfer.denormals import denormals_flushed


@contextmanager
def training_settings() -> Iterator[None]:
    """Keep freed memory for the next step, and take denormal numbers for zeros."""
    with freed_memory_kept(), denormals_flushed():
        yield
