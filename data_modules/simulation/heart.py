"""The heart as a moving dipole: each wave of a beat is a few Gaussians with a direction in space.

Coordinates are Frank's: x to the left, y to the feet, z to the back; millivolts. A lead sees the dipole's projection on
its lead vector, so one set of waves gives all twelve leads, and what one lead shows the opposite one mirrors. What the
model cannot show is what a single dipole cannot: a finding strictly confined to one chest lead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_modules.simulation.lead_field import INDEPENDENT_TO_TWELVE, frontal_axis, lead_field, rotation, turn_to_axis
from data_modules.simulation.person import Person

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Waves:
    """Some Gaussian waves of the dipole.

    The idea is that of McSharry et al. 2003, doi 10.1109/TBME.2003.808805, here with a direction in space.
    """

    times: Vector
    """Seconds of the peaks, (waves,)."""
    rise: Vector
    """Standard deviation before the peak in seconds, (waves,)."""
    fall: Vector
    """Standard deviation after the peak in seconds, (waves,)."""
    vectors: Vector
    """Millivolts at the peaks, (waves, 3)."""

    @classmethod
    def of(cls, *waves: tuple[float, float, tuple[float, float, float]]) -> Waves:
        """From (milliseconds of the peak, milliseconds of the standard deviation, dipole in mV) for each wave."""
        times = np.array([time for time, _, _ in waves]) / 1000
        width = np.array([width for _, width, _ in waves]) / 1000
        return cls(times, width, width, np.array([vector for _, _, vector in waves], dtype=float))

    def __add__(self, other: Waves) -> Waves:
        pairs = zip(
            (self.times, self.rise, self.fall, self.vectors),
            (other.times, other.rise, other.fall, other.vectors),
            strict=True,
        )
        return Waves(*(np.concatenate(pair) for pair in pairs))

    def stretched(self, factor: float) -> Waves:
        """The same shape, slower by a factor."""
        return Waves(self.times * factor, self.rise * factor, self.fall * factor, self.vectors)

    def shifted(self, seconds: float) -> Waves:
        """The same waves, later."""
        return Waves(self.times + seconds, self.rise, self.fall, self.vectors)

    def scaled(self, factor: ArrayLike) -> Waves:
        """The same waves, each of the three axes (or all) larger by a factor."""
        return Waves(self.times, self.rise, self.fall, self.vectors * np.asarray(factor))

    def turned(self, degrees: float) -> Waves:
        """The same waves, rotated in the frontal plane."""
        matrix = rotation((0.0, 0.0, np.radians(degrees)))
        return Waves(self.times, self.rise, self.fall, self.vectors @ matrix.T)

    @property
    def end(self) -> float:
        """Seconds after which nothing is left to see."""
        return float(np.max(self.times + 2 * self.fall))

    @property
    def area(self) -> Vector:
        """Integral of the dipole in mV s, (3,)."""
        total: Vector = np.sqrt(np.pi / 2) * ((self.rise + self.fall) @ self.vectors)
        return total


NORMAL_QRS = Waves.of(
    (12, 5.5, (-0.13, -0.04, -0.24)),  # septum: to the right and the front
    (29, 8, (0.38, 0.36, -0.30)),  # apex
    (42, 9.5, (1.00, 0.62, 0.22)),  # free wall of the left ventricle
    (62, 10.5, (-0.02, -0.06, 0.55)),  # base: to the back
)
"""Onset at 0, end near 85 ms."""
NORMAL_P = Waves.of((34, 16, (0.045, 0.095, -0.05)), (64, 17, (0.055, 0.045, 0.06)))
"""Right atrium, then left atrium; onset at 0."""
NORMAL_T = np.array([0.28, 0.21, -0.11])


@dataclass(kw_only=True)
class Heart:
    """Everything that decides what a person's ECG looks like. Conditions change it in place."""

    field: Vector
    """Leads I, II, V1 to V6 from the dipole, (8, 3)."""
    rhythm: Literal["sinus", "fibrillation", "flutter", "paced"] = "sinus"
    heart_rate: float
    sinus_arrhythmia: float
    premature_atrial: int = 0
    """Premature atrial beats in ten seconds."""
    premature_ventricular: int = 0
    pr: float
    p: Waves
    """From the onset of P."""
    qrs: Waves
    """From the onset of QRS."""
    ventricular_qrs: Waves
    """QRS of a premature ventricular beat."""
    st: Vector
    """Level after the J point, mV, (3,)."""
    t: Vector
    """Peak of T, mV, (3,)."""
    t_width: float = 1.0
    t_biphasic: float = 0.0
    """An earlier wave of the opposite sign, as a fraction of T."""
    qtc: float
    atrial_wave: float = 0.0
    """Amplitude of fibrillation or flutter, mV."""

    @property
    def axis(self) -> float:
        """Frontal axis of the net QRS in degrees."""
        return frontal_axis(self.field @ self.qrs.area)

    def turn_axis(self, degrees: float) -> None:
        """Rotate QRS in the frontal plane so that its axis becomes this one."""
        self.qrs = self.qrs.turned(turn_to_axis(self.field, self.qrs.area, degrees))

    def peaks(self) -> Vector:
        """Largest and smallest value of QRS in I, II, V1 to V6, mV, (2, 8)."""
        leads = self.field @ sample_waves(self.qrs, 0.24, 1000)
        return np.stack([leads.max(axis=1), leads.min(axis=1)])

    def sokolow_lyon(self) -> float:
        """S in V1 plus the larger R of V5 and V6, mV (Sokolow and Lyon 1949, Am Heart J 37:161-186)."""
        largest, smallest = self.peaks()
        return float(max(largest[6], largest[7]) - smallest[2])

    def limb_voltage(self) -> float:
        """Largest peak-to-peak QRS among the six limb leads, mV."""
        leads = INDEPENDENT_TO_TWELVE[:6] @ self.field @ sample_waves(self.qrs, 0.24, 1000)
        return float(np.ptp(leads, axis=1).max())


