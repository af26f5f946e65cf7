"""Every published number, computed in float64 from stored logits.

Shape legend: `N` records, `L` labels (classes), `...` any number of bootstrap draws, including none.

A record is positive for a label when `sigmoid(logit) > threshold`, strictly: at 0.5 a logit of 0 is negative. Ranking
metrics use the logits themselves, because the sigmoid maps distinct large logits to the same float.

Weights are whole numbers, how often each record occurs in a bootstrap draw: every metric then equals that of the rows
repeated so many times. Records are sorted once for all draws.

Example:
    >>> logits = [[2.0, -1.0], [0.5, 0.0], [-3.0, 1.0]]
    >>> targets = [[1, 0], [0, 1], [0, 1]]
    >>> scores = score(logits, targets, ["NORM", "MI"])
    >>> round(scores.f1_weighted, 4), scores.auroc_macro
    (0.6667, 1.0)
    >>> evaluation = Evaluation(logits, targets)
    >>> AGGREGATES["f1_macro"](evaluation, [[2, 1, 0], [1, 1, 1]]).round(4).tolist()
    [0.4, 0.6667]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_modules.masked import without_mask
from ecg_transfer.ranking import Ranking, divide

Floats = NDArray[np.float64]


class Evaluation:
    """The logits of one model on one set of records: checked and sorted once, scored under any weights.

    Its methods take `weights`, shape (..., N), or None for one of each record, and return (..., L).

    Args:
        logits: (N, L), finite.
        targets: (N, L), zeros and ones.
        thresholds: Probability above which a record is positive: one for all labels, or (L,).

    Raises:
        ValueError: Shapes that do not match, no records, logits that are not finite (the message names the rows),
            targets other than 0 and 1, thresholds outside [0, 1]; from the methods: weights that are no counts.
    """

    def __init__(self, logits: ArrayLike, targets: ArrayLike, thresholds: float | ArrayLike = 0.5) -> None:
        self.logits: Floats = without_mask(logits).astype(np.float64, copy=False)
        self.targets: Floats = without_mask(targets).astype(np.float64, copy=False)
        _check(self.logits, self.targets)
        self.num_records, self.num_labels = self.logits.shape
        limits = np.asarray(thresholds, dtype=np.float64)
        if limits.shape not in ((), (self.num_labels,)) or not ((limits >= 0) & (limits <= 1)).all():
            raise ValueError(
                f"thresholds are {limits.tolist()}, expected one probability between 0 and 1, or {self.num_labels}."
            )
        self.thresholds: Floats = np.broadcast_to(limits, self.num_labels).copy()
        self.predicted: Floats = (_probabilities(self.logits) > self.thresholds).astype(np.float64)

    def num_positives(self, weights: ArrayLike | None = None) -> Floats:
        """Count the records that carry each label."""
        return self._counts(weights) @ self.targets

    def precision(self, weights: ArrayLike | None = None) -> Floats:
        """Share of the predicted that are positive, TP / (TP + FP); 0 where nothing is predicted."""
        counts = self._counts(weights)
        return divide(counts @ (self.predicted * self.targets), counts @ self.predicted)

    def recall(self, weights: ArrayLike | None = None) -> Floats:
        """Share of the positives that are predicted, TP / (TP + FN); 0 where there are no positives."""
        counts = self._counts(weights)
        return divide(counts @ (self.predicted * self.targets), counts @ self.targets)

    def f1(self, weights: ArrayLike | None = None) -> Floats:
        """Harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN); 0 where nothing is positive or predicted."""
        counts = self._counts(weights)
        return divide(2 * (counts @ (self.predicted * self.targets)), counts @ (self.predicted + self.targets))

    def f1_micro(self, weights: ArrayLike | None = None) -> Floats:
        """Compute F1 over all labels' decisions pooled, shape (...)."""
        counts = self._counts(weights)
        num_true = (counts @ (self.predicted * self.targets)).sum(axis=-1)
        return divide(2 * num_true, (counts @ (self.predicted + self.targets)).sum(axis=-1))

    def auroc(self, weights: ArrayLike | None = None) -> Floats:
        """Compute the probability that a positive ranks above a negative, ties counting half; NaN without either."""
        return self._per_draw(self._ranking.auroc, weights)

    def average_precision(self, weights: ArrayLike | None = None) -> Floats:
        """Compute the sum over distinct scores of (rise in recall) x precision; NaN without positives."""
        return self._per_draw(self._ranking.average_precision, weights)

    def _counts(self, weights: ArrayLike | None) -> Floats:
        if weights is None:
            return np.ones(self.num_records)
        counts = np.asarray(weights, dtype=np.float64)
        if counts.ndim == 0 or counts.shape[-1] != self.num_records:
            raise ValueError(f"weights have shape {counts.shape}, expected (..., {self.num_records}): one a record.")
        if not ((counts >= 0) & (counts == np.floor(counts)) & (counts < np.inf)).all():
            raise ValueError("weights must be whole numbers from 0 up: how often each record was drawn.")
        return counts

    def _per_draw(self, metric: Callable[[Floats], Floats], weights: ArrayLike | None) -> Floats:
        counts = self._counts(weights)
        draws = [metric(draw) for draw in counts.reshape(-1, self.num_records)]
        return np.array(draws).reshape(*counts.shape[:-1], self.num_labels)

    @cached_property
    def _ranking(self) -> Ranking:
        return Ranking(self.logits, self.targets)


