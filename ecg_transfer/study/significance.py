"""Tests over paired seeds, and their adjustment for a declared family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

MIN_SEEDS = 6
"""Paired seeds below which no test is made: five can never reach p < 0.05, see `p_floor`."""

MAX_EXACT = 20
"""Pairs up to which all 2^n signs are tried."""

NUM_RANDOM_SIGNS = 100_000
"""Random signs beyond that."""


def p_floor(num_pairs: int) -> float:
    """The smallest two-sided p that a sign-flip test of n pairs can give, 2 / 2^n.

    Example:
        >>> p_floor(5), p_floor(6)
        (0.0625, 0.03125)
    """
    return float(2.0 ** (1 - num_pairs))


def sign_flip_p(differences: ArrayLike, *, seed: int = 0) -> float:
    """Two-sided p of the mean of paired differences, by flipping their signs.

    Under the hypothesis that neither arm is better each difference is as likely as its opposite. All 2^n signs are
    tried up to `MAX_EXACT` pairs, beyond that random ones, the observed among them (Fisher 1935; Phipson & Smyth 2010,
    doi 10.2202/1544-6115.1585, on why a random test counts itself).

    Args:
        differences: (n,), finite.
        seed: Of the random signs.

    Raises:
        ValueError: There are no differences, or some are not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"differences are {values.tolist()}, expected a list of finite numbers.")
    observed = abs(values.sum())
    tolerance = 1e-12 * np.abs(values).sum()
    if len(values) <= MAX_EXACT:
        sums: NDArray[np.float64] = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= observed - tolerance))
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(NUM_RANDOM_SIGNS, len(values)))
    num_extreme = np.count_nonzero(np.abs(signs @ values) >= observed - tolerance)
    return float((num_extreme + 1) / (NUM_RANDOM_SIGNS + 1))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust the p values of a declared family for its size (Holm 1979, jstor.org/stable/4615733).

    Args:
        p_values: One a hypothesis; None where no test could be made, which does not count.

    Returns:
        Adjusted ones in the same order; reject where they are at most 0.05, and the chance of any false rejection is
        at most 5 %.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(tested):
        highest = max(highest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = highest
    return adjusted
