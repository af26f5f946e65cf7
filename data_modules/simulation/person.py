"""A simulated person: what stays the same from one ECG of hers to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

HEALTHY = frozenset({"NORM", "SARRH", "SB"})
"""Conditions that do not make a person older than a healthy one."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """Latent traits. Their spread is that of adults at rest, so that the classes of a corpus overlap as real ones do.

    Normal ranges: Surawicz et al. 2009, AHA/ACCF/HRS recommendations, doi 10.1016/j.jacc.2008.12.013 (conduction, axis)
    and 10.1016/j.jacc.2008.12.014 (ST, T, QT).
    """

    seed: int
    """What a condition looks like in this person (its severity, its site) is drawn from this."""
    age: int
    """Years."""
    sex: Literal["male", "female"]
    heart_rate: float
    """Beats a minute at rest, in sinus rhythm."""
    axis: float
    """Degrees of the QRS in the frontal plane; 0 points to the left arm, 90 to the feet."""
    voltage: float
    """Factor on all waves: chest, fat, conductivity."""
    pr: float
    """Seconds from the onset of P to that of QRS."""
    qtc: float
    """Seconds, QT at 60 beats a minute."""
    qrs_stretch: float
    """Factor on the duration of QRS, 1 is about 90 ms."""
    t_voltage: float
    """Factor on the T wave beside `voltage`."""
    sinus_arrhythmia: float
    """Respiratory swing of the RR interval, as a fraction of it."""
    torso: tuple[float, float, float]
    """Radians by which the heart lies rotated about the x, y and z axis."""
    electrode_gain: tuple[float, ...]
    """Factors on V1 to V6: how near to the heart each electrode sits."""

    def generator(self, topic: str) -> np.random.Generator:
        """A stream of its own for each topic, so that one condition never changes another one's severity."""
        return np.random.default_rng([self.seed, crc32(topic.encode())])


def draw_person(seed: int, conditions: Sequence[str] = ("NORM",)) -> Person:
    """Draw the traits of one person.

    Args:
        seed: The person. The same seed and conditions give the same person.
        conditions: What the person has; whoever has more than a normal ECG is older on average.
    """
    rng = np.random.default_rng([seed, crc32(b"person")])
    typical_age = 51.0 if HEALTHY.issuperset(conditions) else 65.0
    age = int(np.clip(rng.normal(typical_age, 15.0), 18, 89))
    sex: Literal["male", "female"] = "male" if rng.random() < 0.52 else "female"
    is_female = sex == "female"
    gains: NDArray[np.float64] = np.exp(rng.normal(0.0, 0.12, 6))
    return Person(
        seed=seed,
        age=age,
        sex=sex,
        heart_rate=float(np.clip(rng.normal(71.0 + 2.0 * is_female, 9.5), 54.0, 98.0)),
        # The axis turns left with age (Surawicz et al. 2009).
        axis=float(np.clip(rng.normal(48.0 - 0.5 * (age - 50), 20.0), -25.0, 92.0)),
        voltage=float(np.exp(rng.normal(-0.08 * is_female, 0.17))),
        pr=float(np.clip(rng.normal(0.155 + 0.0003 * (age - 50), 0.021), 0.115, 0.204)),
        qtc=float(np.clip(rng.normal(0.405 + 0.01 * is_female, 0.016), 0.36, 0.455)),
        qrs_stretch=float(np.clip(rng.normal(1.02 - 0.05 * is_female, 0.07), 0.85, 1.18)),
        t_voltage=float(np.exp(rng.normal(0.05 - 0.004 * (age - 50), 0.28))),
        sinus_arrhythmia=float(np.clip(rng.normal(0.055 - 0.0008 * (age - 50), 0.025), 0.008, 0.13)),
        torso=(float(rng.normal(0, 0.10)), float(rng.normal(0, 0.14)), 0.0),
        electrode_gain=tuple(float(gain) for gain in gains),
    )