def sample_waves(waves: Waves, seconds: float, sampling_rate: int) -> Vector:
    """The dipole of a few waves.

    Args:
        waves: At most some ten; for a whole recording see `dipole.draw_waves`.
        seconds: Length, from 0.
        sampling_rate: Hertz.

    Returns:
        Millivolts, (3, samples).
    """
    time = np.arange(round(seconds * sampling_rate)) / sampling_rate
    distance = time - waves.times[:, None]
    width = np.where(distance < 0, waves.rise[:, None], waves.fall[:, None])
    return waves.vectors.T @ np.exp(-0.5 * (distance / width) ** 2)


def normal_heart(person: Person) -> Heart:
    """A healthy heart with a person's traits.

    Args:
        person: Her `seed` also decides details that have no trait of their own: the balance of the QRS waves, the shape
            of P, where an ectopic focus would sit.
    """
    rng = person.generator("heart")
    p_wave = NORMAL_P.scaled(person.voltage**0.5 * np.exp(rng.normal(0, 0.2)))
    t_wave = NORMAL_T * person.voltage * person.t_voltage * np.exp(rng.normal(0, 0.14, 3))
    heart = Heart(
        field=lead_field(person.torso, person.electrode_gain),
        heart_rate=person.heart_rate,
        sinus_arrhythmia=person.sinus_arrhythmia,
        pr=person.pr,
        p=p_wave,
        qrs=Waves(NORMAL_QRS.times, NORMAL_QRS.rise, NORMAL_QRS.fall, vary(NORMAL_QRS.vectors, 0.17, rng))
        .stretched(person.qrs_stretch)
        .scaled(person.voltage),
        ventricular_qrs=ectopic_qrs(person),
        st=rng.normal(0, 0.018, 3) + 0.06 * t_wave,
        t=t_wave,
        t_width=float(np.exp(rng.normal(0, 0.08))),
        qtc=person.qtc,
    )
    heart.turn_axis(person.axis)
    # T follows QRS only half the way: the angle between them stays small in the healthy (Surawicz et al. 2009).
    heart.t = heart.t @ rotation((0.0, 0.0, np.radians(np.clip(0.4 * (person.axis - 45), -22, 14)))).T
    return heart


def vary(vectors: Vector, spread: float, rng: np.random.Generator) -> Vector:
    """Vectors with each component changed by a log-normal factor."""
    return vectors * np.exp(rng.normal(0, spread, vectors.shape))


def ectopic_qrs(person: Person) -> Waves:
    """QRS that starts in one ventricle's muscle: slow, large, from the right or from the left ventricle."""
    rng = person.generator("ectopic focus")
    inferior = rng.uniform(-0.9, 1.1)
    if rng.random() < 0.6:  # right ventricle: like left bundle branch block
        waves = Waves.of((45, 20, (0.5, inferior, 0.25)), (88, 24, (1.0, inferior, 0.95)), (130, 20, (0.2, 0, 0.3)))
    else:
        waves = Waves.of((45, 20, (0.3, inferior, -0.8)), (90, 24, (-0.75, inferior, -0.9)), (130, 20, (-0.3, 0, 0.1)))
    return waves.scaled(person.voltage * rng.uniform(0.9, 1.35)).stretched(rng.uniform(0.92, 1.12))
