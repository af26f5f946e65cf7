from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics import average_precision_score

from ecg_transfer.metrics import AGGREGATES, Evaluation, tune_thresholds
from ecg_transfer.study.bootstrap import (
    draw_patients,
    interval,
    interval_about,
    mean_over_seeds,
    score_draws,
    widening,
)


@pytest.mark.parametrize("metric", sorted(AGGREGATES))
def test_draws_of_many_runs_are_the_aggregates_of_each(metric: str) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((50, 4)) < 0.3).astype(np.uint8)
    logits = [rng.normal(size=(50, 4)).astype(np.float32) for _ in range(3)]
    thresholds = [0.5, np.array([0.3, 0.4, 0.5, 0.6]), 0.2]
    weights = rng.poisson(0.3, size=(20, 50)).astype(np.float32)
    found = score_draws(metric, logits, targets, thresholds, weights)
    for row, (run, limit) in enumerate(zip(logits, thresholds, strict=True)):
        reference = AGGREGATES[metric](Evaluation(run, targets, limit), weights)
        np.testing.assert_allclose(found[:, row], reference, rtol=1e-12)


def test_patients_are_drawn_whole_and_as_many_as_there_are() -> None:
    groups = np.array([7, 7, 3, 3, 3, 9])
    drawn = draw_patients(groups, np.ones((6, 1), np.uint8), num_draws=4000)
    first = drawn.weights[:, [0, 2, 5]]
    assert (drawn.weights == first[:, [0, 0, 1, 1, 1, 2]]).all()
    assert (first.sum(axis=1) == 3).all()
    assert drawn.num_groups == 3
    np.testing.assert_allclose(first.mean(axis=0), 1, atol=0.05)
    np.testing.assert_allclose(first.var(axis=0), 2 / 3, atol=0.05)  # binomial, n = 3 and p = 1/3


def test_draws_without_a_labels_positives_are_drawn_again_and_counted() -> None:
    targets = np.zeros((10, 2), np.uint8)
    targets[0, 0] = 1  # one positive of ten: missing in (9/10)^10 = 35 % of draws; the other label has none at all
    drawn = draw_patients(np.arange(10), targets, num_draws=4000)
    assert (drawn.weights[:, 0] > 0).all()
    assert drawn.undefined == 0
    assert drawn.redrawn == pytest.approx(0.9**10, abs=0.02)


def test_draws_that_stay_undefined_are_kept_and_counted() -> None:
    targets = np.eye(12, dtype=np.uint8)  # every patient is a label's only one: 12! / 12^12 of draws have them all
    drawn = draw_patients(np.arange(12), targets, num_draws=50)
    assert drawn.undefined > 0.9
    assert (drawn.weights.sum(axis=1) == 12).all()


def test_the_same_test_set_and_seed_give_the_same_draws() -> None:
    groups, targets = np.arange(20), np.ones((20, 1), np.uint8)
    again = draw_patients(groups.copy(), targets.copy(), num_draws=10, seed=3)
    np.testing.assert_array_equal(draw_patients(groups, targets, num_draws=10, seed=3).weights, again.weights)
    assert (draw_patients(groups, targets, num_draws=10, seed=4).weights != again.weights).any()


def test_draws_of_seeds_stay_paired() -> None:
    values = np.random.default_rng(0).normal(size=6)
    difference = mean_over_seeds(values + 0.1) - mean_over_seeds(values)
    np.testing.assert_allclose(difference, 0.1)


@pytest.mark.parametrize("num_seeds", [6, 10, 20])
def test_an_interval_over_seeds_alone_is_the_t_interval(num_seeds: int) -> None:
    values = np.random.default_rng(5).normal(size=num_seeds)
    low, high = interval(mean_over_seeds(values, num_draws=20_000))
    expected = stats.t.interval(0.95, num_seeds - 1, values.mean(), stats.sem(values))
    assert [low, high] == pytest.approx(expected, rel=0.2)
    assert high - low == pytest.approx(expected[1] - expected[0], rel=0.07)


def test_a_single_seed_leaves_the_patients_draws_alone() -> None:
    by_draw = np.random.default_rng(0).normal(size=(100, 1))
    np.testing.assert_array_equal(mean_over_seeds(by_draw, num_draws=100), by_draw[:, 0])
    assert widening(1) == 1.0


def test_interval_of_infinite_and_undefined_draws() -> None:
    assert interval(np.array([np.inf] * 10 + list(range(90)), dtype=float)) == (2.0, np.inf)
    assert interval(np.array([np.nan, 1.0, np.nan])) == (1.0, 1.0)
    assert np.isnan(interval(np.array([np.nan]))).all()


