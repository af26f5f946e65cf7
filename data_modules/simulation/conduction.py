"""How the impulse travels: rates and rhythms, PR, the bundle branches, premature and paced beats.

Criteria: Surawicz et al. 2009, doi 10.1016/j.jacc.2008.12.013, unless a function says otherwise. Amplitudes are chosen
so that they are met with the spread that real patients show.
"""

from __future__ import annotations

import numpy as np

from data_modules.simulation.heart import NORMAL_QRS, Heart, Waves, vary
from data_modules.simulation.lead_field import rotation
from data_modules.simulation.person import Person

Generator = np.random.Generator


def sinus_bradycardia(heart: Heart, person: Person, rng: Generator) -> None:
    """Below 60 a minute."""
    heart.heart_rate = float(np.clip(rng.normal(52.5, 3.8), 40.0, 57.0))
    heart.sinus_arrhythmia = min(1.2 * heart.sinus_arrhythmia, 0.09)


def sinus_tachycardia(heart: Heart, person: Person, rng: Generator) -> None:
    """Above 100 a minute."""
    heart.heart_rate = float(np.clip(rng.normal(115.0, 9.0), 104.0, 150.0))
    heart.sinus_arrhythmia *= 0.25
    heart.pr *= 0.9


def sinus_arrhythmia(heart: Heart, person: Person, rng: Generator) -> None:
    """RR swings with breathing by far more than usual."""
    heart.sinus_arrhythmia = float(rng.uniform(0.14, 0.22))


def atrial_fibrillation(heart: Heart, person: Person, rng: Generator) -> None:
    """RR without any order, no P, fibrillation waves."""
    heart.rhythm = "fibrillation"
    heart.heart_rate = float(np.clip(rng.normal(90.0, 19.0), 55.0, 145.0))
    heart.atrial_wave = float(np.clip(np.exp(rng.normal(np.log(0.06), 0.4)), 0.02, 0.15))


def atrial_flutter(heart: Heart, person: Person, rng: Generator) -> None:
    """A saw-tooth in the inferior leads; every second to fourth of its waves is conducted."""
    heart.rhythm = "flutter"
    heart.heart_rate = float(rng.uniform(270, 315) / rng.choice([2, 3, 4, 4]))
    heart.atrial_wave = float(rng.uniform(0.09, 0.2))


def first_degree_block(heart: Heart, person: Person, rng: Generator) -> None:
    """PR above 200 ms."""
    heart.pr = float(np.clip(0.208 + rng.gamma(1.6, 0.017), 0.208, 0.34))


def premature_atrial(heart: Heart, person: Person, rng: Generator) -> None:
    """Early beats with a P of another shape and a normal QRS."""
    heart.premature_atrial = int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))


def premature_ventricular(heart: Heart, person: Person, rng: Generator) -> None:
    """Early wide beats without P, T the other way, and a compensatory pause."""
    heart.premature_ventricular = int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))


def ventricular_pacing(heart: Heart, person: Person, rng: Generator) -> None:
    """A spike before each wide QRS that starts at the right ventricle's apex."""
    heart.rhythm = "paced"
    heart.heart_rate = float(rng.choice([60, 65, 70, 75]))
    waves = Waves.of((42, 18, (0.55, -0.75, 0.25)), (85, 20, (0.8, -0.95, 0.7)), (122, 18, (0.2, -0.3, 0.4)))
    heart.qrs = waves.scaled(person.voltage)
    discord(heart, 0.10, 0.38)


def right_bundle_branch_block(heart: Heart, person: Person, rng: Generator) -> None:
    """QRS of 120 ms and more: rSR' in V1, a wide S in I and V6, T of V1 the other way."""
    start = heart.qrs.scaled(np.where(np.arange(len(heart.qrs.times)) == 3, 0.25, 1.0)[:, None])
    late = rng.uniform(0.75, 1.35) * person.voltage
    terminal = Waves.of(
        (88, 12, (-0.14 * late, -0.05 * late, -0.42 * late)),
        (rng.uniform(104, 118), 14, (-0.38 * late, -0.14 * late, -0.64 * late)),
    )
    heart.qrs = start + terminal
    heart.t = heart.t + np.array([0.04, 0.0, 0.20]) * late


def incomplete_right_bundle_branch_block(heart: Heart, person: Person, rng: Generator) -> None:
    """RSr' in V1 with a QRS below 120 ms."""
    late = rng.uniform(0.7, 1.15) * person.voltage
    heart.qrs = heart.qrs + Waves.of((rng.uniform(80, 90), 10, (-0.36 * late, -0.02, -0.50 * late)))
    heart.t = heart.t + np.array([0.0, 0.0, 0.07]) * late


