"""What a recording picks up besides the heart. It enters at the electrodes, so the leads' identities survive it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from data_modules.simulation.lead_field import ELECTRODES, ELECTRODES_TO_LEADS


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """Typical amplitudes in millivolts; each recording draws its own around them."""

    baseline: float = 0.05
    """Standard deviation of the baseline's wander below 0.6 Hz, from breathing and sweat."""
    muscle: float = 0.008
    """Standard deviation of muscle noise, 20 to 120 Hz, in bursts."""
    mains: float = 0.004
    """Amplitude of the mains' hum."""
    mains_frequency: float = 50.0
    """Hertz."""
    amplifier: float = 0.002
    """Standard deviation of white noise."""
    spread: float = 0.5
    """Standard deviation of the logarithm of each amplitude from recording to recording."""

    def scaled(self, factor: float) -> NoiseLevel:
        """All amplitudes times a factor."""
        return replace(
            self,
            baseline=self.baseline * factor,
            muscle=self.muscle * factor,
            mains=self.mains * factor,
            amplifier=self.amplifier * factor,
        )


def draw_noise(
    level: NoiseLevel, num_samples: int, sampling_rate: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise of the leads I, II, V1 to V6.

    Args:
        level: Typical amplitudes of the recorder.
        num_samples: Length.
        sampling_rate: Hertz.
        rng: New for each recording.

    Returns:
        Millivolts, (8, samples).
    """
    baseline, muscle, mains = np.exp(rng.normal(0, level.spread, 3)) * (level.baseline, level.muscle, level.mains)
    white = rng.standard_normal((len(ELECTRODES), num_samples), dtype=np.float32)
    electrodes = muscle * bursts(num_samples, sampling_rate, rng) * muscle_band(white, sampling_rate)
    electrodes += np.float32(level.amplifier) * white
    electrodes += slow_and_hum(baseline, mains, level.mains_frequency, num_samples, sampling_rate, rng)
    noise: NDArray[np.float32] = ELECTRODES_TO_LEADS.astype(np.float32) @ electrodes
    return noise


def bursts(num_samples: int, sampling_rate: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Envelope of muscle noise with mean square near 1, one knot a second: (samples,)."""
    knots = np.arange(-1, num_samples / sampling_rate + 2)
    heights = np.exp(rng.normal(-0.25, 0.5, len(knots)))
    return np.interp(np.arange(num_samples) / sampling_rate, knots, heights).astype(np.float32)


def muscle_band(white: NDArray[np.float32], sampling_rate: int) -> NDArray[np.float32]:
    """White noise filtered to 20 to 120 Hz, unit variance kept: (electrodes, samples)."""
    from scipy.signal import sosfilt  # a third of a second to import: only who simulates pays

    sections, gain = muscle_filter(sampling_rate)
    filtered: NDArray[np.float32] = sosfilt(sections, white, axis=-1)
    return filtered * gain


@cache
def muscle_filter(sampling_rate: int) -> tuple[NDArray[np.float32], np.float32]:
    """Second-order sections of the band pass, and the factor that brings white noise back to unit variance."""
    from scipy.signal import butter, sosfreqz

    top = min(120.0, 0.45 * sampling_rate)
    sections = butter(1, [20.0, top], btype="bandpass", fs=sampling_rate, output="sos")
    _, response = sosfreqz(sections, 2048)
    return sections.astype(np.float32), np.float32(1 / np.sqrt(np.mean(np.abs(response) ** 2)))


def slow_and_hum(
    baseline: float,
    mains: float,
    mains_frequency: float,
    num_samples: int,
    sampling_rate: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Baseline wander and hum as a few sinusoids that each electrode mixes in its own way.

    Four slow ones anywhere below 0.6 Hz, one at the rate of breathing, the mains' frequency and its third harmonic.

    Returns:
        Millivolts, (electrodes, samples).
    """
    time = np.arange(num_samples) / sampling_rate
    wander = np.concatenate([rng.uniform(0.03, 0.6, 4), rng.uniform(0.18, 0.3, 1)])
    hum = mains_frequency * np.array([1.0, 3.0]) + rng.normal(0, 0.02)
    frequencies = np.concatenate([wander, hum[hum < sampling_rate / 2]])
    amplitudes = np.full(len(frequencies), mains)
    amplitudes[:4] = baseline / 2
    amplitudes[4] = baseline
    amplitudes[6:] *= 0.25
    phases = 2 * np.pi * (frequencies[:, None] * time + rng.random((len(frequencies), 1)))
    weights = rng.normal(0, 1, (len(ELECTRODES), len(frequencies))) * amplitudes
    mixed: NDArray[np.float32] = weights.astype(np.float32) @ np.sin(phases).astype(np.float32)
    return mixed
