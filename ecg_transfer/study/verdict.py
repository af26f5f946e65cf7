"""Verdicts by declared rules: an interval against zero and against the smallest effect that matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ecg_transfer.study.bootstrap import interval

Floats = NDArray[np.float64]
Verdict = Literal["supported", "not supported", "inconclusive"]

MARGIN = 0.01
"""Smallest difference in F1 that matters, declared before any result."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A quantity that is positive when the claim is right, with its 95 % interval and its margin."""

    estimate: float
    low: float
    high: float
    margin: float

    @property
    def verdict(self) -> Verdict:
        """The rule of every claim.

        `not supported` when the whole interval lies below the margin: what matters is excluded, which includes an
        effect that is real but smaller (Lakens 2017, doi 10.1177/1948550617697177, on tests of equivalence).
        `supported` when the whole interval lies above zero. Else `inconclusive`: no evidence is no evidence of absence.
        """
        if self.high < self.margin:
            return "not supported"
        return "supported" if self.low > 0 else "inconclusive"


def finding(estimate: float, draws: Floats, margin: float = MARGIN) -> Finding:
    """A finding from its estimate and draws (B,)."""
    low, high = interval(draws)
    return Finding(estimate=estimate, low=low, high=high, margin=margin)


def all_of(*verdicts: Verdict) -> Verdict:
    """The verdict on a claim of several parts, each of which has to hold."""
    for verdict in ("not supported", "inconclusive"):
        if verdict in verdicts:
            return verdict
    return "supported"
