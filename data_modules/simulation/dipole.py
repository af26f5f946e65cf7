"""The dipole over a whole recording: all waves of all beats, and what the atria do in fibrillation and flutter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_modules.simulation.heart import Heart, Waves
from data_modules.simulation.rhythm import ATRIAL, VENTRICULAR, Beats

NUM_SIGMAS = 4.0
"""A Gaussian is drawn this far on either side; what is cut off is below 0.04 % of its peak."""
PACING_SPIKE = Waves.of((-6, 1.6, (0.5, 1.1, 0.5)))


def dipole(
    heart: Heart, beats: Beats, num_samples: int, sampling_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw a recording's dipole.

    Args:
        heart: Whose.
        beats: When it beats.
        num_samples: Length.
        sampling_rate: Hertz.
        rng: Breathing, and the atria's disorder.

    Returns:
        Millivolts along Frank's x, y, z, (3, samples).
    """
    waves = all_waves(heart, beats)
    signal = draw_waves(breathing(waves, rng), num_samples, sampling_rate)
    if heart.rhythm == "fibrillation":
        signal += fibrillation_waves(heart.atrial_wave, num_samples, sampling_rate, rng)
    elif heart.rhythm == "flutter":
        signal += flutter_waves(heart, num_samples, sampling_rate, rng)
    return signal


def draw_waves(waves: Waves, num_samples: int, sampling_rate: int) -> NDArray[np.float64]:
    """Add up Gaussians, each only where it is not negligible.

    The windows have different lengths, so they are laid end to end in one long array instead of a ragged table: ten
    seconds are about 120 waves and 15,000 exponentials, against 600,000 for all waves at all samples.

    Args:
        waves: With their times in the recording; those outside it leave no trace.
        num_samples: Length.
        sampling_rate: Hertz.

    Returns:
        Millivolts, (3, samples).
    """
    first = np.ceil((waves.times - NUM_SIGMAS * waves.rise) * sampling_rate).astype(np.int64)
    last = np.floor((waves.times + NUM_SIGMAS * waves.fall) * sampling_rate).astype(np.int64)
    first, last = np.maximum(first, 0), np.minimum(last, num_samples - 1)
    lengths = np.maximum(last - first + 1, 0)
    wave = np.repeat(np.arange(len(lengths)), lengths)
    sample = np.arange(len(wave)) - np.repeat(np.cumsum(lengths) - lengths - first, lengths)
    distance = sample / sampling_rate - waves.times[wave]
    width = np.where(distance < 0, waves.rise[wave], waves.fall[wave])
    height = np.exp(-0.5 * (distance / width) ** 2)
    return np.stack([np.bincount(sample, height * waves.vectors[wave, axis], num_samples) for axis in range(3)])


def all_waves(heart: Heart, beats: Beats) -> Waves:
    """The waves of all beats at their own times.

    A sinus beat is P, QRS, ST and T; an atrial one has another P; a ventricular one brings its own QRS, ST and T and no
    P. Fibrillation and flutter have no P, pacing has a spike.
    """
    typical_rr = 60 / heart.heart_rate
    # QT follows the rate with a delay of many beats, so one early or late beat changes it but a little.
    cube_root = np.cbrt(np.clip(0.75 * typical_rr + 0.25 * beats.rr, 0.33, 1.6))
    is_ventricular = beats.origin == VENTRICULAR
    is_atrial = beats.origin == ATRIAL
    conducted = beats.onsets[~is_ventricular]
    parts = [
        repeat(heart.qrs, conducted),
        repolarisation(heart, conducted, cube_root[~is_ventricular]),
    ]
    if heart.rhythm == "sinus":
        parts += [
            repeat(heart.p, beats.onsets[beats.origin == 0] - heart.pr),
            repeat(ectopic_p(heart), beats.onsets[is_atrial] - 0.9 * heart.pr),
        ]
    elif heart.rhythm == "paced":
        parts.append(repeat(PACING_SPIKE, conducted))
    if is_ventricular.any():
        ectopic = discordant(heart)
        onsets = beats.onsets[is_ventricular]
        parts += [repeat(ectopic.qrs, onsets), repolarisation(ectopic, onsets, cube_root[is_ventricular])]
    return sum(parts[1:], parts[0])


def repeat(waves: Waves, onsets: NDArray[np.float64]) -> Waves:
    """The same waves at every onset."""
    count = len(onsets)
    return Waves(
        (onsets[:, None] + waves.times).ravel(),
        np.tile(waves.rise, count),
        np.tile(waves.fall, count),
        np.tile(waves.vectors, (count, 1)),
    )


