from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecg_transfer.upstream_choice.probes import linear_probe, neighbour_probe

RNG = np.random.default_rng(1)
X, NEW = RNG.normal(size=(80, 6)) * [1, 10, 0.1, 1, 1, 0] + 3, RNG.normal(size=(25, 6))
Y = np.column_stack([X[:, 0] + RNG.normal(size=80) > 3, RNG.random(80) < 0.1, X[:, 1] > 3]).astype(np.uint8)


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_the_linear_probe_is_scikit_learns_logistic_regression(strength: float) -> None:
    logits = linear_probe(X, Y, NEW, strength=strength)
    for label in range(Y.shape[1]):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-10, max_iter=10_000))
        expected = model.fit(X, Y[:, label]).decision_function(NEW)
        np.testing.assert_allclose(logits[:, label], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("constant", [0.1, -1e6 / 3, 0.0])
def test_a_feature_that_is_constant_but_for_rounding_is_not_blown_up(constant: float) -> None:
    """The deviation of 80 times 0.1 is 1e-17, not 0: over it, a record that differs in the eighth digit is far off."""
    x, new = X.copy(), NEW.copy()
    x[:, 5], new[:, 5] = constant, constant + 1e-7
    model = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=10_000))
    expected = model.fit(x, Y[:, 0]).decision_function(new)
    np.testing.assert_allclose(linear_probe(x, Y[:, :1], new)[:, 0], expected, rtol=1e-3, atol=1e-3)


def test_a_label_that_all_training_records_agree_on_is_predicted_so() -> None:
    logits = linear_probe(X, np.column_stack([np.ones(80), Y[:, 0], np.zeros(80)]), NEW)
    assert (logits[:, 0] == 30).all()
    assert (logits[:, 2] == -30).all()
    np.testing.assert_allclose(logits[:, 1], linear_probe(X, Y[:, :1], NEW)[:, 0], atol=1e-9)


@pytest.mark.parametrize("num_neighbours", [1, 7, 200])
def test_the_neighbour_probe_is_scikit_learns(num_neighbours: int) -> None:
    found = 1 / (1 + np.exp(-neighbour_probe(X, Y, NEW, num_neighbours=num_neighbours)))
    for label in range(Y.shape[1]):
        model = KNeighborsClassifier(n_neighbors=min(num_neighbours, 80), metric="cosine", algorithm="brute")
        expected = model.fit(X, Y[:, label]).predict_proba(NEW)[:, 1]
        np.testing.assert_allclose(found[:, label], expected, atol=1e-9)
