"""Kept memory, seen by the pages that a process faults."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from ecg_transfer.allocator import freed_memory_kept, is_set_up

MEGABYTES = 200
PAGES = MEGABYTES * 256
"""Of 4 kB."""

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")


def pages_faulted() -> int:
    """By one large array that is written to and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(MEGABYTES << 20)  # not of NumPy, which asks for huge pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def megabytes_held() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8


@pytest.fixture
def _untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GLIBC_TUNABLES", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)


@linux_only
@pytest.mark.usefixtures("_untouched")
def test_a_large_array_is_faulted_once_and_given_back_at_the_end() -> None:
    before = megabytes_held()
    with freed_memory_kept() as in_force:
        if not in_force:
            pytest.skip("this Python's C library is not glibc")
        pages_faulted()
        assert pages_faulted() < PAGES / 100
        assert megabytes_held() > before + MEGABYTES / 2
    assert megabytes_held() < before + MEGABYTES / 2


@linux_only
@pytest.mark.usefixtures("_untouched")
def test_it_ends_where_an_error_is_raised() -> None:
    before = megabytes_held()
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError(pages_faulted())
    assert megabytes_held() < before + MEGABYTES / 2


@linux_only
def test_a_users_setting_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    with freed_memory_kept() as in_force:
        assert not in_force
        pages_faulted()
        assert pages_faulted() > PAGES / 4 or _has_huge_pages()


def _has_huge_pages() -> bool:
    """Where every page is 2 MB, an array faults 512 times fewer of them, kept or not."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return setting.exists() and "[always]" in setting.read_text()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"MALLOC_MMAP_THRESHOLD_": "1000000"}, True),
        ({"MALLOC_TOP_PAD_": ""}, False),
        ({"MALLOC_ARENA_MAX": "2"}, False),  # clusters set it, and it says nothing of what is kept
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=128"}, True),
        ({"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}, False),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, True),
        ({"LD_PRELOAD": "/usr/lib/libfakeroot.so"}, False),
    ],
)
def test_what_counts_as_set_up_by_the_user(environment: dict[str, str], expected: bool) -> None:
    assert is_set_up(environment) == expected
