"""What happens to the muscle: infarction, hypertrophy, ischaemia, and how ST and T show it.

Criteria: Thygesen et al. 2018, Fourth Universal Definition of Myocardial Infarction, doi 10.1161/CIR.0000000000000617
(Q, ST); Hancock et al. 2009, doi 10.1016/j.jacc.2008.12.015 (hypertrophy); Rautaharju et al. 2009,
doi 10.1016/j.jacc.2008.12.014 (ST, T, QT).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data_modules.simulation.heart import Heart, Waves
from data_modules.simulation.person import Person

Generator = np.random.Generator

TERRITORIES = {
    "anterior": np.array([0.30, 0.0, -0.95]),
    "inferior": np.array([0.05, 0.99, 0.10]),
    "lateral": np.array([0.96, 0.10, 0.05]),
    "anterolateral": np.array([0.85, 0.15, -0.50]),
    "posterior": np.array([0.10, 0.0, 0.99]),
}
"""Unit vectors from the heart's centre to a wall, in Frank's coordinates."""


def invert_t(heart: Heart, territory: str, depth: float) -> None:
    """Point T away from a wall, so that it is negative by `depth` mV of dipole in leads that face it (flat at 0)."""
    wall = TERRITORIES[territory]
    heart.t = heart.t - (heart.t @ wall + depth) * wall


def lose_forces(heart: Heart, loss: Waves, keep: NDArray[np.float64], first: int) -> None:
    """Take the dead wall's part away from QRS.

    Args:
        heart: Changed in place.
        loss: The forces of the other walls that now go unopposed.
        keep: What is left of the first waves along x, y, z.
        first: How many waves of QRS are concerned, from its onset on.
    """
    vectors = heart.qrs.vectors.copy()
    vectors[:first] *= keep
    heart.qrs = Waves(heart.qrs.times, heart.qrs.rise, heart.qrs.fall, vectors) + loss


def anterior_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """QS or a lost R in V1 to V3 or V4, T inverted there."""
    size = rng.uniform(0.55, 1.2)
    loss = Waves.of((18, 8, (-0.04, 0.0, 0.18)), (34, 12, (-0.22, -0.04, 0.46))).scaled(size * person.voltage)
    lose_forces(heart, loss, 1 - min(size, 1) * np.array([0.1, 0.0, 0.9]), 2)
    invert_t(heart, "anterior", rng.uniform(-0.08, 0.25))
    heart.st = heart.st + rng.uniform(0.0, 0.05) * TERRITORIES["anterior"]


def inferior_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """Q of 30 ms and more in II, III, aVF, T inverted there."""
    size = rng.uniform(0.55, 1.2)
    loss = Waves.of((20, 9.5, (0.12, -0.52, 0.0))).scaled(size * person.voltage)
    lose_forces(heart, loss, 1 - min(size, 1) * np.array([0.0, 0.9, 0.0]), 2)
    invert_t(heart, "inferior", rng.uniform(-0.08, 0.22))
    heart.st = heart.st + rng.uniform(0.0, 0.04) * TERRITORIES["inferior"]


def lateral_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """Q in I, aVL, V5, V6, a smaller R, T inverted there."""
    size = rng.uniform(0.75, 1.2)
    loss = Waves.of((21, 9.5, (-0.62, 0.06, 0.0))).scaled(size * person.voltage)
    lose_forces(heart, loss, 1 - min(size, 1) * np.array([0.45, 0.0, 0.0]), 3)
    invert_t(heart, "lateral", rng.uniform(-0.08, 0.2))
    heart.st = heart.st + rng.uniform(0.0, 0.04) * TERRITORIES["lateral"]


def posterior_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """The mirror image of a Q: a broad R in V1 and V2, ST low and T tall there."""
    size = rng.uniform(0.8, 1.25) * person.voltage
    heart.qrs = heart.qrs + Waves.of((48, 14, (0.0, 0.0, -0.85 * size)))
    heart.st = heart.st + rng.uniform(0.03, 0.09) * TERRITORIES["posterior"]
    heart.t = heart.t - rng.uniform(0.08, 0.2) * TERRITORIES["posterior"]


def acute(heart: Heart, territory: str, rng: Generator) -> None:
    """Injury: ST raised towards the wall, merging with an upright T; mirrored in the opposite leads."""
    wall = TERRITORIES[territory]
    lift = rng.uniform(0.16, 0.38)
    heart.st = heart.st + lift * wall
    heart.t = heart.t - (heart.t @ wall - rng.uniform(0.22, 0.45)) * wall


def acute_anterior_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """As the old one, with ST raised in V1 to V4."""
    anterior_infarction(heart, person, rng)
    acute(heart, "anterior", rng)


def acute_inferior_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """As the old one, with ST raised in II, III, aVF and low in I and aVL."""
    inferior_infarction(heart, person, rng)
    acute(heart, "inferior", rng)


def acute_lateral_infarction(heart: Heart, person: Person, rng: Generator) -> None:
    """As the old one, with ST raised in I, aVL, V5, V6."""
    lateral_infarction(heart, person, rng)
    acute(heart, "lateral", rng)


def q_waves(heart: Heart, person: Person, rng: Generator) -> None:
    """Q in the inferior or the lateral leads without any change of ST and T."""
    size = rng.uniform(0.6, 0.9) * person.voltage
    wall = TERRITORIES[str(rng.choice(["inferior", "lateral"]))]
    lose_forces(heart, Waves.of((20, 9, tuple(-0.5 * size * wall))), 1 - 0.7 * np.abs(wall), 2)


def raise_voltage(heart: Heart, target: float) -> None:
    """Enlarge QRS, most of all to the left and the back, until Sokolow-Lyon's sum is `target` mV; keep the axis.

    QRS grows threefold at most, and no lead beyond 6.5 mV: where infarction or another hypertrophy has turned it away
    from V1 and V5, the sum stays below.
    """
    axis = heart.axis
    heart.qrs = heart.qrs.scaled((1.15, 1.0, 1.35))
    heart.turn_axis(axis)
    heart.qrs = heart.qrs.scaled(
        min(target / max(heart.sokolow_lyon(), 0.1), 3.0, 6.5 / float(np.abs(heart.peaks()).max()))
    )


def left_ventricular_hypertrophy(heart: Heart, person: Person, rng: Generator) -> None:
    """Sokolow-Lyon's sum of 3.5 mV and more, with strain: ST low and T inverted in I, aVL, V5, V6."""
    raise_voltage(heart, float(np.clip(rng.normal(4.3, 0.45), 3.6, 5.8)))
    heart.qrs = heart.qrs.stretched(1.06)
    strain = rng.uniform(0.6, 1.1)
    heart.st = heart.st + strain * np.array([-0.13, -0.03, -0.09])
    heart.t = (1 - strain) * heart.t + strain * np.array([-0.26, -0.03, -0.24])


