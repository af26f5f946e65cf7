"""Two-level bootstrap: test patients are drawn as whole clusters, then weights of seeds; all arms see the same draws.

Shape legend: `B` draws, `N` test records, `L` labels, `R` runs, `S` seeds (units of a cell).

Sources: Davison & Hinkley 1997, section 3.8 (clusters drawn whole); Owen 2007, doi 10.1214/07-AOAS122 (two crossed
factors, drawn independently, are never too optimistic); Rubin 1981, doi 10.1214/aos/1176345338 (exponential weights);
Hesterberg 2015, doi 10.1080/00031305.2015.1089789 (why percentile intervals of few values are too narrow).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from ecg_transfer.metrics import AGGREGATES, Evaluation
from ecg_transfer.ranking import divide

Floats = NDArray[np.float64]

NUM_DRAWS = 2000
"""Draws by default: enough for 95 % limits; 10,000 for a headline."""

LEVEL = 0.95
"""Of every interval."""

MAX_REDRAWS = 25
"""Rounds in which draws that miss all positives of a label are drawn again; what is left then is kept and counted."""

F1_METRICS = ("f1_weighted", "f1_macro", "f1_micro")
"""Metrics that follow from counts, for which all draws are one matrix product."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PatientDraws:
    """How often each test record occurs in each draw of patients."""

    weights: NDArray[np.float32]
    """(B, N); float32 is exact for such counts and twice as fast."""
    num_groups: int
    """Patients."""
    redrawn: float
    """Share of all draws that were thrown away because a label had lost its last positive."""
    undefined: float
    """Share of the draws kept in which a label has no positive all the same."""


def draw_patients(
    groups: NDArray[np.int64], targets: NDArray[np.uint8], *, num_draws: int = NUM_DRAWS, seed: int = 0
) -> PatientDraws:
    """Draw test patients with replacement, all records of a patient together.

    A draw in which a label that the test set has loses its last positive is drawn again, `MAX_REDRAWS` times: there its
    score would be undefined. The same test set and seed give the same draws, so that all cells on a corpus share them.

    Args:
        groups: Patient of each record, (N,).
        targets: Multi-hot, (N, L).
        num_draws: B.
        seed: Of the draws.
    """
    groups, targets = np.ascontiguousarray(groups, np.int64), np.ascontiguousarray(targets, np.uint8)
    return _draw_patients(groups.tobytes(), targets.tobytes(), targets.shape, num_draws, seed)


@lru_cache(maxsize=4)
def _draw_patients(groups: bytes, targets: bytes, shape: tuple[int, int], num_draws: int, seed: int) -> PatientDraws:
    rng = np.random.default_rng(seed)
    _, patient = np.unique(np.frombuffer(groups, np.int64), return_inverse=True)
    labels = np.frombuffer(targets, np.uint8).reshape(shape).astype(np.float32)
    labels = labels[:, labels.any(axis=0)]
    num_groups = int(patient.max()) + 1
    weights = np.empty((num_draws, shape[0]), dtype=np.float32)
    missing, num_drawn = np.arange(num_draws), 0
    for _ in range(1 + MAX_REDRAWS):
        chosen = rng.integers(num_groups, size=(len(missing), num_groups))
        chosen += num_groups * np.arange(len(missing))[:, None]
        counts = np.bincount(chosen.ravel(), minlength=len(missing) * num_groups).reshape(-1, num_groups)
        weights[missing] = counts[:, patient]
        num_drawn += len(missing)
        missing = missing[~(weights[missing] @ labels > 0).all(axis=1)]
        if not len(missing):
            break
    weights.setflags(write=False)  # it is shared through the cache
    return PatientDraws(
        weights=weights,
        num_groups=num_groups,
        redrawn=1 - num_draws / num_drawn,
        undefined=len(missing) / num_draws,
    )


