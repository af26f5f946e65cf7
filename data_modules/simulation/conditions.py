"""The conditions by name: what each one changes in the heart, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np

from data_modules.simulation import conduction, myocardium
from data_modules.simulation.heart import Heart, normal_heart
from data_modules.simulation.person import Person


class Condition(NamedTuple):
    """One thing that a heart can have."""

    description: str
    """What a cardiologist sees."""
    apply: Callable[[Heart, Person, np.random.Generator], None]
    """Changes the heart in place; the generator decides severity and site."""


def healthy(heart: Heart, person: Person, rng: np.random.Generator) -> None:
    """Leave the heart as it is."""


CONDITIONS: dict[str, Condition] = {
    "NORM": Condition("normal ECG", healthy),
    # Rhythm
    "SB": Condition("sinus bradycardia: below 60 a minute", conduction.sinus_bradycardia),
    "STACH": Condition("sinus tachycardia: above 100 a minute", conduction.sinus_tachycardia),
    "SARRH": Condition("sinus arrhythmia: RR swings with breathing", conduction.sinus_arrhythmia),
    "AF": Condition("atrial fibrillation: RR irregular, no P, f-waves", conduction.atrial_fibrillation),
    "AFLT": Condition("atrial flutter: saw-tooth in II, III, aVF", conduction.atrial_flutter),
    "IAVB": Condition("first-degree AV block: PR above 200 ms", conduction.first_degree_block),
    "PAC": Condition("premature atrial beats: early, odd P, normal QRS", conduction.premature_atrial),
    "PVC": Condition("premature ventricular beats: early, wide, no P, then a pause", conduction.premature_ventricular),
    # The axis before the shapes that bring their own
    "LAD": Condition("left axis: beyond -30 degrees", conduction.left_axis),
    "RAD": Condition("right axis: beyond 90 degrees", conduction.right_axis),
    "LAFB": Condition(
        "left anterior fascicular block: axis beyond -45, rS in III", conduction.left_anterior_fascicular_block
    ),
    "LPFB": Condition(
        "left posterior fascicular block: axis beyond 90, rS in I", conduction.left_posterior_fascicular_block
    ),
    "RVH": Condition(
        "right ventricular hypertrophy: R in V1, S in V6, right axis", myocardium.right_ventricular_hypertrophy
    ),
    "WPW": Condition("pre-excitation: short PR, delta wave", conduction.preexcitation),
    "LBBB": Condition("left bundle branch block: QS in V1, notched R in V6", conduction.left_bundle_branch_block),
    "PACE": Condition("ventricular pacing: spike, wide QRS, superior axis", conduction.ventricular_pacing),
    # Muscle
    "AMI": Condition("anterior infarction, old: QS in V1-V3, T inverted", myocardium.anterior_infarction),
    "IMI": Condition("inferior infarction, old: Q in II, III, aVF", myocardium.inferior_infarction),
    "LMI": Condition("lateral infarction, old: Q in I, aVL, V5, V6", myocardium.lateral_infarction),
    "PMI": Condition("posterior infarction: broad R in V1, V2", myocardium.posterior_infarction),
    "AMI_ACUTE": Condition("anterior infarction, acute: ST raised in V1-V4", myocardium.acute_anterior_infarction),
    "IMI_ACUTE": Condition(
        "inferior infarction, acute: ST raised in II, III, aVF", myocardium.acute_inferior_infarction
    ),
    "LMI_ACUTE": Condition(
        "lateral infarction, acute: ST raised in I, aVL, V5, V6", myocardium.acute_lateral_infarction
    ),
    "QWAVE": Condition("Q waves without change of ST and T", myocardium.q_waves),
    "LVH": Condition(
        "left ventricular hypertrophy: Sokolow-Lyon 3.5 mV, strain", myocardium.left_ventricular_hypertrophy
    ),
    "HVOLT": Condition("high voltage: Sokolow-Lyon 3.5 mV without strain", myocardium.high_voltage),
    # What follows on any QRS
    "IVCD": Condition("intraventricular delay: QRS above 110 ms, slurred", conduction.intraventricular_delay),
    "IRBBB": Condition(
        "incomplete right bundle branch block: rSr' in V1", conduction.incomplete_right_bundle_branch_block
    ),
    "RBBB": Condition("right bundle branch block: rSR' in V1, wide S in V6", conduction.right_bundle_branch_block),
    "LAE": Condition("left atrial enlargement: P 120 ms, notched, deep in V1", myocardium.left_atrial_enlargement),
    "RAE": Condition("right atrial enlargement: P above 0.25 mV in II", myocardium.right_atrial_enlargement),
    "LQT": Condition("long QT: QTc 470 ms and more", myocardium.long_qt),
    "STD": Condition("ST depression in V4-V6", myocardium.st_depression),
    "STE": Condition("ST elevation over one wall", myocardium.st_elevation),
    "TINV": Condition("T inverted over one wall", myocardium.t_inversion),
    "TAB": Condition("T flat, biphasic or barely inverted", myocardium.t_abnormality),
    "LOWT": Condition("low T", myocardium.low_t),
    "ISC": Condition("ischaemia: ST low and T inverted over one wall", myocardium.ischaemia),
    "LVOLT": Condition("low voltage: limb leads below 0.5 mV", myocardium.low_voltage),
}
"""Name -> what it looks like and what it does. Applied in this order, whatever the order of the request."""


def build_heart(person: Person, conditions: Sequence[str]) -> Heart:
    """Give a person's heart some conditions.

    Raises:
        ValueError: An unknown condition.
    """
    for name in conditions:
        if name not in CONDITIONS:
            guess = get_close_matches(name.upper(), CONDITIONS, n=1, cutoff=0.4)
            hint = f"did you mean {guess[0]!r}? " if guess else ""
            raise ValueError(f"unknown condition {name!r}; {hint}known ones: {', '.join(CONDITIONS)}")
    heart = normal_heart(person)
    for name, condition in CONDITIONS.items():
        if name in conditions:
            condition.apply(heart, person, person.generator(name))
    return heart