def high_voltage(heart: Heart, person: Person, rng: Generator) -> None:
    """Sokolow-Lyon's sum of 3.5 mV and more and nothing else."""
    raise_voltage(heart, float(np.clip(rng.normal(3.95, 0.25), 3.55, 4.8)))


def right_ventricular_hypertrophy(heart: Heart, person: Person, rng: Generator) -> None:
    """R in V1 larger than S, deep S in V6, axis to the right, T inverted in V1 to V3."""
    waves = Waves.of(
        (15, 7, (0.05, -0.08, -0.25)),
        (34, 9, (0.45, 0.40, -0.40)),
        (50, 10, (-0.30, 0.70, -0.75)),
        (67, 10, (-0.50, 0.10, 0.10)),
    )
    heart.qrs = waves.scaled(person.voltage * rng.uniform(1.0, 1.35)).stretched(person.qrs_stretch)
    heart.turn_axis(float(rng.uniform(98, 130)))
    invert_t(heart, "anterior", rng.uniform(0.08, 0.25))


def low_voltage(heart: Heart, person: Person, rng: Generator) -> None:
    """QRS below 0.5 mV from peak to peak in all limb leads, small in the chest leads too."""
    factor = rng.uniform(0.30, 0.47) / heart.limb_voltage()
    heart.qrs = heart.qrs.scaled((factor, factor, 0.9 * factor))
    heart.t = heart.t * factor**0.6
    heart.p = heart.p.scaled(factor**0.3)


