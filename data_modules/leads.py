"""Leads by the many names that files give them, and the limb leads that follow from two others."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, RecordError

_GAP = r"(?:[ _]*|-| - )"
"""Between words; a minus right before a name is its sign: `Lead -aVR` is aVR turned over, as Cabrera's order has it."""
_PREFIX = rf"(?:mdc[ _]ecg[ _](?:lead|elec[ _]potl)[ _]|(?:ecg|ekg){_GAP})?(?:lead{_GAP})?"
_REST = r"(?:\s*[,(\[](?!.*invert)(?!\s*-\s*[)\]]).*)?"
_NAME = re.compile(rf"{_PREFIX}(?P<lead>iii|ii|i|avr|avl|avf|v[1-6]){_REST}", re.IGNORECASE)
_CHEST_ELECTRODE = re.compile(rf"{_PREFIX}c(?P<number>[1-6]){_REST}", re.IGNORECASE)
_FURTHER_LEAD = re.compile(rf"{_PREFIX}v(?:[7-9]|1[0-2]|[1-9]r){_REST}", re.IGNORECASE)
_CANONICAL = {name.casefold(): name for name in LEAD_NAMES}

_FROM_ONE_AND_TWO = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]], dtype=np.float64)
"""I, II, III, aVR, aVL, aVF as sums of I and II, by Einthoven's and Goldberger's identities."""


def canonical_lead(name: str) -> str | None:
    """What a signal's name means: `aVR` for `avr`, `Lead AVR`, `MDC_ECG_LEAD_aVR`, `aVR (uV)`; None for no lead.

    None for a lead that is turned over, too, `Lead -aVR` or `aVR (inverted)`: it can be derived of two others.

    The prefixes are those of ISO/IEEE 11073-10101 (MDC), of EDF's standard texts (`ECG I`) and of DICOM
    (`Lead I (Einthoven)`).
    """
    match = _NAME.fullmatch(name.strip())
    return _CANONICAL[match["lead"].casefold()] if match else None


def is_further_lead(name: str) -> bool:
    """Whether a signal's name is that of a chest lead beyond the twelve: `V7` to `V12`, `V3R`."""
    return _FURTHER_LEAD.fullmatch(name.strip()) is not None


def canonical_leads(names: Sequence[str]) -> list[str | None]:
    """What the names of all signals of a record mean, each as by `canonical_lead`.

    `C1` to `C6`, as IEC 60601-2-25 calls the chest electrodes, are V1 to V6 in a record that has all six, no V1 to V6
    and two limb leads: alone, `C3` and `C4` are signals of an EEG.
    """
    leads = [canonical_lead(name) for name in names]
    matches = [_CHEST_ELECTRODE.fullmatch(name.strip()) for name in names]
    electrodes = {match["number"] for match in matches if match}
    limbs = set(LEAD_NAMES[:6]).intersection(leads)
    if len(electrodes) < 6 or len(limbs) < 2 or set(LEAD_NAMES[6:]).intersection(leads):
        return leads
    return [f"V{match['number']}" if match else lead for match, lead in zip(matches, leads, strict=True)]


def twelve_leads(signal: NDArray[np.float32], names: Sequence[str | None]) -> tuple[NDArray[np.float32], list[str]]:
    """Put leads in canonical order; limb leads that are not there are derived from two that are.

    Args:
        signal: (signals, samples).
        names: Canonical name of each signal, or None for one that is no lead.

    Returns:
        (12, samples), and the leads that are neither there nor derivable, whose rows are zero.

    Raises:
        RecordError: `header`, if two signals have the same name; `missing_leads`, if there is no lead at all.
    """
    rows: dict[str, int] = {}
    for row, name in enumerate(names):
        if name is not None and rows.setdefault(name, row) != row:
            raise RecordError("header", f"two signals are called {name}")
    if not rows:
        raise RecordError("missing_leads", "none of the signals has the name of a lead; name them with --leads")
    if [rows.get(name) for name in LEAD_NAMES] == list(range(len(signal))):
        return signal, []
    result = np.zeros((len(LEAD_NAMES), signal.shape[1]), dtype=np.float32)
    for name, row in rows.items():
        result[LEAD_NAMES.index(name)] = signal[row]
    limbs = [index for index, name in enumerate(LEAD_NAMES[:6]) if name in rows]
    if 2 <= len(limbs) < 6:
        to_one_and_two = np.linalg.inv(_FROM_ONE_AND_TWO[limbs[:2]])
        absent = [index for index in range(6) if index not in limbs]
        result[absent] = (_FROM_ONE_AND_TWO[absent] @ to_one_and_two).astype(np.float32) @ result[limbs[:2]]
        limbs = list(range(6))
    there = {LEAD_NAMES[index] for index in limbs} | rows.keys()
    return result, [name for name in LEAD_NAMES if name not in there]