def repolarisation(heart: Heart, onsets: NDArray[np.float64], cube_root: NDArray[np.float64]) -> Waves:
    """ST segment and T wave of each beat.

    QT is corrected after Fridericia 1920 (cube root of RR). The tangent to T's descent meets the baseline two standard
    deviations after its peak: that is where T ends by the usual way of measuring.
    """
    count = len(onsets)
    j_point = heart.qrs.end
    width = heart.t_width * cube_root
    rise, fall = 0.055 * width, 0.037 * width
    # A late J point pushes T along: a slow QRS lengthens QT.
    peak = (heart.qtc + max(j_point - 0.09, 0)) * cube_root - 2 * fall
    shape = np.ones(count)
    parts = [
        Waves(onsets + j_point + 0.05, 0.028 * shape, 0.10 * cube_root, np.tile(heart.st, (count, 1))),
        Waves(onsets + peak, rise, fall, np.tile(heart.t, (count, 1))),
    ]
    if heart.t_biphasic:
        early = np.tile(-heart.t_biphasic * heart.t, (count, 1))
        parts.append(Waves(onsets + peak - 1.9 * rise, 0.8 * rise, fall, early))
    return sum(parts[1:], parts[0])


def discordant(heart: Heart) -> Heart:
    """The heart during a premature ventricular beat: its QRS, with ST and T the other way."""
    waves = heart.ventricular_qrs
    main = waves.area / 0.1
    return Heart(
        field=heart.field,
        heart_rate=heart.heart_rate,
        sinus_arrhythmia=0.0,
        pr=heart.pr,
        p=heart.p,
        qrs=waves,
        ventricular_qrs=waves,
        st=-0.08 * main,
        t=-0.38 * main,
        t_width=1.15,
        qtc=heart.qtc,
    )


def ectopic_p(heart: Heart) -> Waves:
    """P from elsewhere in the atria: flat or upside down in the inferior leads."""
    return heart.p.scaled((0.7, -0.6, 1.3))


def breathing(waves: Waves, rng: np.random.Generator) -> Waves:
    """Turn and scale all waves with respiration: the heart moves, the lungs fill (about 3 degrees and 3 %)."""
    phase = 2 * np.pi * (rng.uniform(0.2, 0.3) * waves.times + rng.random())
    angle = np.radians(rng.uniform(1.0, 4.0)) * np.sin(phase)
    scale = 1 + rng.uniform(0.01, 0.05) * np.cos(phase)
    x, y, z = waves.vectors.T
    turned = np.stack([x - angle * y, y + angle * x, z], axis=1) * scale[:, None]
    return Waves(waves.times, waves.rise, waves.fall, turned)


def fibrillation_waves(
    amplitude: float, num_samples: int, sampling_rate: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Irregular waves at 5 to 8 Hz, largest in V1: (3, samples).

    Model: Stridh and Sornmo 2001, doi 10.1109/10.900266.
    """
    time = np.arange(num_samples) / sampling_rate
    frequency = rng.uniform(5.0, 7.8)
    phase = 2 * np.pi * frequency * time + 1.2 * np.sin(2 * np.pi * rng.uniform(0.3, 0.8) * time + rng.uniform(0, 6))
    envelope = 1 + 0.35 * np.sin(2 * np.pi * rng.uniform(0.2, 0.5) * time + rng.uniform(0, 6))
    wave = amplitude * envelope * (np.sin(phase) + 0.35 * np.sin(2 * phase + 0.6))
    other = amplitude * 0.5 * np.sin(1.13 * phase + rng.uniform(0, 6))
    return np.stack([-0.25 * wave + 0.2 * other, 0.25 * wave + 0.6 * other, -0.9 * wave])


def flutter_waves(heart: Heart, num_samples: int, sampling_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A saw-tooth near 300 a minute, negative in the inferior leads, an integer multiple of the ventricles' rate."""
    conduction = max(2, round(295 / heart.heart_rate))
    phase = 2 * np.pi * conduction * heart.heart_rate / 60 * np.arange(num_samples) / sampling_rate + rng.uniform(0, 6)
    tooth = np.sin(phase) + np.sin(2 * phase) / 2 + np.sin(3 * phase) / 4
    return heart.atrial_wave * np.outer([0.1, -0.9, -0.5], tooth)
