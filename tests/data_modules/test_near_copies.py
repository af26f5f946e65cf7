from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt

from data_modules import near_copies
from data_modules.near_copies import are_copies, candidates, second_correlation, sketch

RATE = 100
Floats = NDArray[np.float32]


def recordings(number: int, seed: int = 0, seconds: int = 10) -> Floats:
    """Hearts that differ in rate, axis and shape, (number, samples, 12) at 100 Hz, with noise of 10 µV."""
    rng = np.random.default_rng(seed)
    time = np.arange(seconds * RATE) / RATE
    signals = rng.normal(0, 0.01, (number, len(time), 12))
    for signal in signals:
        beats = np.cumsum(rng.normal(rng.uniform(0.6, 1.2), 0.03, 30)) + rng.uniform(-1, 0)
        for delay, width in ((-0.16, 0.03), (0.0, 0.015), (0.03, 0.02), (0.3, 0.06)):
            wave = np.exp(-0.5 * ((time[:, None] - beats - delay) / width) ** 2).sum(axis=1)
            signal += wave[:, None] * rng.normal(0, 0.4, 12)
    return signals.astype(np.float32)


def copied(signals: Floats, how: str) -> Floats:
    if how == "gain":
        return signals * np.float32(4.88)
    if how == "steps of 20 µV":
        return (np.round(signals / 0.02) * 0.02).astype(np.float32)
    if how == "another rate":
        return resample_poly(resample_poly(signals, 257, 100, axis=1), 100, 257, axis=1).astype(np.float32)
    if how == "filtered":
        return sosfiltfilt(butter(2, [0.5, 40], "band", fs=RATE, output="sos"), signals, axis=1).astype(np.float32)
    broken = signals.copy()
    broken[:, 800:] = 0
    return broken


@pytest.mark.parametrize("how", ["gain", "steps of 20 µV", "another rate", "filtered", "broken at the end"])
def test_copies_are_found_and_nothing_else(how: str) -> None:
    signals = recordings(150)
    copies = copied(signals[:30], how)
    pairs = list(candidates(sketch(signals, RATE), sketch(copies, RATE)))
    found = [(one, two) for one, two in pairs if are_copies(signals[one], copies[two], RATE)]
    assert found == [(number, number) for number in range(30)]
    assert len(pairs) < 60  # of 4,500: the sketch leaves little to look at


def test_pairs_of_one_set_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_copies, "BLOCK", 7)
    signals = recordings(20)
    doubled = np.concatenate([signals, signals[[3, 11]], signals[[3]]])
    assert sorted(candidates(sketch(doubled, RATE))) == [(3, 20), (3, 22), (11, 21), (20, 22)]


def test_a_sketch_is_that_of_the_same_recording_at_another_rate_and_zero_without_one() -> None:
    signals = recordings(40, seed=1)
    at_500 = resample_poly(signals, 5, 1, axis=1).astype(np.float32)
    assert (sketch(signals, RATE) * sketch(at_500, 500)).sum(axis=1).min() > 0.95
    assert np.array_equal(sketch(np.full((2, 1000, 12), 0.5, np.float32), RATE), np.zeros((2, near_copies.SKETCH_SIZE)))
    assert np.isfinite(sketch(signals[:, :90], RATE)).all()


def test_correlation_by_numpy() -> None:
    one, other = recordings(2, seed=2, seconds=3)
    expected = []
    for second in range(3):
        time = np.arange(RATE)
        parts = [part[second * RATE : (second + 1) * RATE].astype(float) for part in (one, other)]
        parts = [part - np.stack([np.polyval(np.polyfit(time, lead, 1), time) for lead in part.T], 1) for part in parts]
        expected.append(np.corrcoef(parts[0].ravel(), parts[1].ravel())[0, 1])
    assert second_correlation(one, other, RATE) == pytest.approx(np.median(expected), abs=1e-9)
    assert second_correlation(one, -other, RATE) == pytest.approx(-np.median(expected), abs=1e-9)
    assert second_correlation(np.zeros_like(one), other, RATE) == 0


def test_seconds_that_neither_recording_has_are_no_difference() -> None:
    one, other = recordings(2, seed=2, seconds=3)
    behind = ((0, 7 * RATE), (0, 0))
    assert second_correlation(np.pad(one, behind), np.pad(other, behind), RATE) == second_correlation(one, other, RATE)
    assert are_copies(np.pad(one, behind), np.pad(one * np.float32(2), behind), RATE)
    assert not are_copies(np.pad(one, behind), recordings(1, seed=2)[0], RATE)
    assert second_correlation(np.zeros_like(one), np.zeros_like(one), RATE) == 0