def left_bundle_branch_block(heart: Heart, person: Person, rng: Generator) -> None:
    """QRS of 120 ms and more: rS or QS in V1, broad notched R in I and V6 without q, ST and T the other way."""
    axis_before = heart.axis
    waves = Waves.of(
        (16, 8, (0.10, 0.06, -0.10 * rng.uniform(0, 1.4))),
        (46, 16, (0.80, 0.35, 0.50)),
        (73, 15, (0.34, 0.12, 0.95)),
        (101, 16, (0.92, 0.15, 0.50)),
        (122, 13, (0.30, 0.0, 0.20)),
    )
    waves = Waves(waves.times, waves.rise, waves.fall, vary(waves.vectors, 0.1, rng))
    heart.qrs = waves.scaled(person.voltage).stretched(rng.uniform(0.93, 1.12))
    axis = float(np.clip(rng.normal(5, 25), -45, 60))
    heart.turn_axis(min(axis, axis_before) if axis_before < -30 else axis)
    discord(heart, 0.10, 0.36)


def discord(heart: Heart, st: float, t: float) -> None:
    """Point ST and T against the net QRS, as they do when the ventricles are excited one after the other."""
    main = heart.qrs.area / 0.1
    heart.st = heart.st - st * main
    heart.t = 0.15 * heart.t - t * main


def left_anterior_fascicular_block(heart: Heart, person: Person, rng: Generator) -> None:
    """Axis of -45 degrees and beyond with qR in aVL and rS in II, III, aVF; QRS up to 120 ms."""
    waves = Waves.of(
        (15, 7, (-0.10, 0.26, -0.20)),
        (34, 9, (0.55, -0.05, -0.20)),
        (52, 11, (0.80, -0.80, 0.25)),
        (72, 11, (0.10, -0.40, 0.45)),
    )
    heart.qrs = waves.scaled(person.voltage).stretched(min(person.qrs_stretch, 1.12))
    heart.turn_axis(float(rng.uniform(-72, -46)))


def left_posterior_fascicular_block(heart: Heart, person: Person, rng: Generator) -> None:
    """Axis of 90 degrees and beyond with rS in I and aVL and qR in III and aVF."""
    waves = Waves.of(
        (15, 7, (0.20, -0.22, -0.20)),
        (34, 9, (0.25, 0.30, -0.25)),
        (52, 11, (-0.10, 1.00, 0.10)),
        (70, 11, (-0.35, 0.30, 0.45)),
    )
    heart.qrs = waves.scaled(person.voltage).stretched(min(person.qrs_stretch, 1.12))
    heart.turn_axis(float(rng.uniform(95, 125)))


def left_axis(heart: Heart, person: Person, rng: Generator) -> None:
    """Axis of -30 degrees and beyond."""
    heart.turn_axis(float(np.clip(rng.normal(-45, 9), -80, -32)))


def right_axis(heart: Heart, person: Person, rng: Generator) -> None:
    """Axis beyond 90 degrees."""
    heart.turn_axis(float(rng.uniform(98, 135)))
    heart.t = heart.t @ rotation((0.0, 0.0, np.radians(15))).T


def intraventricular_delay(heart: Heart, person: Person, rng: Generator) -> None:
    """QRS of 110 ms and more, slurred, without the shape of either bundle branch block."""
    slur = Waves.of((78, 13, (0.30, -0.12, 0.12)), (98, 11, (-0.12, 0.10, 0.22))).scaled(person.voltage)
    heart.qrs = heart.qrs.scaled(0.85).stretched(rng.uniform(1.1, 1.25)) + slur.stretched(rng.uniform(0.95, 1.1))


def preexcitation(heart: Heart, person: Person, rng: Generator) -> None:
    """PR below 120 ms, a delta wave at the start of a widened QRS, T drawn the other way."""
    delta = Waves.of((26, 12, (0.26, 0.10, -0.10)), (44, 12, (0.42, 0.18, -0.14))).scaled(person.voltage)
    rest = NORMAL_QRS.scaled(person.voltage).stretched(1.05).scaled((0.9, 0.9, 0.8)).shifted(0.026)
    keep = np.arange(1, 4)
    rest = Waves(rest.times[keep], rest.rise[keep], rest.fall[keep], rest.vectors[keep])
    heart.qrs = delta + rest
    heart.pr = float(rng.uniform(0.085, 0.11))
    heart.p = heart.p.stretched(0.85)
    heart.t = 0.25 * heart.t - 0.12 * heart.qrs.area / 0.1
    heart.st = heart.st - 0.04 * heart.qrs.area / 0.1
