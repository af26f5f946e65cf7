from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.leads import canonical_lead, canonical_leads, twelve_leads
from tests.data_modules.ecg_files import synthetic_millivolts


@pytest.mark.parametrize(
    ("name", "lead"),
    [
        ("I", "I"),
        (" avr ", "aVR"),
        ("AVL", "aVL"),
        ("v6", "V6"),
        ("Lead II", "II"),
        ("lead_iii", "III"),
        ("ECG V1", "V1"),
        ("MDC_ECG_LEAD_aVF", "aVF"),
        ("Lead I (Einthoven)", "I"),
        ("V2 (uV)", "V2"),
        ("Lead-aVR", "aVR"),
        ("ECG - V2", "V2"),
        ("-aVR", None),
        ("Lead -aVR (mV)", None),
        ("ECG -aVR", None),
        ("aVR (inverted) (mV)", None),
        ("aVR (-)", None),
        ("time", None),
        ("V7", None),
        ("vx", None),
        ("IIII", None),
        ("V1-V2", None),
        ("", None),
    ],
)
def test_leads_are_known_by_their_many_names(name: str, lead: str | None) -> None:
    assert canonical_lead(name) == lead


LIMBS, CHEST, ELECTRODES = LEAD_NAMES[:6], LEAD_NAMES[6:], tuple(f"C{number}" for number in range(1, 7))


@pytest.mark.parametrize(
    ("names", "leads"),
    [
        ((*LIMBS, *ELECTRODES), LEAD_NAMES),
        (("ECG C6", "time", *map("Lead c{} (mV)".format, range(1, 6)), "I", "II"), ("V6", None, *CHEST[:5], "I", "II")),
        (("C3", "C4", "I", "II"), (None, None, "I", "II")),
        ((*ELECTRODES, "I"), (*[None] * 6, "I")),
        ((*ELECTRODES[:5], "I", "II"), (*[None] * 5, "I", "II")),
        ((*ELECTRODES, "I", "II", "V1"), (*[None] * 6, "I", "II", "V1")),
        ((*ELECTRODES, "C1", "I", "II"), (*CHEST, "V1", "I", "II")),
        ((), ()),
    ],
)
def test_chest_electrodes_are_the_chest_leads_of_a_whole_ecg(
    names: tuple[str, ...], leads: tuple[str | None, ...]
) -> None:
    assert canonical_leads(names) == list(leads)


@pytest.mark.parametrize("pair", combinations(LEAD_NAMES[:6], 2))
def test_two_limb_leads_give_the_six(pair: tuple[str, str]) -> None:
    one, two = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    three = two - one
    limbs = np.stack([one, two, three, -(one + two) / 2, (one - three) / 2, (two + three) / 2])
    rows = [LEAD_NAMES.index(name) for name in pair]
    signal, absent = twelve_leads(limbs[rows], pair)
    np.testing.assert_allclose(signal[:6], limbs, atol=1e-5)
    assert absent == list(LEAD_NAMES[6:])
    np.testing.assert_array_equal(signal[rows], limbs[rows])


def test_leads_come_in_canonical_order_and_recorded_ones_are_not_derived_anew() -> None:
    truth = synthetic_millivolts(100, 100).astype(np.float32)
    order = np.random.default_rng(0).permutation(12)
    signal, absent = twelve_leads(truth[order], [LEAD_NAMES[row] for row in order])
    np.testing.assert_array_equal(signal, truth)
    assert absent == []
    noisy = truth.copy()
    noisy[3] += 1
    kept = [row for row in range(12) if row != 4]
    signal, _ = twelve_leads(noisy[kept], [LEAD_NAMES[row] for row in kept])
    np.testing.assert_array_equal(signal[3], noisy[3])


def test_unusable_names_are_refused() -> None:
    with pytest.raises(RecordError, match="--leads"):
        twelve_leads(np.zeros((2, 9), np.float32), [None, None])
    with pytest.raises(RecordError, match="two signals are called II"):
        twelve_leads(np.zeros((2, 9), np.float32), ["II", "II"])
