from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules.corpus import Record, RecordError
from data_modules.quality import (
    NOTES,
    REASONS,
    heights,
    identity_residual,
    longest_run,
    screen,
    typical_amplitude,
)
from tests.data_modules.ecg_files import synthetic_millivolts

RATE = 500


def record(signal: NDArray[np.floating], notes: tuple[str, ...] = ()) -> Record:
    return Record(record_id="r", signal=signal.astype(np.float32), sampling_rate=RATE, notes=notes)


@pytest.fixture
def ecg() -> NDArray[np.float64]:
    return synthetic_millivolts(10 * RATE, RATE)


def test_a_good_record_passes_unchanged(ecg: NDArray[np.float64]) -> None:
    screened = screen(record(ecg, ("gain_replaced",)), 10)
    assert screened.notes == ("gain_replaced",)
    np.testing.assert_array_equal(screened.signal, ecg.astype(np.float32))


@pytest.mark.parametrize("start", [0, 700, 10 * RATE - 20])
def test_a_gap_of_40_ms_is_interpolated_and_named(ecg: NDArray[np.float64], start: int) -> None:
    ecg[4] = np.linspace(-1, 1, 10 * RATE)  # a line: its interpolation is known
    broken = ecg.copy()
    broken[4, start : start + 20] = np.nan
    screened = screen(record(broken))
    assert "gap_filled" in screened.notes
    assert np.isfinite(screened.signal).all()
    known = ecg[4, np.isfinite(broken[4])]
    held = np.clip(ecg[4], known[0], known[-1])  # at an end there is nothing to interpolate to
    np.testing.assert_allclose(screened.signal[4], held, atol=1e-6)
    assert np.isnan(broken[4, start])


def set_aside_by(signal: NDArray[np.floating], min_seconds: float | None = None) -> str:
    with pytest.raises(RecordError) as caught:
        screen(record(signal), min_seconds)
    assert caught.value.detail
    return caught.value.reason


def test_reasons_for_setting_aside(ecg: NDArray[np.float64]) -> None:
    gap = ecg.copy()
    gap[4, 100:121] = np.nan
    assert set_aside_by(gap) == "missing_samples"
    gone = ecg.copy()
    gone[11] = np.nan
    assert set_aside_by(gone) == "missing_samples"
    assert set_aside_by(gone[:, :20]) == "missing_samples"  # no longer than a gap that is filled, but from nothing
    infinite = ecg.copy()
    infinite[0, 0] = np.inf
    assert set_aside_by(infinite) == "non_finite"
    flat = ecg.copy()
    flat[:7] = 0.3
    assert set_aside_by(flat) == "flat"
    assert set_aside_by(np.zeros((12, 5000))) == "flat"
    assert set_aside_by(ecg * 1000) == "amplitude"
    assert set_aside_by(ecg / 100) == "amplitude"
    assert set_aside_by(ecg, 10.5) == "short"
    assert set_aside_by(ecg[:, :0]) == "short"


def test_notes_on_what_is_kept(ecg: NDArray[np.float64]) -> None:
    flat = ecg.copy()
    flat[8] = 0
    flat[8, 40] = 1  # one spike does not make a dead lead live
    assert screen(record(flat)).notes == ("flat_lead",)
    swapped = ecg.copy()
    swapped[[0, 2]] = ecg[[2, 0]]
    assert screen(record(swapped)).notes == ("lead_identity",)
    clipped = np.minimum(ecg, np.quantile(ecg[8], 0.9))
    assert "saturated" in screen(record(clipped)).notes


def test_identity_residual_is_zero_by_construction_and_large_for_every_other_lead_order() -> None:
    ecg = synthetic_millivolts(5000, RATE).astype(np.float32)
    assert identity_residual(ecg) < 0.02
    for order in itertools.permutations((3, 4, 5)):
        if order != (3, 4, 5):
            assert identity_residual(ecg[[0, 1, 2, *order, *range(6, 12)]]) > 0.2
    # by hand: only aVR is off, by a sine of amplitude 1 (RMS 0.7071), the six limb leads have variance v
    wrong = ecg.astype(np.float64)
    wrong[3] = -(wrong[0] + wrong[1]) / 2 + np.sin(2 * np.pi * 5 * np.arange(5000) / RATE)
    expected = np.sqrt(0.5) / np.sqrt(np.mean([np.var(lead) for lead in wrong[:6]]))
    assert identity_residual(wrong.astype(np.float32)) == pytest.approx(expected, rel=1e-3)


def test_heights_and_amplitude_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    signal = rng.standard_normal((12, 1234)).astype(np.float32)
    signal[3, 17] = np.nan
    expected = [[np.nanmax(s) - np.nanmin(s) for s in (lead[:500], lead[500:1000])] for lead in signal]
    np.testing.assert_array_equal(heights(signal, RATE), np.array(expected, dtype=np.float32))
    assert typical_amplitude(signal, RATE) == pytest.approx(np.median(expected))
    assert heights(signal[:, :100], RATE).shape == (12, 1)


def test_typical_amplitude_ignores_spikes_drift_and_dead_leads() -> None:
    ecg = synthetic_millivolts(5000, RATE)
    clean = typical_amplitude(ecg.astype(np.float32), RATE)
    ecg[:, 1234] = 30
    ecg += np.linspace(0, 3, 5000)
    ecg[7] = 0
    assert typical_amplitude(ecg.astype(np.float32), RATE) == pytest.approx(clean, rel=0.3)


@pytest.mark.parametrize("seed", range(5))
def test_longest_run_against_itertools(seed: int) -> None:
    mask = np.random.default_rng(seed).random(200) < 0.7
    expected = max((len(list(run)) for value, run in itertools.groupby(mask) if value), default=0)
    assert longest_run(mask) == expected
    assert longest_run(np.zeros(5, dtype=bool)) == 0


def test_every_code_has_a_sentence() -> None:
    assert not set(REASONS) & set(NOTES)
    assert all(len(sentence) > 10 for sentence in (*REASONS.values(), *NOTES.values()))
