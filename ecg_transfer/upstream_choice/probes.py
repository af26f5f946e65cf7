"""Quick classifiers on a frozen model's embeddings: logistic regression, and nearest neighbours.

Shape legend: `N` training records, `M` records to be judged, `F` features, `L` labels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

Floats = NDArray[np.float64]

MAX_ITERATIONS = 1000
"""Of L-BFGS; a probe on 512 features takes some dozens."""

NUM_NEIGHBOURS = 10
"""Of the nearest-neighbour probe."""

CERTAIN = 30.0
"""Size of the logit where all training records agree on a label."""

CHUNK = 1024
"""Records whose similarities are held at a time."""


def linear_probe(features: ArrayLike, targets: ArrayLike, judged: ArrayLike, *, strength: float = 1.0) -> Floats:
    """Logits of one logistic regression a label, on standardised features.

    Each minimises |w|^2 / (2 strength) + sum of the log losses, the intercept free: scikit-learn's
    `LogisticRegression(C=strength)` after its `StandardScaler`. All labels are solved at once by L-BFGS.

    Args:
        features: Training embeddings, (N, F).
        targets: (N, L), zeros and ones. A label that all records agree on gets a logit of +-30.
        judged: Embeddings to be judged, (M, F).
        strength: The inverse of the penalty.

    Returns:
        (M, L).
    """
    x, y = np.asarray(features, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    rounding = len(x) * np.finfo(np.float64).eps * np.abs(mean)  # all that a constant feature deviates by
    deviation = np.where(deviation > rounding, deviation, 1.0)
    x, new = (x - mean) / deviation, (np.asarray(judged, dtype=np.float64) - mean) / deviation
    positives = y.sum(axis=0)
    decided = (positives > 0) & (positives < len(y))
    logits = np.where(positives > 0, CERTAIN, -CERTAIN) * np.ones((len(new), 1))
    if decided.any():
        weights, intercepts = _fit(x, y[:, decided], strength)
        logits[:, decided] = new @ weights + intercepts
    return logits


def _fit(x: Floats, y: Floats, strength: float) -> tuple[Floats, Floats]:
    """Weights (F, L) and intercepts (L,) of standardised features."""
    num_features, num_labels = x.shape[1], y.shape[1]

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        table = flat.reshape(num_features + 1, num_labels)
        weights, raw = table[:-1], x @ table[:-1] + table[-1]
        value = (np.logaddexp(0, raw) - y * raw).sum() + (weights**2).sum() / (2 * strength)
        error = expit(raw) - y
        return float(value), np.vstack([x.T @ error + weights / strength, error.sum(axis=0)]).ravel()

    share = y.mean(axis=0)
    start = np.vstack([np.zeros((num_features, num_labels)), logit(share)]).ravel()
    found = minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS, "maxfun": 2 * MAX_ITERATIONS, "gtol": 1e-4, "ftol": 1e-10},
    )
    table = found.x.reshape(-1, num_labels)
    return table[:-1], table[-1]


def neighbour_probe(
    features: ArrayLike, targets: ArrayLike, judged: ArrayLike, *, num_neighbours: int = NUM_NEIGHBOURS
) -> Floats:
    """Logits of the share of positives among the nearest training records, by cosine similarity.

    Args:
        features: Training embeddings, (N, F).
        targets: (N, L).
        judged: Embeddings to be judged, (M, F).
        num_neighbours: Of each; all of them where there are fewer.

    Returns:
        (M, L); +-30 where all neighbours agree, 0 where they are divided evenly.
    """
    known, y = _unit(features), np.asarray(targets, dtype=np.float64)
    new = _unit(judged)
    k = min(num_neighbours, len(known))
    shares = []
    for start in range(0, len(new), CHUNK):
        similarity = new[start : start + CHUNK] @ known.T
        nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
        shares.append(y[nearest].mean(axis=1))
    return np.clip(logit(np.concatenate(shares)), -CERTAIN, CERTAIN)


def _unit(features: ArrayLike) -> Floats:
    """Rows of length 1; zeros stay zeros."""
    x = np.asarray(features, dtype=np.float64)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1.0))
