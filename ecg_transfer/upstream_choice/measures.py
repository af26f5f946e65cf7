"""MELEP, LEEP and LogME: how well a pre-trained model's outputs or features explain labels that it was not trained for.

Shape legend: `N` downstream records, `L` downstream labels, `Z` upstream labels, `F` features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit

from ecg_transfer.ranking import divide

Floats = NDArray[np.float64]

LOG_RATIOS = (-30.0, 30.0)
"""Between which LogME looks for the logarithm of alpha / beta, relative to the features' mean square."""

GRID = 61
"""Values of that logarithm that are tried before the best one is refined: the evidence can have two maxima."""


def melep(logits: ArrayLike, targets: ArrayLike) -> float:
    """Multi-label expected log of empirical predictions; at least 0, lower is better.

    Nguyen, Duong and Do 2023, arXiv 2311.04224. Every upstream label z is a binary variable of its own, with the
    head's sigmoid as its probability, and is paired with every downstream label y:

        P(y, z) = 1/N sum_i [y_i = y] theta_i(z),  P(y | z) = P(y, z) / P(z)
        phi(y, z) = -1/N sum_i log( P(y_i | z=0) theta_i(z=0) + P(y_i | z=1) theta_i(z=1) )
        MELEP = sum_y w_y mean_z phi(y, z),  w_y the share of y among all positives.

    So it is the log loss of the best guess from one output at a time. It grows with how undecided labels are in the
    downstream corpus: compare upstreams on one downstream, not downstreams with each other.

    Args:
        logits: Of the upstream's head, (N, Z).
        targets: Downstream labels, (N, L), zeros and ones; a label without positives has no weight.

    Raises:
        ValueError: Shapes that do not fit, or no positives at all.

    Example:
        >>> round(melep([[0.0], [0.0]], [[1], [0]]), 4)  # an output that knows nothing: log 2
        0.6931
    """
    outputs, labels = _checked(logits, targets)
    probability = expit(outputs)
    losses = [np.mean(_binary_losses(probability, label)) for label in labels.T]
    positives = labels.sum(axis=0)
    return float(np.asarray(losses) @ positives / positives.sum())


def _binary_losses(probability: Floats, label: Floats) -> Floats:
    """The mean log loss (Z,) of one label when it is guessed from each binary output (N, Z)."""
    joint = label @ probability / len(label)  # P(y=1, z=1)
    when_on = divide(joint, probability.mean(axis=0))
    when_off = divide(label.mean() - joint, 1 - probability.mean(axis=0))
    guess = when_on * probability + when_off * (1 - probability)
    return np.asarray(-np.log(np.where(label[:, None] == 1, guess, 1 - guess)).mean(axis=0))


def leep(logits: ArrayLike, targets: ArrayLike) -> float:
    """Log expected empirical prediction, one-vs-rest, the mean over labels; at most 0, higher is better.

    Nguyen, Hassner, Seeger and Archambeau 2020, arXiv 2002.12462: with a distribution theta_i over the upstream's
    labels for each record,

        P(y, z) = 1/N sum_i [y_i = y] theta_i(z),  LEEP = 1/N sum_i log sum_z P(y_i | z) theta_i(z).

    LEEP wants one distribution where a multi-label head gives Z sigmoids p. Here theta is proportional to p_z for
    each label and to the product of all (1 - p_z) for "none of them", which for one upstream label is exactly
    (p, 1 - p): then LEEP is minus MELEP of that pair.

    Args:
        logits: Of the upstream's head, (N, Z).
        targets: Downstream labels, (N, L); those without positives or without negatives are left out.

    Raises:
        ValueError: Shapes that do not fit, or no label with positives and negatives.

    Example:
        >>> round(leep([[0.0], [0.0]], [[1], [0]]), 4)
        -0.6931
    """
    outputs, labels = _checked(logits, targets)
    probability = expit(outputs)
    dummy = np.column_stack([probability, expit(-outputs).prod(axis=1)])
    dummy /= dummy.sum(axis=1, keepdims=True)
    columns = labels[:, is_decided(labels)]
    joint = columns.T @ dummy
    conditional = divide(joint, np.broadcast_to(dummy.sum(axis=0), joint.shape))  # P(y=1 | z), (L, Z + 1)
    guess = dummy @ conditional.T
    return float(np.log(np.where(columns == 1, guess, 1 - guess)).mean())