Aggregate = Callable[[Evaluation, ArrayLike | None], Floats]


def _f1_weighted(evaluation: Evaluation, weights: ArrayLike | None) -> Floats:
    positives = evaluation.num_positives(weights)
    return divide((evaluation.f1(weights) * positives).sum(axis=-1), positives.sum(axis=-1))


def _f1_macro_defined(evaluation: Evaluation, weights: ArrayLike | None) -> Floats:
    undefined = evaluation.num_positives(weights) == 0
    return _mean_defined(np.where(undefined, np.nan, evaluation.f1(weights)))


AGGREGATES: dict[str, Aggregate] = {
    "f1_weighted": _f1_weighted,
    "f1_macro": lambda evaluation, weights: np.mean(evaluation.f1(weights), axis=-1),
    "f1_macro_defined": _f1_macro_defined,
    "f1_micro": lambda evaluation, weights: evaluation.f1_micro(weights),
    "auroc_macro": lambda evaluation, weights: _mean_defined(evaluation.auroc(weights)),
    "ap_macro": lambda evaluation, weights: _mean_defined(evaluation.average_precision(weights)),
}
"""Name -> function of an `Evaluation` and weights (..., N) or None, which returns (...).

- `f1_weighted`: sum of F1 x positives over the sum of positives, the paper's score; 0 without any positives.
- `f1_macro`: mean F1 of all labels, those without positives among them (their F1 is 0).
- `f1_macro_defined`: mean F1 of the labels with positives; NaN if there are none.
- `f1_micro`: F1 of all decisions pooled.
- `auroc_macro`: mean AUROC of the labels with positives and negatives; NaN if there are none.
- `ap_macro`: mean average precision of the labels with positives; NaN if there are none.

The first, second and fourth are scikit-learn's `f1_score(..., zero_division=0)` of that average.
"""


