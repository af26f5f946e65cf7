from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq

from ecg_transfer.study.random_effects import pool


def test_two_effects_worked_out_by_hand() -> None:
    # v = .01: w = 100 each, Q = 100 (.1^2 + .1^2) = 2, tau^2 = (2 - 1) / (200 - 20000 / 200) = .01;
    # w* = 50, SE^2 = max(1, 50 * .02 / 1) / 100 = .01, and t(1) = 12.706.
    pooled = pool([0.1, 0.3], [0.01, 0.01])
    assert pooled.estimate == pytest.approx(0.2)
    assert pooled.between == pytest.approx(0.1)
    assert pooled.high - pooled.estimate == pytest.approx(12.7062 * 0.1, rel=1e-5)
    assert np.isnan(pooled.predicted_low)


def test_effects_that_agree_are_no_narrower_than_their_own_errors_allow() -> None:
    pooled = pool([0.2] * 4, [0.04] * 4)
    assert pooled.between == 0
    assert pooled.high - pooled.low == pytest.approx(2 * stats.t.ppf(0.975, 3) * 0.1)
    assert pooled.predicted_high - pooled.predicted_low == pytest.approx(2 * stats.t.ppf(0.975, 2) * 0.1)


def test_one_corpus_says_nothing_of_another() -> None:
    pooled = pool([0.2], [0.04])
    assert pooled.estimate == 0.2
    assert np.isnan([pooled.low, pooled.between, pooled.predicted_low]).all()


def test_equal_weights_give_the_t_interval_of_the_effects() -> None:
    """With equal variances and spread beyond them, Hartung and Knapp's interval is the plain t interval of the mean."""
    effects = np.array([0.0, 0.3, 0.1, 0.6, -0.2])
    pooled = pool(effects, [0.001] * 5)
    low, high = stats.t.interval(0.95, 4, loc=effects.mean(), scale=stats.sem(effects))
    assert (pooled.low, pooled.high) == pytest.approx((low, high))


def test_the_variance_between_solves_cochrans_equation() -> None:
    """DerSimonian and Laird choose tau^2 so that the expected Q equals the observed one."""
    y, v = np.array([0.1, 0.5, 0.2, 0.9]), np.array([0.01, 0.02, 0.04, 0.03])
    w = 1 / v
    observed = w @ (y - w @ y / w.sum()) ** 2
    tau2 = brentq(lambda t: len(y) - 1 + t * (w.sum() - (w @ w) / w.sum()) - observed, 0, 10)
    assert pool(y, v).between ** 2 == pytest.approx(tau2)


def test_the_prediction_holds_one_more_corpus_nearly_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        truth = rng.normal(0.1, 0.05, size=7)
        pooled = pool(truth[:6] + rng.normal(0, 0.03, 6), [0.03**2] * 6)
        inside.append(pooled.predicted_low < truth[6] < pooled.predicted_high)
    assert np.mean(inside) > 0.9


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        pool([0.1, 0.2], [0.01, 0.0])
    with pytest.raises(ValueError, match="above 0"):
        pool([], [])
