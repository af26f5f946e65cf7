"""Measurements that were damaged, changed or written before are made again, whatever was done to their file."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from data_modules.cache import Cache, open_cache
from data_modules.config import Preprocessing
from data_modules.record_checks import RecordChecks, record_checks
from tests.data_modules.fake_corpus import random_labels, write_fake_corpus


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(8))
    return open_cache(corpus, Preprocessing(num_samples=150), tmp_path / "cache")


def arrays(checks: RecordChecks) -> dict[str, np.ndarray]:
    return {field.name: getattr(checks, field.name) for field in fields(checks)}


def test_no_damage_ends_with_a_traceback_or_is_believed(cache: Cache) -> None:
    expected = arrays(record_checks(cache, 100))
    path = cache.path.with_suffix(".checks.npz")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    directory = whole.index(b"PK\1\2")
    places = [*range(0, 100, 2), *range(100, 200, 9), *rng.integers(directory, len(whole), 60).tolist()]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        for name, array in arrays(record_checks(cache, 100)).items():
            np.testing.assert_array_equal(array, expected[name], err_msg=f"byte {place}")


@pytest.mark.parametrize("change", ["another amplitude", "no digest"])
def test_what_was_not_written_so_is_made_again(cache: Cache, change: str) -> None:
    expected = arrays(record_checks(cache, 100))
    path = cache.path.with_suffix(".checks.npz")
    with np.load(path) as content:
        stored = dict(content)
    if change == "no digest":
        del stored["sha256"]
    stored["amplitudes"] = stored["amplitudes"] + 1
    np.savez(path, **stored)
    for _ in range(2):
        np.testing.assert_array_equal(record_checks(cache, 100).amplitudes, expected["amplitudes"])


def test_leads_that_a_record_lacks_are_not_measured(cache: Cache) -> None:
    signals = np.array(cache.signals)
    signals[1, :, [lead for lead in range(12) if lead != 1]] = 0  # lead II alone
    signals[2, :, 7] = 0  # V2 lacks
    signals[3, :, 7] = 0  # V2 is flat
    notes = {cache.record_ids[1]: ("absent_lead",), cache.record_ids[2]: ("absent_lead",)}
    checks = record_checks(replace(cache, signals=signals, notes=notes), 100)  # type: ignore[arg-type]
    heights = np.ptp(signals[:, :100], axis=1)  # of the one whole second
    assert checks.amplitudes[1] == heights[1, 1] > 0
    assert checks.amplitudes[2] == np.median(np.delete(heights[2], 7))
    assert checks.amplitudes[3] == np.median(heights[3])
    assert np.argwhere(checks.flat).tolist() == [[3, 7]]
    assert checks.margins[[1, 2]].tolist() == [-2, -2]
    assert (checks.margins[[0, 3]] > -2).all()
