"""Memory that a training step frees stays with the process, so that the next step need not ask for it again.

A step of a recurrent net allocates and frees hundreds of megabytes. glibc takes blocks of that size from the system one
by one and gives them back at once, and the system fills every page with zeros, every time: an LSTM at batch 64 faulted
59,000 pages a step and spent 44 % of its time in it. The ResNets, and the GRU of `ecg_transfer.models.gru`, hardly do.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Parameters of mallopt(3)."""
VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
"""By which a user sets the same; see mallopt(3)."""
DEFAULT_MMAP_MAX = 65_536
LARGEST_MMAP_THRESHOLD = 32 << 20
"""Where glibc's own adjustment of its thresholds ends, DEFAULT_MMAP_THRESHOLD_MAX; its trim threshold is twice that."""


@contextmanager
def freed_memory_kept() -> Iterator[bool]:
    """Within it what is freed is kept for reuse; at its end all that is free goes back to the system.

    Does nothing where the allocator is another than glibc's, and nothing where the user has set it up: one of
    `VARIABLES`, `GLIBC_TUNABLES`, or an allocator in `LD_PRELOAD`. So `MALLOC_TRIM_THRESHOLD_=131072`, which is glibc's
    default, switches it off.

    Yields:
        Whether it is in force.
    """
    libc = None if is_set_up(os.environ) else _glibc()
    if libc is None:
        yield False
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield True
    finally:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)


def is_set_up(environment: Mapping[str, str]) -> bool:
    """Whether the user has chosen an allocator (their names all end in `malloc`) or set glibc's up."""
    by_variable = any(environment.get(name) for name in VARIABLES)
    tunables, preloaded = environment.get("GLIBC_TUNABLES", ""), environment.get("LD_PRELOAD", "")
    return by_variable or "glibc.malloc" in tunables or "malloc" in preloaded


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None  # musl has neither it nor mallopt
