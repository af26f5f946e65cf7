"""One recording: a person with some conditions, a rhythm drawn anew, an amplifier with its noise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.simulation.conditions import build_heart
from data_modules.simulation.dipole import dipole
from data_modules.simulation.lead_field import INDEPENDENT_TO_TWELVE
from data_modules.simulation.noise import NoiseLevel, draw_noise
from data_modules.simulation.person import Person, draw_person
from data_modules.simulation.rhythm import draw_beats

MIN_RATE = 250
"""Below this rate in hertz the waves are drawn faster and low-passed down, as a recorder does."""


class Recording(NamedTuple):
    """Signals in millivolts."""

    leads: NDArray[np.float32]
    """The twelve leads in the order of `LEAD_NAMES`, (12, samples)."""
    frank: NDArray[np.float32]
    """Frank's orthogonal leads x, y, z, (3, samples)."""


def simulate_recording(
    person: Person,
    conditions: Sequence[str],
    rng: np.random.Generator,
    *,
    sampling_rate: int = 500,
    num_samples: int = 5000,
    noise: NoiseLevel | None = None,
) -> Recording:
    """Record one ECG of a person.

    Args:
        person: Who: what persists from recording to recording.
        conditions: Names out of `CONDITIONS`.
        rng: What is new in this recording: rhythm, breathing, noise.
        sampling_rate: Hertz, at least `MIN_RATE`.
        num_samples: Length.
        noise: The recorder's noise; none by default.
    """
    heart = build_heart(person, conditions)
    heart.heart_rate *= float(np.exp(rng.normal(0, 0.02)))
    beats = draw_beats(heart, num_samples / sampling_rate, rng)
    source = dipole(heart, beats, num_samples, sampling_rate, rng)
    independent = heart.field @ source
    if noise is not None:
        independent += draw_noise(noise, num_samples, sampling_rate, rng)
        source += noise.amplifier * rng.standard_normal(source.shape)
    return Recording((INDEPENDENT_TO_TWELVE @ independent).astype(np.float32), source.astype(np.float32))


def simulate_ecg(
    conditions: str | Iterable[str] = ("NORM",),
    *,
    seed: int,
    sampling_rate: int = 500,
    seconds: float = 10.0,
    noise: float = 1.0,
) -> NDArray[np.float32]:
    """Simulate one twelve-lead ECG of a new person.

    Args:
        conditions: Names out of `CONDITIONS`, which combine; or one of them.
        seed: A whole number from 0 up. The same seed and arguments give the same samples.
        sampling_rate: Hertz.
        seconds: Length.
        noise: Factor on the noise of a usual recording; 0 for none.

    Returns:
        Millivolts, (12, samples), leads as `LEAD_NAMES`.

    Raises:
        ValueError: An unknown condition, a rate, length or seed that cannot be, or negative noise.

    Example:
        >>> simulate_ecg(["AF", "LVH"], seed=1).shape
        (12, 5000)
    """
    names = (conditions,) if isinstance(conditions, str) else tuple(map(str, conditions))
    if not (0 < sampling_rate < math.inf and 0 < seconds < math.inf) or sampling_rate != int(sampling_rate):
        raise ValueError(
            f"rate and length are {sampling_rate} Hz and {seconds} s: both must be positive, the rate whole"
        )
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"seed is {seed!r}, expected a whole number from 0 up")
    if not 0 <= noise < math.inf:
        raise ValueError(f"noise is {noise}, expected a factor from 0 up")
    rate = int(sampling_rate)
    factor = max(1, -(-MIN_RATE // rate))
    num_samples = round(seconds * rate)
    recording = simulate_recording(
        draw_person(seed, names),
        names,
        np.random.default_rng([seed, 1]),
        sampling_rate=rate * factor,
        num_samples=num_samples * factor,
        noise=NoiseLevel().scaled(noise) if noise else None,
    )
    return downsample(recording.leads, factor)


def downsample(signal: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Low-pass and keep every `factor`-th sample (polyphase): (..., samples / factor)."""
    if factor == 1:
        return signal
    from scipy.signal import resample_poly  # a third of a second to import: only who simulates pays

    return np.asarray(resample_poly(signal, 1, factor, axis=-1, padtype="line"), dtype=np.float32)
