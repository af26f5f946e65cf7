"""What can be found in a corpus, by code: the words of `data_modules.corpus_check`, without what it takes to look."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MEANINGS = {
    "copy_across_parts": "one recording in two parts of the split: its score there is no score on a new one",
    "patient_across_parts": "one patient in two parts of the split",
    "copy_in_upstream": "an evaluated recording that the upstream is trained on",
    "patient_in_upstream": "a patient of evaluated records whom the upstream is trained on",
    "copy": "one recording under two names, exactly or at another rate, gain or filter",
    "gain_of_corpus": "the amplitudes of the whole corpus are not those of ECGs in millivolts",
    "gain": "an amplitude far from the corpus's own: perhaps another gain or unit",
    "right_arm_swapped": "the limb leads fit the chest leads better with the right arm's electrode on another limb",
    "lead_identity": "the limb leads do not satisfy Einthoven's and Goldberger's identities",
    "flat_lead": "some leads are flat",
    "not_compared": "too many records to compare each with each other: only exact copies are known",
}
"""Codes of findings, the gravest first."""

LEAKS = ("copy_across_parts", "patient_across_parts", "copy_in_upstream", "patient_in_upstream")
"""Findings that make test scores too good."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was found."""

    code: str
    """A key of `MEANINGS`."""
    records: tuple[str, ...]
    """Ids, of the checked corpus first."""
    detail: str
    """What was found, a clause."""


def summarise(findings: Iterable[Finding]) -> dict[str, int]:
    """How many of each code, the gravest first."""
    codes = [finding.code for finding in findings]
    return {code: codes.count(code) for code in MEANINGS if code in codes}
