"""Metrics of ranking, for many labels at once and for any number of bootstrap draws after a single sort.

Shape legend: `N` records, `L` labels, `R` runs of equal scores, those of all labels one after the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Ranking:
    """Records in descending order of score, label by label; equal scores form one run, within which nothing is ranked.

    The methods take counts (N,), how often each record occurs. Up to the last division they add whole numbers, so that
    counts give bit for bit what repeated rows give.

    Args:
        scores: (N, L), finite; only their order matters.
        targets: (N, L), zeros and ones.
    """

    def __init__(self, scores: Floats, targets: Floats) -> None:
        num_records, self.num_labels = scores.shape
        self.order = np.argsort(-scores.T, axis=1)
        ordered = np.take_along_axis(scores.T, self.order, axis=1)
        self.targets = np.take_along_axis(targets.T, self.order, axis=1)
        is_end = np.ones(ordered.shape, dtype=bool)
        is_end[:, :-1] = ordered[:, :-1] != ordered[:, 1:]
        self.ends = np.flatnonzero(is_end)
        self.labels = self.ends // num_records
        self.is_first = np.diff(self.labels, prepend=-1) > 0

    def auroc(self, counts: Floats) -> Floats:
        """Compute (L,) areas under the ROC curve by trapezoids; NaN where positives or negatives are missing.

        The Mann-Whitney U statistic over the number of pairs of a positive and a negative, Hanley & McNeil 1982.
        """
        tp, fp = self._curve(counts)
        twice_area = self._total(self._rise(fp) * (2 * tp - self._rise(tp)))
        num_positives, num_negatives = self._total(self._rise(tp)), self._total(self._rise(fp))
        return divide(twice_area, 2 * num_positives * num_negatives, empty=np.nan)

    def average_precision(self, counts: Floats) -> Floats:
        """Compute (L,) sums of rise in recall times precision over the runs; NaN where positives are missing.

        The step-wise area under the precision-recall curve, not interpolated, as scikit-learn defines it.
        """
        tp, fp = self._curve(counts)
        rise = self._rise(tp)
        return divide(self._total(rise * divide(tp, tp + fp)), self._total(rise), empty=np.nan)

    def _curve(self, counts: Floats) -> tuple[Floats, Floats]:
        """Count true and false positives (R,) when each run and all above it are called positive."""
        weights = counts[self.order]
        tp = np.cumsum(weights * self.targets, axis=1).ravel()[self.ends]
        return tp, np.cumsum(weights, axis=1).ravel()[self.ends] - tp

    def _rise(self, cumulative: Floats) -> Floats:
        """Difference (R,) to the run before, or to 0 at a label's first."""
        before = np.roll(cumulative, 1)
        before[self.is_first] = 0
        return cumulative - before

    def _total(self, values: Floats) -> Floats:
        """Sum (R,) over the runs of each label, one after the other: (L,)."""
        # Not reduceat, whose pairwise sums depend on how many runs there are, also where those add nothing.
        totals: Floats = np.bincount(self.labels, weights=values, minlength=self.num_labels).astype(np.float64)
        return totals


def divide(numerator: ArrayLike, denominator: ArrayLike, empty: float = 0.0) -> Floats:
    """Divide element by element, with `empty` where the denominator is 0."""
    bottom = np.asarray(denominator, dtype=np.float64)
    result: Floats = np.full(bottom.shape, empty)
    np.divide(np.asarray(numerator, dtype=np.float64), bottom, out=result, where=bottom != 0)
    return result
