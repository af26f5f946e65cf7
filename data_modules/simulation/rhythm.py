"""When the heart beats: sinus rhythm with its natural variability, premature beats, fibrillation, flutter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.simulation.heart import Heart

LEAD_IN = 2.0
"""Seconds simulated before a recording starts, so that its first beat has a past."""
SINUS, ATRIAL, VENTRICULAR = 0, 1, 2
"""Where a beat comes from."""


@dataclass(frozen=True)
class Beats:
    """The beats of one recording and a little around it."""

    onsets: NDArray[np.float64]
    """Seconds of the QRS onsets from the start of the recording, ascending, (beats,)."""
    rr: NDArray[np.float64]
    """Seconds since the beat before, (beats,)."""
    origin: NDArray[np.int64]
    """SINUS, ATRIAL or VENTRICULAR, (beats,)."""


def draw_beats(heart: Heart, seconds: float, rng: np.random.Generator) -> Beats:
    """Draw the beats of a recording.

    Args:
        heart: Its rhythm, rate and number of premature beats; at least one of those is inside the recording.
        seconds: Length of the recording.
        rng: New for each recording.
    """
    mean_rr = 60 / heart.heart_rate
    # Premature beats and the variability may use up more intervals than the mean rate suggests.
    count = int((seconds + 2 * LEAD_IN) / mean_rr * 1.6) + 6
    if heart.rhythm == "fibrillation":
        rr = fibrillation_rr(mean_rr, count, rng)
    elif heart.rhythm == "sinus":
        rr = sinus_rr(mean_rr, heart.sinus_arrhythmia, count, rng)
    else:
        rr = np.full(count, mean_rr) * (1 + 0.002 * rng.standard_normal(count))
    start = -LEAD_IN - rng.uniform(0, mean_rr)
    origin = np.zeros(count, dtype=np.int64)
    candidates = np.flatnonzero((np.cumsum(rr) + start > 0.9) & (np.cumsum(rr) + start < seconds - 1.0))
    share = seconds / 10.0
    num_atrial, num_ventricular = (
        max(1, round(number * share)) if number else 0
        for number in (heart.premature_atrial, heart.premature_ventricular)
    )
    chosen = spaced_choice(candidates, num_atrial + num_ventricular, rng)
    origin[chosen[:num_atrial]] = ATRIAL
    origin[chosen[num_atrial:]] = VENTRICULAR
    rr = with_premature(rr, origin, heart, rng)
    onsets = start + np.cumsum(rr)
    inside = onsets < seconds + 1.0
    return Beats(onsets[inside], rr[inside], origin[inside])


def sinus_rr(mean_rr: float, swing: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """RR intervals with a respiratory wave (0.2 to 0.3 Hz), a Mayer wave (0.1 Hz) and a little noise, seconds.

    The two waves: Task Force 1996, Heart rate variability, doi 10.1161/01.CIR.93.5.1043.
    """
    time = mean_rr * np.arange(count)
    respiratory = np.sin(2 * np.pi * (rng.uniform(0.2, 0.3) * time + rng.random()))
    mayer = np.sin(2 * np.pi * (rng.uniform(0.08, 0.12) * time + rng.random()))
    factor: NDArray[np.float64] = 1 + swing * respiratory + 0.35 * swing * mayer + 0.006 * rng.standard_normal(count)
    return mean_rr * factor


def fibrillation_rr(mean_rr: float, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Independent RR intervals, log-normal with a coefficient of variation of 0.14 to 0.28, seconds."""
    spread = rng.uniform(0.14, 0.28)
    factor: NDArray[np.float64] = np.exp(rng.normal(-(spread**2) / 2, spread, count))
    return np.maximum(mean_rr * factor, 0.3)


def spaced_choice(candidates: NDArray[np.int64], number: int, rng: np.random.Generator) -> list[int]:
    """Choose up to `number` candidates no two of which are neighbours, in random order."""
    chosen: list[int] = []
    for index in rng.permutation(candidates):
        if len(chosen) == number:
            break
        if all(abs(int(index) - other) > 1 for other in chosen):
            chosen.append(int(index))
    return chosen


def with_premature(
    rr: NDArray[np.float64], origin: NDArray[np.int64], heart: Heart, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Make premature beats early, and pause after them.

    A ventricular beat leaves the sinus node alone, so the two intervals around it add up to two normal ones: a
    compensatory pause. An atrial one resets it. In fibrillation there is nothing to compensate.
    """
    rr = rr.copy()
    for index in np.flatnonzero(origin):
        normal = rr[index]
        is_ventricular = origin[index] == VENTRICULAR
        early = rng.uniform(0.55, 0.7) if is_ventricular else rng.uniform(0.58, 0.74)
        rr[index] = max(normal * early, 0.34 if is_ventricular else 0.36)
        if is_ventricular and heart.rhythm == "sinus":
            rr[index + 1] = 2 * normal - rr[index]
        elif not is_ventricular:
            rr[index + 1] = normal * rng.uniform(1.02, 1.15)
    return rr