def aggregate(
    name: str,
    logits: ArrayLike,
    targets: ArrayLike,
    thresholds: float | ArrayLike = 0.5,
    *,
    weights: ArrayLike | None = None,
) -> Floats:
    """Compute one of `AGGREGATES` and nothing else.

    For many draws over the same logits, keep an `Evaluation` and call `AGGREGATES[name]` with it.

    Returns:
        (...) for weights (..., N); a scalar without weights.

    Raises:
        ValueError: No such aggregate, or what `Evaluation` raises.

    Example:
        >>> round(float(aggregate("f1_micro", [[1.0], [1.0], [-1.0]], [[1], [0], [0]])), 4)
        0.6667
    """
    if name not in AGGREGATES:
        raise ValueError(f"no aggregate is called {name!r}; there are {', '.join(AGGREGATES)}.")
    return AGGREGATES[name](Evaluation(logits, targets, thresholds), weights)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """All numbers of one evaluation. Arrays have one entry a label, in the order of `label_names`."""

    label_names: tuple[str, ...]
    num_records: int
    num_defined: int
    """Labels with both positives and negatives, over which `auroc_macro` is the mean."""
    num_with_positives: int
    """Labels with positives, over which `ap_macro` and `f1_macro_defined` are means."""
    f1_weighted: float
    f1_macro: float
    f1_macro_defined: float
    f1_micro: float
    auroc_macro: float
    ap_macro: float
    thresholds: Floats
    num_positives: NDArray[np.int64]
    precision: Floats
    recall: Floats
    f1: Floats
    auroc: Floats
    average_precision: Floats

    def as_dict(self) -> dict[str, Any]:
        """Turn into plain values for JSON: per-label numbers under `per_class`, NaN as None."""
        plain = {name: _plain(getattr(self, name)) for name in (*_COUNTS, *AGGREGATES)}
        rows = zip(*(getattr(self, name).tolist() for name in _PER_CLASS), strict=True)
        per_class = [{name: _plain(value) for name, value in zip(_PER_CLASS, row, strict=True)} for row in rows]
        return {**plain, "per_class": dict(zip(self.label_names, per_class, strict=True))}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Undo `as_dict`.

        Raises:
            KeyError: A number is missing.
        """
        rows = values["per_class"].values()
        arrays: dict[str, Any] = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in _PER_CLASS}
        arrays["num_positives"] = arrays["num_positives"].astype(np.int64)
        counts: dict[str, Any] = {name: int(values[name]) for name in _COUNTS}
        means: dict[str, Any] = {name: np.nan if values[name] is None else float(values[name]) for name in AGGREGATES}
        return cls(label_names=tuple(values["per_class"]), **counts, **means, **arrays)


_COUNTS = ("num_records", "num_defined", "num_with_positives")
_PER_CLASS = ("num_positives", "thresholds", "precision", "recall", "f1", "auroc", "average_precision")


def score(
    logits: ArrayLike, targets: ArrayLike, label_names: str | Sequence[str], thresholds: float | ArrayLike = 0.5
) -> Scores:
    """Compute everything.

    Args:
        logits: (N, L).
        targets: (N, L), zeros and ones.
        label_names: L different names, in column order; of a single label its name alone will do.
        thresholds: As `Evaluation` takes them.

    Raises:
        ValueError: Names that are not L different ones, or what `Evaluation` raises.

    Example:
        >>> score([[1.0], [-1.0]], [[1], [0]], ["AF"]).as_dict()["per_class"]["AF"]["f1"]
        1.0
    """
    names = (label_names,) if isinstance(label_names, str) else tuple(label_names)
    evaluation = Evaluation(logits, targets, thresholds)
    if len(set(names)) != len(names) or len(names) != evaluation.num_labels:
        raise ValueError(f"label names are {list(names)}, expected {evaluation.num_labels} different ones.")
    auroc = evaluation.auroc()
    aggregates: dict[str, Any] = {name: float(function(evaluation, None)) for name, function in AGGREGATES.items()}
    positives = evaluation.num_positives().astype(np.int64)
    return Scores(
        label_names=names,
        num_records=evaluation.num_records,
        num_defined=int(np.isfinite(auroc).sum()),
        num_with_positives=int((positives > 0).sum()),
        thresholds=evaluation.thresholds,
        num_positives=positives,
        precision=evaluation.precision(),
        recall=evaluation.recall(),
        f1=evaluation.f1(),
        auroc=auroc,
        average_precision=evaluation.average_precision(),
        **aggregates,
    )


def tune_thresholds(logits: ArrayLike, targets: ArrayLike) -> Floats:
    """Find for each label the threshold that maximises its F1. For validation sets; on a test set it is cheating.

    Candidates are the midpoints between neighbours among 0 and the distinct probabilities, sorted. Among equally good
    ones the nearest to 0.5 is taken, and of two equally near the lower. A label without positives gets 0.5.

    Args:
        logits: (N, L).
        targets: (N, L), zeros and ones.

    Returns:
        (L,), to be passed on as `thresholds`.

    Raises:
        ValueError: As `Evaluation`.

    Example:
        >>> tune_thresholds([[-1.0], [-2.0], [-3.0]], [[1], [1], [0]]).round(4).tolist()
        [0.0833]
    """
    evaluation = Evaluation(logits, targets)
    columns = zip(_probabilities(evaluation.logits).T, evaluation.targets.T, strict=True)
    return np.array([_best_threshold(probability, target) for probability, target in columns])


def _best_threshold(probability: Floats, target: Floats) -> float:
    if not target.any():
        return 0.5
    distinct, inverse = np.unique(probability, return_inverse=True)
    lower = np.concatenate([[0.0], distinct[:-1]])
    middle = (lower + distinct) / 2
    # Between two neighbouring floats there is no middle: it rounds to one of them, and must not be the upper.
    candidates = np.where(middle < distinct, middle, lower)
    num_predicted = np.cumsum(np.bincount(inverse)[::-1])[::-1]
    num_true = np.cumsum(np.bincount(inverse, weights=target)[::-1])[::-1]
    f1 = 2 * num_true / (num_predicted + target.sum())
    f1[distinct == 0] = 0  # a probability of 0 is above no threshold
    best = candidates[f1 == f1.max()]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _probabilities(logits: Floats) -> Floats:
    from scipy.special import expit  # a quarter of a second to import: who looks at saved scores needs none of it

    probabilities: Floats = expit(logits)
    return probabilities


def _check(logits: Floats, targets: Floats) -> None:
    if logits.ndim != 2 or 0 in logits.shape or logits.shape != targets.shape:
        raise ValueError(
            f"logits have shape {logits.shape} and targets {targets.shape}, expected both (records, labels), not empty."
        )
    bad = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if bad.size:
        shown = ", ".join(map(str, bad[:10])) + (", ..." if bad.size > 10 else "")
        raise ValueError(
            f"logits are NaN or infinite in {bad.size} of {len(logits)} rows: {shown}; the model diverged."
        )
    if not ((targets == 0) | (targets == 1)).all():
        raise ValueError("targets hold values other than 0 and 1; pass multi-hot labels.")


def _mean_defined(values: Floats) -> Floats:
    """Mean over the last dimension without its NaNs; NaN where nothing is left."""
    defined = np.isfinite(values)
    return divide(np.where(defined, values, 0).sum(axis=-1), defined.sum(axis=-1), empty=np.nan)


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
