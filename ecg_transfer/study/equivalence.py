"""How much data: where training from scratch catches up, and how many records fine-tuning is worth.

Everything is interpolated between measured sizes, in the logarithm of the size; nothing is extrapolated. What lies
beyond the measured sizes is minus or plus infinity, "less than the smallest" or "more than the largest".

Source of the data-equivalence: the effective data transferred of Hernandez et al. 2021, arXiv 2102.01293.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import isotonic_regression

from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.learning_curve import LearningCurve

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SizeEstimate:
    """A number of training records with its 95 % interval; infinite where it lies beyond the measured sizes."""

    estimate: float
    low: float
    high: float
    smallest: int
    """The smallest measured size."""
    largest: int
    """The largest measured size."""

    @property
    def is_in_range(self) -> bool:
        """Whether it lies within the measured sizes."""
        return bool(np.isfinite(self.estimate))

    def text(self) -> str:
        """`900 [600, 1500]`, or `more than 900 [600, more than 900]`."""
        return f"{self._one(self.estimate)} [{self._one(self.low)}, {self._one(self.high)}]"

    def _one(self, size: float) -> str:
        if np.isnan(size):
            return "unknown"
        if np.isinf(size):
            return f"more than {self.largest}" if size > 0 else f"less than {self.smallest}"
        return f"{size:.0f}"


def crossover(curve: LearningCurve) -> SizeEstimate:
    """The size from which on training from scratch is at least as good as fine-tuning.

    Infinite when fine-tuning is still ahead at the largest size, minus infinite when it is ahead at none.
    """
    estimate = crossing(curve.sizes, curve.difference)
    draws = np.array([crossing(curve.sizes, difference) for difference in curve.difference_draws.T])
    return _estimate(curve, estimate, draws)


def crossover_sentence(curve: LearningCurve) -> str:
    """What `crossover` says, in a sentence."""
    found = crossover(curve)
    if found.estimate > found.largest:
        return f"no crossover in range: fine-tuning is ahead up to {found.largest} records (crossover {found.text()})"
    if found.estimate < found.smallest:
        return f"no crossover in range: scratch is as good from {found.smallest} records on (crossover {found.text()})"
    return f"scratch catches up at {found.text()} records"


def data_equivalence(curve: LearningCurve) -> list[SizeEstimate]:
    """For each size: on how many records training from scratch scores what fine-tuning scores on that size.

    Scratch's curve is made to rise by isotonic regression before it is read backwards.
    """
    scratch, finetune = curve.draws("scratch"), curve.draws("finetune")
    estimates = []
    for place, score in enumerate(curve.scores("finetune")):
        estimate = equivalent_size(curve.sizes, curve.scores("scratch"), float(score))
        pairs = zip(scratch.T, finetune[place], strict=True)
        draws = np.array([equivalent_size(curve.sizes, scores, float(wanted)) for scores, wanted in pairs])
        estimates.append(_estimate(curve, estimate, draws))
    return estimates


def equivalence_sentences(curve: LearningCurve) -> list[str]:
    """`fine-tuning on 200 equals scratch on 900 [600, 1500]`, one a size."""
    sizes = zip(curve.sizes, data_equivalence(curve), strict=True)
    return [f"fine-tuning on {size} equals scratch on {found.text()}" for size, found in sizes]


def crossing(sizes: ArrayLike, differences: ArrayLike) -> float:
    """Where a difference falls to zero for good.

    Args:
        sizes: (K,), rising.
        differences: (K,).

    Returns:
        Infinity when the last difference is above zero, minus infinity when none is.

    Example:
        >>> round(crossing([100, 10_000], [0.2, -0.2]))
        1000
    """
    n, difference = np.asarray(sizes, dtype=np.float64), np.asarray(differences, dtype=np.float64)
    ahead = np.flatnonzero(difference > 0)
    if not len(ahead):
        return float("-inf")
    last = int(ahead[-1])
    if last == len(n) - 1:
        return float("inf")
    share = difference[last] / (difference[last] - difference[last + 1])
    return float(np.exp(np.log(n[last]) + share * np.log(n[last + 1] / n[last])))


def equivalent_size(sizes: ArrayLike, scores: ArrayLike, wanted: float) -> float:
    """The smallest size at which a curve, made to rise, has a score.

    Returns:
        Infinity when the score is above the curve, minus infinity when it is below.

    Example:
        >>> round(equivalent_size([100, 10_000], [0.5, 0.7], 0.6))
        1000
    """
    n = np.asarray(sizes, dtype=np.float64)
    rising = np.asarray(isotonic_regression(np.asarray(scores, dtype=np.float64)).x)
    if wanted > rising[-1]:
        return float("inf")
    if wanted < rising[0]:
        return float("-inf")
    place = int(np.searchsorted(rising, wanted))
    if place == 0:
        return float(n[0])
    share = (wanted - rising[place - 1]) / (rising[place] - rising[place - 1])
    return float(np.exp(np.log(n[place - 1]) + share * np.log(n[place] / n[place - 1])))


def _estimate(curve: LearningCurve, estimate: float, draws: Floats) -> SizeEstimate:
    low, high = interval(draws)
    return SizeEstimate(
        estimate=estimate, low=low, high=high, smallest=int(curve.sizes[0]), largest=int(curve.sizes[-1])
    )
