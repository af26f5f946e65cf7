"""Pooling the effects of several corpora, with what lies between them: what to expect on one that is not among them.

DerSimonian & Laird 1986 (doi 10.1016/0197-2456(86)90046-2) for the variance between corpora; Hartung & Knapp 2001 (doi
10.1002/sim.791) for the interval of the mean, never narrower than without; Higgins, Thompson & Spiegelhalter 2009 (doi
10.1111/j.1467-985X.2008.00552.x) for the prediction interval of one more corpus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from ecg_transfer.study.bootstrap import LEVEL

MIN_CORPORA = 3
"""Corpora below which nothing can be foretold of another one: the prediction interval has this many minus 2 degrees of
freedom."""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """A mean effect over corpora, and what to expect of one more."""

    estimate: float
    low: float
    """Lower limit of the mean's 95 % interval; NaN with one corpus."""
    high: float
    between: float
    """Standard deviation between corpora, tau."""
    predicted_low: float
    """Lower limit for a corpus that is not among them; NaN with fewer than `MIN_CORPORA`."""
    predicted_high: float
    num_corpora: int


def pool(effects: ArrayLike, variances: ArrayLike) -> Pooled:
    """Pool effects of K corpora under a random-effects model.

    With weights w_i = 1 / v_i, Q = sum w_i (y_i - mean)^2 gives
    tau^2 = max(0, (Q - K + 1) / (sum w_i - sum w_i^2 / sum w_i)); then w*_i = 1 / (v_i + tau^2) weigh the mean, whose
    squared standard error is max(1, q) / sum w*_i with q = sum w*_i (y_i - mean)^2 / (K - 1). The mean has a t interval
    with K - 1 degrees of freedom, one more corpus mean +- t(K - 2) sqrt(tau^2 + SE^2).

    Args:
        effects: y, (K,).
        variances: v, of each effect's own error, (K,), above 0.

    Raises:
        ValueError: None, or a variance that is not above 0.
    """
    y, v = np.asarray(effects, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if y.ndim != 1 or y.shape != v.shape or not len(y) or not (v > 0).all():
        raise ValueError(f"effects are {y.tolist()} with variances {v.tolist()}, expected as many, above 0")
    num, nan = len(y), float("nan")
    if num == 1:
        return Pooled(
            estimate=float(y[0]), low=nan, high=nan, between=nan, predicted_low=nan, predicted_high=nan, num_corpora=1
        )
    weights = 1 / v
    spread = weights @ (y - weights @ y / weights.sum()) ** 2
    tau2 = max(0.0, float((spread - num + 1) / (weights.sum() - (weights**2).sum() / weights.sum())))
    weights = 1 / (v + tau2)
    mean = float(weights @ y / weights.sum())
    inflation = max(1.0, float(weights @ (y - mean) ** 2 / (num - 1)))
    error2 = inflation / weights.sum()
    reach = stats.t.ppf((1 + LEVEL) / 2, num - 1) * np.sqrt(error2)
    wide = stats.t.ppf((1 + LEVEL) / 2, num - 2) * np.sqrt(tau2 + error2) if num >= MIN_CORPORA else nan
    return Pooled(
        estimate=mean,
        low=float(mean - reach),
        high=float(mean + reach),
        between=float(np.sqrt(tau2)),
        predicted_low=float(mean - wide),
        predicted_high=float(mean + wide),
        num_corpora=num,
    )
