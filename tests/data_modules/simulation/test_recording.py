from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.simulation import CONDITIONS, simulate_ecg
from data_modules.simulation.conditions import build_heart
from data_modules.simulation.lead_field import DOWER, ELECTRODES_TO_LEADS, frontal_axis, turn_to_axis
from data_modules.simulation.noise import NoiseLevel, draw_noise
from data_modules.simulation.person import draw_person
from data_modules.simulation.recording import simulate_recording


@settings(max_examples=60, deadline=None)
@given(conditions=st.lists(st.sampled_from(list(CONDITIONS)), min_size=1, max_size=4), seed=st.integers(0, 10_000))
def test_any_combination_is_finite_and_keeps_the_leads_identities(conditions: list[str], seed: int) -> None:
    one, two, three, avr, avl, avf = simulate_ecg(conditions, seed=seed)[:6].astype(np.float64)
    assert np.isfinite([one, two]).all()
    assert np.abs([one, two]).max() < 8
    np.testing.assert_allclose(three, two - one, atol=1e-5)
    np.testing.assert_allclose(avr, -(one + two) / 2, atol=1e-5)
    np.testing.assert_allclose(avl, (one - three) / 2, atol=1e-5)
    np.testing.assert_allclose(avf, (two + three) / 2, atol=1e-5)


def test_no_combination_of_two_leaves_the_range_of_real_ecgs() -> None:
    for pair in itertools.combinations(CONDITIONS, 2):
        for seed in (0, 7):
            heart = build_heart(draw_person(seed, pair), pair)
            largest, smallest = heart.peaks()
            assert largest.max() - smallest.min() < 14, pair
            assert np.isfinite([*heart.st, *heart.t]).all(), pair


def test_the_same_seed_gives_the_same_samples_and_another_one_does_not() -> None:
    first, again = simulate_ecg(["AF", "LVH"], seed=3), simulate_ecg(["AF", "LVH"], seed=3)
    assert first.tobytes() == again.tobytes()
    assert not np.array_equal(first, simulate_ecg(["AF", "LVH"], seed=4))


def test_the_order_of_conditions_does_not_matter() -> None:
    assert np.array_equal(simulate_ecg(["AF", "LVH"], seed=3), simulate_ecg(["LVH", "AF"], seed=3))


@pytest.mark.parametrize(("rate", "seconds"), [(100, 10.0), (400, 7.0), (500, 10.0), (1000, 2.5)])
def test_shape_and_type(rate: int, seconds: float) -> None:
    signal = simulate_ecg(seed=0, sampling_rate=rate, seconds=seconds)
    assert signal.shape == (12, round(rate * seconds))
    assert signal.dtype == np.float32


def test_low_rates_are_low_passed() -> None:
    """A hum of 60 Hz must not fold to 40 Hz at 100 Hz."""
    loud = NoiseLevel(baseline=0, muscle=0, mains=1.0, mains_frequency=60.0, amplifier=0, spread=0)
    from data_modules.simulation.recording import downsample

    fast = simulate_recording(draw_person(1), ["NORM"], np.random.default_rng(1), noise=loud).leads
    slow = downsample(fast, 5)

    def power(signal: np.ndarray, rate: int, frequency: float) -> float:
        return float(np.abs(np.fft.rfft(signal[0]))[round(frequency * signal.shape[1] / rate)] / signal.shape[1])

    assert power(slow, 100, 40) < 0.05 * power(fast, 500, 60)


def test_a_person_keeps_his_shape_and_changes_his_rhythm() -> None:
    person = draw_person(8)
    first, second = (simulate_recording(person, ["NORM"], np.random.default_rng(seed)).leads for seed in (1, 2))
    other = simulate_recording(draw_person(9), ["NORM"], np.random.default_rng(1)).leads
    height = np.percentile(first, 99.5, axis=1)
    assert not np.array_equal(first, second)
    own = np.abs(np.percentile(second, 99.5, axis=1) - height).max()
    assert own < 0.3 * np.abs(np.percentile(other, 99.5, axis=1) - height).max()


