"""Swaps made by the textbook's formulas; and the rates on real recordings.

Measured on all of PTB-XL 1.0.1 at 100 Hz and 309 records of CPSC2018 (intervals: Wilson, 95 %). Untouched records that
are named: 26 of 17,094 in the folds the map comes from, 6 of 4,306 in folds 9 and 10 (.14 % [.06, .30]), 0 of 309
(below 1.2 %); some will be true swaps. Artificial swaps that are found in folds 9 and 10 (4,306): RA-LA 93.0 %
[92.2, 93.7], RA-LL 91.9 % [91.0, 92.7]; in CPSC2018: 83.2 % [78.6, 86.9] and 93.9 % [90.6, 96.0].
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules.config import Preprocessing
from data_modules.corpora import CORPORA
from data_modules.corpus import RecordError
from data_modules.ingest import screen_for
from data_modules.lead_swaps import FROM_CHEST, SWAPPED_MARGIN, right_arm_margin
from data_modules.signal import prepare
from tests.data_modules.test_near_copies import recordings

RATE = 100
Floats = NDArray[np.float32]


def limb_leads(one: Floats, two: Floats) -> list[Floats]:
    return [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]


def swapped(signals: Floats, how: str) -> Floats:
    """After any cardiology textbook: what each limb lead becomes; the chest leads stay."""
    one, two, three = (signals[:, :, lead] for lead in range(3))
    new = {
        "RA-LA": (-one, three),
        "RA-LL": (-three, -two),
        "LA-LL": (two, one),
        "RA to LA to LL to RA": (three, -one),  # electrodes RA, LA, LL lie on LA, LL, RA
        "RA to LL to LA to RA": (-two, -three),
    }[how]
    return np.concatenate([np.stack(limb_leads(*new), axis=2), signals[:, :, 6:]], axis=2)


def hearts(number: int) -> Floats:
    """Limb leads that follow from the chest leads, but for noise and a drift in each."""
    signals = recordings(number, seed=3)
    rng = np.random.default_rng(4)
    one, two = np.einsum("lc,ntc->lnt", FROM_CHEST, signals[:, :, 6:]) + rng.normal(0, 0.02, (2, *signals.shape[:2]))
    whole = np.concatenate([np.stack(limb_leads(one, two), axis=2), signals[:, :, 6:]], axis=2)
    drift = np.sin(2 * np.pi * 0.2 * np.arange(signals.shape[1]) / RATE)[:, None] * rng.normal(0, 1, (number, 1, 12))
    return (whole + drift).astype(np.float32)


@pytest.mark.parametrize("how", ["RA-LA", "RA-LL", "RA to LA to LL to RA", "RA to LL to LA to RA"])
def test_the_right_arm_elsewhere_is_seen(how: str) -> None:
    signals = hearts(60)
    assert (right_arm_margin(signals, RATE) < 0).all()
    margins = right_arm_margin(swapped(signals, how), RATE)
    assert (margins > 0).all()
    assert (margins > SWAPPED_MARGIN).mean() > 0.5  # of hearts with any axis; people's have more to tell, see below


def test_left_arm_and_leg_are_not_looked_for_and_flat_leads_say_nothing() -> None:
    signals = hearts(60)
    assert (right_arm_margin(swapped(signals, "LA-LL"), RATE) < SWAPPED_MARGIN).all()
    signals[:, :, :6] = 0
    assert (right_arm_margin(signals, RATE) == -2).all()


def real_signals(name: str, step: int) -> Floats:
    root = Path(os.environ["ECG_REAL_DATA"]) / name
    corpus = CORPORA[name](root)
    prepared = []
    for record_id in corpus.table.record_ids[::step]:
        try:
            record = screen_for(corpus.read(record_id), Preprocessing())
        except RecordError:
            continue
        prepared.append(prepare(record.signal, record.sampling_rate, Preprocessing()).T)
    return np.stack(prepared)


@pytest.mark.real
@pytest.mark.skipif("ECG_REAL_DATA" not in os.environ, reason="ECG_REAL_DATA names no recordings")
@pytest.mark.parametrize(("name", "step", "lowest"), [("ptbxl", 40, 0.85), ("cpsc2018", 1, 0.75)])
def test_rates_on_real_recordings(name: str, step: int, lowest: float) -> None:
    signals = real_signals(name, step)
    assert len(signals) > 250
    assert (right_arm_margin(signals, RATE) > SWAPPED_MARGIN).mean() < 0.01
    for how in ("RA-LA", "RA-LL"):
        assert (right_arm_margin(swapped(signals, how), RATE) > SWAPPED_MARGIN).mean() > lowest