def logme(features: ArrayLike, targets: ArrayLike) -> float:
    """Log maximum evidence per record, the mean over labels; higher is better.

    You, Liu, Wang and Long 2021, arXiv 2102.11005: a label y in {0, 1} is regressed on the features X with weights
    drawn from N(0, 1/alpha) and noise N(0, 1/beta); LogME is log p(y | X, alpha, beta) / N at its maximum over both.
    With y's parts z_i = (u_i . y)^2 along the left singular vectors of X, singular values s_i and
    lambda = alpha / beta, the best beta is N / E and only lambda is left to search:

        E = |y|^2 - sum_i z_i + sum_i z_i lambda / (s_i^2 + lambda)
        2 log p = N log(N / (2 pi e E)) + sum_i log( lambda / (s_i^2 + lambda) )

    That one-dimensional search (a grid, then Brent's method) stands in for the paper's fixed-point iteration and
    finds the same maximum.

    Args:
        features: Embeddings, (N, F).
        targets: Downstream labels, (N, L); those without positives or without negatives are left out.

    Raises:
        ValueError: Shapes that do not fit, or no label with positives and negatives.

    Example:
        >>> round(logme([[1.0], [1.0]], [[1], [0]]), 4)  # a feature that knows nothing: -(log pi + 1) / 2
        -1.0724
    """
    inputs, labels = _checked(features, targets)
    columns = labels[:, is_decided(labels)]
    squares, parts = _spectrum(inputs, columns)
    energy = (columns**2).sum(axis=0)
    found = [_evidence(squares, part, total, len(inputs)) for part, total in zip(parts.T, energy, strict=True)]
    return float(np.mean(found) / len(inputs))


def is_decided(targets: Floats) -> NDArray[np.bool_]:
    """Which labels have positives and negatives, (L,).

    Raises:
        ValueError: None has.
    """
    positives = targets.sum(axis=0)
    decided: NDArray[np.bool_] = (positives > 0) & (positives < len(targets))
    if not decided.any():
        raise ValueError(f"none of {targets.shape[1]} labels has both positives and negatives: take more records")
    return decided


def _spectrum(features: Floats, labels: Floats) -> tuple[Floats, Floats]:
    """Squared singular values (R,), and each label's squared parts (R, L) along the left singular vectors."""
    tall = len(features) >= features.shape[1]
    gram = features.T @ features if tall else features @ features.T
    squares, vectors = np.linalg.eigh(gram)
    kept = squares > squares[-1] * max(features.shape) * np.finfo(np.float64).eps
    squares, vectors = squares[kept], vectors[:, kept]
    along = (vectors.T @ (features.T @ labels)) / np.sqrt(squares)[:, None] if tall else vectors.T @ labels
    return squares, along**2


def _evidence(squares: Floats, parts: Floats, total: float, num_records: int) -> float:
    """The largest log evidence of one label."""
    scale = squares.mean() if len(squares) else 1.0
    rest = max(total - parts.sum(), 0.0)

    def loss(log_ratio: float) -> float:
        ratio = scale * np.exp(log_ratio)
        shrunk = ratio / (squares + ratio)
        energy = max(rest + parts @ shrunk, np.finfo(np.float64).tiny)
        fit = num_records * np.log(num_records / (2 * np.pi * np.e * energy))
        return float(-(fit + np.log(shrunk).sum()) / 2)

    grid = np.linspace(*LOG_RATIOS, GRID)
    best = int(np.argmin([loss(ratio) for ratio in grid]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, GRID - 1)]
    refined = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-8})
    return -min(float(refined.fun), loss(float(grid[best])))


def _checked(values: ArrayLike, targets: ArrayLike) -> tuple[Floats, Floats]:
    inputs, labels = np.asarray(values, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if inputs.ndim != 2 or labels.ndim != 2 or len(inputs) != len(labels) or 0 in (*inputs.shape, *labels.shape):
        raise ValueError(
            f"outputs have shape {inputs.shape} and targets {labels.shape}, expected (records, ...) of both, not empty"
        )
    if not np.isfinite(inputs).all():
        raise ValueError("the model's outputs are NaN or infinite for some records: it diverged")
    if not labels.any():
        raise ValueError(f"none of {labels.shape[1]} labels has a positive among {len(labels)} records")
    return inputs, labels