def test_noise_scales_and_zero_is_none() -> None:
    clean, usual, loud = (simulate_ecg(seed=2, noise=level).astype(float) for level in (0, 1, 3))
    np.testing.assert_allclose(loud - clean, 3 * (usual - clean), atol=1e-4)


def test_noise_has_the_spectrum_that_it_claims() -> None:
    level = NoiseLevel(baseline=0, muscle=0, mains=0.05, mains_frequency=60.0, amplifier=0, spread=0)
    noise = draw_noise(level, 5000, 500, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(noise[0]))
    assert np.argmax(spectrum) / 10 == pytest.approx(60.0, abs=0.2)
    muscle = NoiseLevel(baseline=0, muscle=0.05, mains=0, amplifier=0, spread=0)
    power = np.abs(np.fft.rfft(draw_noise(muscle, 5000, 500, np.random.default_rng(0))[1])) ** 2
    assert power[200:1200].sum() > 4 * power[:50].sum()


def test_lead_field_by_hand() -> None:
    """A dipole to the left: positive in I and V6; to the front: positive in V1 and V2; to the feet: in II."""
    left, feet, back = DOWER.T
    assert left[0] > 0.5
    assert left[7] > 0.5
    assert feet[1] > 1
    assert (back[[2, 3]] < -0.5).all()
    assert np.allclose(ELECTRODES_TO_LEADS.sum(axis=1), 0), "a potential common to all electrodes is not seen"


@pytest.mark.parametrize(
    ("lead_i", "lead_ii", "degrees"), [(1, 0.5, 0), (1, 1, 30), (0, 1, 90), (1, 0, -30), (-1, -0.5, 180)]
)
def test_frontal_axis_by_hand(lead_i: float, lead_ii: float, degrees: float) -> None:
    assert frontal_axis(np.array([lead_i, lead_ii])) == pytest.approx(degrees)


@settings(max_examples=50, deadline=None)
@given(target=st.floats(-179, 179), seed=st.integers(0, 500))
def test_turning_reaches_the_axis(target: float, seed: int) -> None:
    dipole = np.random.default_rng(seed).normal(0, 1, 3) * (1, 1, 0.3) + (1, 1, 0)
    from data_modules.simulation.lead_field import rotation

    turn = np.radians(turn_to_axis(DOWER, dipole, target))
    reached = frontal_axis(DOWER @ rotation((0.0, 0.0, turn)) @ dipole)
    if np.hypot(*dipole[:2]) > 0.5:
        assert (reached - target + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)


def test_unknown_conditions_are_named_with_a_guess() -> None:
    with pytest.raises(ValueError, match="did you mean 'LBBB'"):
        simulate_ecg(["LBB"], seed=0)
    with pytest.raises(ValueError, match="must be positive"):
        simulate_ecg(seed=0, seconds=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": None}, "seed is None, expected a whole number from 0 up"),
        ({"seed": -1}, "seed is -1, expected a whole number"),
        ({"seed": 1.5}, "seed is 1.5, expected a whole number"),
        ({"noise": -0.5}, "noise is -0.5, expected a factor from 0 up"),
        ({"noise": float("nan")}, "noise is nan, expected a factor"),
        ({"sampling_rate": float("nan")}, "rate and length are nan Hz"),
        ({"sampling_rate": 257.3}, "both must be positive, the rate whole"),
        ({"seconds": float("inf")}, "rate and length are 500 Hz and inf s"),
    ],
)
def test_what_cannot_be_recorded_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate_ecg(**{"seed": 0, "seconds": 1.0, **arguments})


def test_one_condition_and_other_kinds_of_numbers_give_the_same_samples() -> None:
    expected = simulate_ecg(["AF"], seed=3, sampling_rate=100, seconds=2)
    np.testing.assert_array_equal(simulate_ecg("AF", seed=np.int64(3), sampling_rate=100.0, seconds=2), expected)
    for names in (iter(["AF"]), np.array(["AF"]), {"AF"}):
        np.testing.assert_array_equal(simulate_ecg(names, seed=3, sampling_rate=100, seconds=2), expected)
