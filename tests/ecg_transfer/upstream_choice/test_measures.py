from __future__ import annotations

from math import log, pi

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logit
from scipy.stats import multivariate_normal

from ecg_transfer.upstream_choice.measures import leep, logme, melep

RNG = np.random.default_rng(0)
TWO_OUTPUTS = logit([[0.8, 0.5], [0.2, 0.5], [0.8, 0.5], [0.2, 0.5]])
"""Of two upstream labels: the first is nearly right about the label below, the second knows nothing."""
ONE_LABEL = [[1], [0], [1], [1]]


def melep_by_definition(probability: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """The paper's formula with a loop for each of its sums."""
    num_records, num_labels = targets.shape
    losses = []
    for y in range(num_labels):
        pairs = []
        for z in range(probability.shape[1]):
            theta = np.column_stack([1 - probability[:, z], probability[:, z]])
            joint = np.zeros((2, 2))
            for i in range(num_records):
                joint[targets[i, y]] += theta[i] / num_records
            conditional = joint / joint.sum(axis=0)
            pairs.append(-np.mean([log(conditional[targets[i, y]] @ theta[i]) for i in range(num_records)]))
        losses.append(np.mean(pairs))
    return float(np.average(losses, weights=targets.sum(axis=0)))


def test_melep_of_a_case_worked_out_by_hand() -> None:
    # Output 1: P(y=1, z=1) = (.8 + .8 + .2) / 4 = .45, P(z=1) = .5, so P(1 | z=1) = .9, and P(1 | z=0) = .3 / .5 = .6.
    # The guesses of y = 1 are .9 * .8 + .6 * .2 = .84 and .9 * .2 + .6 * .8 = .66. Output 2 always guesses 3 / 4.
    first = -(2 * log(0.84) + log(0.66) + log(1 - 0.66)) / 4
    second = -(3 * log(0.75) + log(0.25)) / 4
    assert melep(TWO_OUTPUTS, ONE_LABEL) == pytest.approx((first + second) / 2, abs=1e-12)


def test_melep_is_the_papers_formula_and_weighs_labels_by_their_positives() -> None:
    logits = RNG.normal(size=(40, 3))
    targets = (RNG.random((40, 4)) < [0.5, 0.2, 0.05, 0.8]).astype(np.int64)
    targets[0] = 1
    probability = 1 / (1 + np.exp(-logits))
    assert melep(logits, targets) == pytest.approx(melep_by_definition(probability, targets), abs=1e-12)


def test_melep_ignores_a_label_without_positives_and_survives_saturated_outputs() -> None:
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    logits = np.array([[800.0], [-800.0], [800.0]])
    assert melep(logits, targets) == pytest.approx(0.0, abs=1e-12)
    assert leep(logits, targets) == pytest.approx(0.0, abs=1e-12)


def test_leep_of_a_case_worked_out_by_hand() -> None:
    # Sigmoids (.5, .5) and (.8, .5): the weights of z1, z2, neither are .5, .5, .25 and .8, .5, .1.
    logits = logit([[0.5, 0.5], [0.8, 0.5]])
    dummy = np.array([[0.4, 0.4, 0.2], [4 / 7, 2.5 / 7, 0.5 / 7]])
    conditional = dummy[0] / dummy.sum(axis=0)  # only the first record is positive
    guesses = dummy @ conditional
    expected = (log(guesses[0]) + log(1 - guesses[1])) / 2
    assert leep(logits, [[1], [0]]) == pytest.approx(expected, abs=1e-12)


def test_leep_and_melep_agree_where_there_is_one_label_on_either_side() -> None:
    logits, targets = RNG.normal(size=(30, 1)), RNG.integers(0, 2, size=(30, 1))
    assert leep(logits, targets) == pytest.approx(-melep(logits, targets), abs=1e-12)


def test_leep_is_the_mean_over_decided_labels() -> None:
    logits, targets = RNG.normal(size=(30, 3)), RNG.integers(0, 2, size=(30, 2))
    undecided = np.column_stack([targets, np.ones(30), np.zeros(30)])
    alone = [leep(logits, targets[:, [label]]) for label in range(2)]
    assert leep(logits, undecided) == pytest.approx(np.mean(alone), abs=1e-12)


def evidence_by_brute_force(features: NDArray[np.float64], label: NDArray[np.float64]) -> float:
    """The largest marginal likelihood a record, from the dense covariance of the records."""
    num_records = len(features)

    def loss(logs: NDArray[np.float64]) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(num_records) / beta + features @ features.T / alpha
        return -float(multivariate_normal(cov=covariance).logpdf(label))

    starts = [(a, b) for a in (-4.0, 0.0, 4.0) for b in (-1.0, 2.0)]
    found = [minimize(loss, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11}) for start in starts]
    return -min(result.fun for result in found) / num_records


@pytest.mark.parametrize(("num_records", "num_features"), [(40, 5), (12, 12), (10, 30)])
def test_logme_is_the_largest_marginal_likelihood(num_records: int, num_features: int) -> None:
    features = RNG.normal(size=(num_records, num_features)) * RNG.uniform(0.1, 3, num_features)
    label = (features[:, 0] + RNG.normal(size=num_records) > 0).astype(np.float64)
    label[:2] = 0, 1
    expected = evidence_by_brute_force(features, label)
    assert logme(features, label[:, None]) == pytest.approx(expected, abs=1e-6)


def test_logme_of_features_that_say_nothing_is_that_of_noise_alone() -> None:
    assert logme(np.ones((2, 1)), [[1], [0]]) == pytest.approx(-(log(pi) + 1) / 2, abs=1e-9)
    # with zeros for features only the noise is left: y ~ N(0, 3 / 4), the mean square of the labels
    assert logme(np.zeros((4, 2)), ONE_LABEL) == pytest.approx(-(log(2 * pi * 0.75) + 1) / 2, abs=1e-9)


def test_logme_is_the_mean_over_decided_labels_and_prefers_features_that_help() -> None:
    targets = RNG.integers(0, 2, size=(60, 2))
    helpful = targets @ RNG.normal(size=(2, 4)) + 0.1 * RNG.normal(size=(60, 4))
    alone = [logme(helpful, targets[:, [label]]) for label in range(2)]
    assert logme(helpful, np.column_stack([targets, np.ones(60)])) == pytest.approx(np.mean(alone), abs=1e-9)
    assert logme(helpful, targets) > logme(RNG.normal(size=(60, 4)), targets) + 0.5


@pytest.mark.parametrize("measure", [melep, leep, logme])
def test_what_cannot_be_scored_is_refused(measure) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    with pytest.raises(ValueError, match="positive"):
        measure([[0.0], [1.0]], [[0], [0]])
    with pytest.raises(ValueError, match="expected"):
        measure([[0.0], [1.0]], [[0]])
    with pytest.raises(ValueError, match="diverged"):
        measure([[0.0], [np.nan]], [[0], [1]])