def score_draws(
    metric: str,
    logits: Sequence[NDArray[np.floating]],
    targets: NDArray[np.uint8],
    thresholds: Sequence[Floats | float],
    weights: NDArray[np.float32],
) -> Floats:
    """A metric of several runs on one test set under every draw.

    Args:
        metric: A key of `ecg_transfer.metrics.AGGREGATES`.
        logits: R arrays (N, L).
        targets: (N, L).
        thresholds: R of them; each one for all labels, or (L,).
        weights: (B, N).

    Returns:
        (B, R): equal to `AGGREGATES[metric](Evaluation(...), weights)` of each run.
    """
    if metric not in F1_METRICS:
        runs = zip(logits, thresholds, strict=True)
        return np.stack([AGGREGATES[metric](Evaluation(run, targets, limit), weights) for run, limit in runs], axis=-1)
    num_draws, num_runs, num_labels = len(weights), len(logits), targets.shape[1]
    # in float64, as thresholds are chosen and scored: float32 probabilities of sure decisions are equal
    runs = zip((run.astype(np.float64) for run in logits), thresholds, strict=True)
    predicted = np.stack([expit(run) > limit for run, limit in runs], axis=1)
    positive = targets.astype(np.float32)
    true = (predicted * positive[:, None]).reshape(len(positive), -1)
    counts = weights @ np.concatenate([true, predicted.reshape(len(positive), -1), positive], axis=1)
    tp, called = counts[:, : 2 * num_runs * num_labels].reshape(num_draws, 2, num_runs, num_labels).swapaxes(0, 1)
    positives = counts[:, None, 2 * num_runs * num_labels :].astype(np.float64)
    if metric == "f1_micro":
        return divide(2.0 * tp.sum(axis=-1), called.sum(axis=-1) + positives.sum(axis=-1))
    f1 = divide(2.0 * tp, called + positives)
    if metric == "f1_macro":
        return np.asarray(f1.mean(axis=-1))
    total = np.broadcast_to(positives.sum(axis=-1), f1.shape[:-1])
    return divide((f1 * positives).sum(axis=-1), total)


def mean_over_seeds(
    values: Floats,
    units: Sequence[tuple[int, ...]] | None = None,
    *,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> Floats:
    """Draw how much each seed counts and average over them, on top of draws of patients where there are some.

    A seed's weight is exponential, drawn by its identity (Rubin 1981): it counts the same in every cell that has it,
    whichever others that cell lacks, so that arms and cells stay paired and what they share is counted once. The mean
    strays too little from that of all seeds, and its tails are the normal distribution's, not Student's t. Its
    deviation is widened by `widening(S)`, so that an interval over seeds alone is as wide as the t interval. A single
    seed has no deviation: the draws then tell of patients alone.

    Args:
        values: (S,), or (B, S) under each draw of patients.
        units: What makes each seed itself, whole numbers from 0; its place where None.
        num_draws: B.
        seed: Of the draws.

    Returns:
        (B,).
    """
    by_draw = np.broadcast_to(values, (num_draws, values.shape[-1]))
    num_seeds = by_draw.shape[1]
    if num_seeds == 1:
        return np.asarray(by_draw[:, 0])
    keys = [(place,) for place in range(num_seeds)] if units is None else units
    weights = np.stack([_weights_of(tuple(map(int, key)), num_draws, seed) for key in keys], axis=1)
    centre = by_draw.mean(axis=1)
    drawn = (weights * by_draw).sum(axis=1) / weights.sum(axis=1)
    return np.asarray(centre + widening(num_seeds) * (drawn - centre))


@lru_cache(maxsize=1024)
def _weights_of(unit: tuple[int, ...], num_draws: int, seed: int) -> Floats:
    """How much one seed counts in each draw, (B,), mean 1."""
    weights = np.random.default_rng([seed, *unit]).standard_exponential(num_draws)
    weights.setflags(write=False)
    return weights


def widening(num_seeds: int) -> float:
    """By how much a percentile interval over so few values is too narrow: sqrt((S + 1) / (S - 1)) * t / z, at 95 %.

    Example:
        >>> round(widening(6), 2)
        1.55
    """
    return float(np.sqrt((num_seeds + 1) / (num_seeds - 1)) * student_over_normal(num_seeds)) if num_seeds > 1 else 1.0


def student_over_normal(num_values: int) -> float:
    """How much wider the t interval of a mean of so few values is than the normal one, at 95 %."""
    tail = (1 + LEVEL) / 2
    return float(stats.t.ppf(tail, num_values - 1) / stats.norm.ppf(tail))


def interval(draws: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of draws; those that are NaN are left out, infinite ones are limits like others.

    Args:
        draws: (B,).
        level: Share of the draws inside.
    """
    defined = draws[~np.isnan(draws)]
    if not len(defined):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(low), float(high)


def interval_about(estimate: float, draws: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of a score between 0 and 1, moved by twice the bias of its draws; it holds the estimate.

    The draws stand to the estimate as the estimate to what it estimates (Efron & Tibshirani 1993, section 10.6): where
    they lie above it, it lies too high itself. Average precision does, of few positives: a record that is drawn twice
    ranks twice at once. F1 and AUROC hardly do.

    Args:
        estimate: Of the test set as it is.
        draws: (B,).
        level: Share of the draws inside.
    """
    low, high = interval(draws, level)
    if not np.isfinite(estimate) or not np.isfinite(low):
        return low, high
    shift = 2 * (estimate - float(np.nanmean(draws)))
    return max(min(low + shift, estimate), 0.0), min(max(high + shift, estimate), 1.0)
