"""Kept memory, seen by the pages that a process of its own faults: another test's freed memory would be reused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_transfer.allocator import VARIABLES, is_set_up

REPOSITORY = Path(__file__).parents[2]
MEGABYTES = 200
PAGES = MEGABYTES * 256
"""Of 4 kB."""

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")

MEASURE = f"""
import json, resource
from pathlib import Path
from ecg_transfer.allocator import freed_memory_kept

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def held():
    return int(Path("/proc/self/statm").read_text().split()[1]) >> 8

def use():
    before = faults()
    bytearray({MEGABYTES} << 20)  # not of NumPy, which asks for huge pages
    return faults() - before

start = held()
try:
    with freed_memory_kept() as in_force:
        first, second, within = use(), use(), held() - start
        raise KeyError
except KeyError:
    after = held() - start
print(json.dumps(dict(in_force=in_force, first=first, second=second, within=within, after=after)))
"""
"""Takes and frees a large array twice; leaves by an error. Pages, and megabytes held above the start's."""


def measured(**environment: str) -> dict[str, int]:
    plain = {
        name: value for name, value in os.environ.items() if name not in (*VARIABLES, "GLIBC_TUNABLES", "LD_PRELOAD")
    }
    command = [sys.executable, "-c", MEASURE]
    printed = subprocess.run(
        command, capture_output=True, text=True, check=True, env=plain | {"PYTHONPATH": str(REPOSITORY)} | environment
    )
    found: dict[str, int] = json.loads(printed.stdout)
    return found


@linux_only
def test_a_large_array_is_faulted_once_and_given_back_at_the_end() -> None:
    found = measured()
    if not found["in_force"]:
        pytest.skip("this Python's C library is not glibc")
    assert found["second"] < PAGES / 100
    assert found["within"] > MEGABYTES / 2
    assert found["after"] < MEGABYTES / 2


@linux_only
def test_a_users_setting_is_left_alone() -> None:
    found = measured(MALLOC_TRIM_THRESHOLD_="131072")
    assert not found["in_force"]
    assert found["within"] < MEGABYTES / 2
    assert found["second"] > found["first"] / 2


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
