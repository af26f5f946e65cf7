"""Every reader of foreign bytes on mutated valid files: a right result, or one of the documented exceptions.

What is right is computed again by each target, with an independent reader where there is one; see `tests.fuzz`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TARGETS = sorted(path.stem for path in (Path(__file__).parent / "targets").glob("*.py") if path.stem != "__init__")
NEEDS = {"dicom_record": "pydicom", "edf_record": "pyedflib"}
MAX_SECONDS = 1.0

Mutation = tuple[int, int, int, bytes]
"""Number of a seed, where in it, how many bytes go, what comes in their place."""

WHOLE = 2**16
"""Of a mutation: all of the seed goes."""

FOUND: dict[str, list[Mutation]] = {
    "csv_record": [(2, 0, 261, b"~ \n \n0")],
    "edf_record": [(0, 256 + 128 * 12, 8, b"100     ")],  # codes beyond the declared extremes
    "hdf5_record": [(2, 1585, 8, b"\x01\0\0\0\0\0\0@")],  # RuntimeError out of h5py
    "label_table": [
        (0, 0, WHOLE, b"\nvrecor`,IFp,,BBLBa,9\n/s,0,0,,10\n"),
        (0, 0, WHOLE, b"\nrecord,Ar*air\nAFp,\n00,"),
        (0, 0, WHOLE, b";a;\n\x05;a;\n"),
    ],  # an empty first line; a last column of nothing
    "ptbxl_table": [
        (0, 61, 0, b"\0"),
        (0, 64, 39, b"/M': 10..0, 'Strat_"),
        (0, 74, 0, b"\x1e"),
        (0, 68, 5, b"050"),
        (0, 60, 24, b","),
        (0, 0, 10, b"age,ecg_id,patient_id"),  # two columns of one name
    ],  # codes that are no Python
    "study_yaml": [
        (0, 0, WHOLE, b"name: s\ngrids: [{downstreams: [{ptb: 1}], starts: [scratch]}]\n"),
    ],  # a mapping for a name
    "wfdb_formats": [
        (0, 0, WHOLE, b"r 2 50 \nr.dat 16 200.0(0)\nr.dat\x1f16 200.0(0)/mV\0\xffN\0\xa6\xff"),
        (0, 0, WHOLE, b"r 2 5 0\nr.dat 16 200.0(0)\nr.dat 16 200.0(0)/mV 16 0 70 100 0 I\n\0\xffN\0\xa6\xff"),
    ],  # a blank that wfdb takes for none; a length of 0, which wfdb does not take for none
    "wfdb_header": [
        (3, 21, 3, b"2e38"),  # a gain that no float32 holds
        (0, 0, WHOLE, b"rt 1 500/:55\nr.dat 16x1+5 1000(3) 1"),  # an odd number of bytes
        (0, 0, WHOLE, "r 1 100 240\nr.dat 16 1e3/µV 16 0 0 0 0 II IaN/µV 16".encode()),  # a name with a unit
    ],
    "wfdb_segments": [
        (0, 63, 20, b"500 120\ns.dat 16 200"),  # a segment whose signal has no name
        (0, 0, 5, b"r/2 1"),  # more signals in a segment than the record declares
    ],
    "zip_archive": [(1, 256, 9, b"0\0\0\0data+")],
}
"""What the fuzzer found, as the shortest change of a seed that it left."""

WORDS = (b"\0", b"-1", b"1e999", b"nan", b"9" * 20, b"../", b"/", b"${oc.env:HOME}", b"*a", b"&a [", b"\n", b"\r", b'"')
WORDS += (b"'", b",", b";", b"(", b"[" * 50, b"{" * 50, b"\xff\xff\xff\x7f", b"\xff" * 8)
INTERESTING = st.one_of(st.binary(max_size=8), st.sampled_from(WORDS))


def target_named(name: str) -> ModuleType:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    return import_module(f"tests.fuzz.targets.{name}")


@cache
def prepared(name: str, folder: Path) -> tuple[ModuleType, tuple[bytes, ...]]:
    target = target_named(name)
    return target, tuple(target.seeds(folder))


@contextmanager
def quietly() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def mutated(seed: bytes, mutations: list[tuple[int, int, bytes]]) -> bytes:
    for place, removed, inserted in mutations:
        at = place % (len(seed) + 1)
        seed = seed[:at] + inserted + seed[at + removed :]
    return seed


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_rightly_or_refused(name: str, tmp_path: Path) -> None:
    with quietly():
        target, seeds = prepared(name, tmp_path)
        for content in seeds:
            if name not in ("checkpoint", "safetensors_weights"):  # some of their seeds are to be refused
                target.check(content, tmp_path)
    mutation = st.tuples(st.integers(0, 2**16), st.integers(0, 9), INTERESTING)

    @given(st.sampled_from(seeds), st.lists(mutation, max_size=4))
    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def one(seed: bytes, mutations: list[tuple[int, int, bytes]]) -> None:
        started = time.process_time()
        with suppress(*target.REFUSALS):
            target.check(mutated(seed, mutations), tmp_path)
        assert time.process_time() - started < MAX_SECONDS

    with quietly():
        one()


@pytest.mark.parametrize(("name", "found"), [(name, one) for name, several in FOUND.items() for one in several])
def test_what_the_fuzzer_found_stays_mended(name: str, found: Mutation, tmp_path: Path) -> None:
    number, place, removed, inserted = found
    with quietly():
        target, seeds = prepared(name, tmp_path)
        with suppress(*target.REFUSALS):
            target.check(mutated(seeds[number], [(place, removed, inserted)]), tmp_path)