@pytest.mark.slow
@pytest.mark.parametrize(("patient_sd", "seed_sd"), [(1.0, 0.02), (0.3, 0.3), (0.02, 0.3)])
def test_the_two_level_interval_covers_the_truth_as_often_as_it_says(patient_sd: float, seed_sd: float) -> None:
    # Crossed random effects: each patient and each seed shifts the difference, plus noise of their combination; the
    # estimate's variance is known, patient_sd^2 / N + seed_sd^2 / S + noise^2 / (N S), and the truth is 0.
    num_patients, num_seeds, num_studies, num_draws = 60, 8, 600, 400
    rng = np.random.default_rng(0)
    weights = rng.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=num_draws) / num_patients
    hits = 0
    for study in range(num_studies):
        values = rng.normal(0, patient_sd, (num_patients, 1)) + rng.normal(0, seed_sd, num_seeds)
        values += rng.normal(0, 0.3, values.shape)
        low, high = interval(mean_over_seeds(weights @ values, num_draws=num_draws, seed=study))
        hits += low <= 0 <= high
    assert 0.92 <= hits / num_studies <= 0.98  # 0.95 with a standard error of 0.009; crossed draws err to the safe side


@pytest.mark.slow
@pytest.mark.parametrize("missing", [(), (0, 3, 7)])
def test_what_cells_share_is_counted_once_also_where_each_lacks_another_seed(missing: tuple[int, ...]) -> None:
    """Three upstreams against one training from scratch a seed; the truth is 0."""
    cells = [[seed for seed in range(8) if seed != gap] for gap in (missing or (None, None, None))]
    num_studies, rng, hits = 600, np.random.default_rng(0), 0
    for study in range(num_studies):
        scratch = rng.normal(0, 1, 8)
        drawn = [
            mean_over_seeds(
                rng.normal(0, 0.3, len(seeds)) - scratch[seeds],
                [(seed, 0) for seed in seeds],
                num_draws=400,
                seed=study,
            )
            for seeds in cells
        ]
        low, high = interval(np.mean(drawn, axis=0))
        hits += low <= 0 <= high
    assert 0.92 <= hits / num_studies <= 0.98  # 0.95 with a standard error of 0.009


@pytest.mark.parametrize("metric", ["f1_macro", "f1_weighted", "f1_micro"])
def test_sure_decisions_are_thresholded_as_they_are_scored(metric: str) -> None:
    """In float32 the probabilities of the first two logits are 1, and the threshold between them as well."""
    logits, targets = np.float32([[20], [18], [17.5], [3]]), np.uint8([[1], [0], [0], [0]])
    limit = tune_thresholds(logits, targets)
    assert score_draws(metric, [logits], targets, [limit], np.ones((1, 4), np.float32)) == [[1.0]]


SHARES = np.array([0.14, 0.09, 0.04, 0.24, 0.1, 0.05])
"""Of positives, by label."""


def some_test_set(number: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Logits and targets (number, labels) of a model whose positives lie one deviation higher."""
    targets = np.zeros((number, len(SHARES)), np.uint8)
    while not targets.any(axis=0).all():
        targets = (rng.random(targets.shape) < SHARES).astype(np.uint8)
    return rng.normal(size=targets.shape) + targets, targets


def test_the_interval_of_an_average_precision_holds_what_many_more_records_give() -> None:
    rng = np.random.default_rng(0)
    logits, targets = some_test_set(50_000, rng)
    truth = average_precision_score(targets, logits, average="macro")
    num_sets = 40
    plain = moved = 0
    for seed in range(num_sets):
        logits, targets = some_test_set(80, rng)
        estimate = average_precision_score(targets, logits, average="macro")
        draws = score_draws("ap_macro", [logits], targets, [0.5], draw_patients(
            np.arange(80), targets, num_draws=200, seed=seed
        ).weights)[:, 0]  # fmt: skip
        low, high = interval(draws)
        plain += low <= truth <= high
        low, high = interval_about(estimate, draws)
        assert 0 <= low <= estimate <= high <= 1
        moved += low <= truth <= high
    assert plain < 0.6 * num_sets, "or there is nothing to mend"
    assert moved > 0.75 * num_sets


def test_draws_about_their_estimate_keep_their_interval() -> None:
    draws = np.array([0.3, 0.4, 0.5, 0.6, 0.7, np.nan])
    assert interval_about(0.5, draws, 0.6) == pytest.approx((0.3, 0.6))  # as numpy's inverted_cdf has it
    assert interval_about(0.45, draws, 0.6) == pytest.approx((0.2, 0.5))
    assert interval_about(1.0, np.ones(9)) == (1.0, 1.0)
    assert all(np.isnan(interval_about(float("nan"), np.full(3, np.nan))))