def left_atrial_enlargement(heart: Heart, person: Person, rng: Generator) -> None:
    """P of 120 ms and more, notched in II, with a deep terminal part in V1."""
    size = rng.uniform(0.85, 1.3)
    heart.p = Waves.of((33, 15, (0.05, 0.095, -0.05)), (88, 18, (0.07 * size, 0.085 * size, 0.11 * size)))
    heart.pr = max(heart.pr, 0.165)


def right_atrial_enlargement(heart: Heart, person: Person, rng: Generator) -> None:
    """P above 0.25 mV in II, peaked."""
    size = rng.uniform(1.0, 1.35)
    heart.p = Waves.of((42, 15, (0.04 * size, 0.25 * size, -0.08 * size)), (64, 15, (0.04, 0.03, 0.03)))


def st_depression(heart: Heart, person: Person, rng: Generator) -> None:
    """ST low by 0.1 mV and more in V4 to V6, mostly in II too; T flattened."""
    depth = rng.uniform(0.135, 0.28)
    heart.st = heart.st - depth * np.array([0.85, rng.uniform(0.1, 0.7), rng.uniform(-0.45, 0.1)])
    heart.t = heart.t * rng.uniform(0.35, 0.8)


def st_elevation(heart: Heart, person: Person, rng: Generator) -> None:
    """ST raised by 0.1 mV (0.2 mV in V2, V3) and more in the leads of one wall."""
    territory = str(rng.choice(["anterior", "inferior", "anterolateral"], p=[0.5, 0.3, 0.2]))
    wall = TERRITORIES[territory]
    heart.st = heart.st + rng.uniform(0.17, 0.34) * wall
    heart.t = heart.t + rng.uniform(0.05, 0.2) * wall


def t_inversion(heart: Heart, person: Person, rng: Generator) -> None:
    """T below -0.1 mV in the leads of one wall."""
    invert_t(heart, str(rng.choice(["anterior", "inferior", "lateral", "anterolateral"])), rng.uniform(0.14, 0.38))


def t_abnormality(heart: Heart, person: Person, rng: Generator) -> None:
    """T flat, biphasic or barely inverted."""
    kind = rng.choice(["flat", "biphasic", "inverted"], p=[0.4, 0.25, 0.35])
    if kind == "flat":
        heart.t = heart.t * rng.uniform(0.0, 0.28)
    elif kind == "biphasic":
        heart.t = heart.t * rng.uniform(0.5, 0.8)
        heart.t_biphasic = float(rng.uniform(0.7, 1.1))
    else:
        invert_t(heart, str(rng.choice(["lateral", "anterolateral"])), rng.uniform(0.02, 0.10))


def low_t(heart: Heart, person: Person, rng: Generator) -> None:
    """T below a tenth of R."""
    heart.t = heart.t * rng.uniform(0.08, 0.3)


def ischaemia(heart: Heart, person: Person, rng: Generator) -> None:
    """ST low and T inverted in the leads of one wall."""
    wall = str(rng.choice(["anterolateral", "lateral", "inferior"], p=[0.5, 0.25, 0.25]))
    heart.st = heart.st - rng.uniform(0.07, 0.2) * TERRITORIES[wall]
    invert_t(heart, wall, rng.uniform(0.1, 0.3))


def long_qt(heart: Heart, person: Person, rng: Generator) -> None:
    """QTc of 470 ms and more."""
    heart.qtc = float(np.clip(rng.normal(0.505, 0.02), 0.475, 0.58))
    heart.t_width *= 1.1
