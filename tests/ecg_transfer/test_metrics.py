"""Every number against scikit-learn, and weights against repeated rows."""

from __future__ import annotations

import dataclasses
import doctest
import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

import ecg_transfer.metrics
from ecg_transfer.metrics import AGGREGATES, Evaluation, Scores, aggregate, score, tune_thresholds

Floats = NDArray[np.float64]
Case = tuple[Floats, NDArray[np.int64], int]

PER_CLASS = ("precision", "recall", "f1", "auroc", "average_precision")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Logits, targets and a seed: few or many records, tied scores, ties at the threshold, empty and full classes."""
    num_records = draw(st.sampled_from([1, 2, 3, 10, 200]))
    num_labels = draw(st.sampled_from([1, 2, 5]))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_records, num_labels)) * draw(st.sampled_from([1.0, 30.0]))
    if draw(st.booleans()):
        logits = np.round(logits)  # ties, among them at a logit of 0
    prevalence = np.array(draw(st.lists(st.sampled_from([0.0, 0.05, 0.5, 1.0]), min_size=5, max_size=5)))[:num_labels]
    return logits, (rng.random(logits.shape) < prevalence).astype(np.int64), seed


def sklearn_reference(logits: Floats, targets: NDArray[np.int64], thresholds: Floats) -> dict[str, Any]:
    predicted = (expit(logits) > thresholds).astype(int)
    positives = targets.sum(axis=0)
    precision, recall, f1, _ = precision_recall_fscore_support(targets, predicted, average=None, zero_division=0)
    if targets.shape[1] == 1:  # scikit-learn takes a single column for one binary task with two classes
        precision, recall, f1, _ = (
            np.atleast_1d(value)
            for value in precision_recall_fscore_support(
                targets[:, 0], predicted[:, 0], average="binary", zero_division=0
            )
        )
    auroc, ap = np.full(len(positives), np.nan), np.full(len(positives), np.nan)
    for label, count in enumerate(positives):
        if 0 < count < len(targets):
            auroc[label] = roc_auc_score(targets[:, label], logits[:, label])
        if count > 0:
            ap[label] = average_precision_score(targets[:, label], logits[:, label])
    # With an appended empty column scikit-learn sees a single label as multi-label; weighted and micro do not change.
    empty = np.zeros((len(targets), 1), dtype=int)
    padded = np.hstack([targets, empty]), np.hstack([predicted, empty])
    reference: dict[str, Any] = {"precision": precision, "recall": recall, "f1": f1, "auroc": auroc}
    reference["average_precision"] = ap
    reference["f1_weighted"] = f1_score(*padded, average="weighted", zero_division=0)
    reference["f1_micro"] = f1_score(*padded, average="micro", zero_division=0)
    reference["f1_macro"] = np.mean(f1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is NaN, as meant
        reference["f1_macro_defined"] = np.mean(f1[positives > 0])
        reference["auroc_macro"] = np.nanmean(auroc)
        reference["ap_macro"] = np.nanmean(ap)
    return reference


@settings(max_examples=150, deadline=None)
@given(case=cases(), threshold=st.sampled_from([0.0, 0.2, 0.5, 1.0]))
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning", "ignore::UserWarning")
def test_agrees_with_scikit_learn(case: Case, threshold: float) -> None:
    logits, targets, _ = case
    thresholds = np.full(targets.shape[1], threshold)
    thresholds[0] = 0.5
    names = [f"label{i}" for i in range(targets.shape[1])]
    scores = score(logits, targets, names, thresholds)
    expected = sklearn_reference(logits, targets, thresholds)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(scores, name), value, rtol=0, atol=1e-12, err_msg=name)
    for name in AGGREGATES:
        np.testing.assert_allclose(
            aggregate(name, logits, targets, thresholds), expected[name], rtol=0, atol=1e-12, err_msg=name
        )
    assert scores.num_records == len(targets)
    assert scores.num_positives.tolist() == targets.sum(axis=0).tolist()
    assert scores.num_defined == np.isfinite(expected["auroc"]).sum()
    assert scores.num_with_positives == np.isfinite(expected["average_precision"]).sum()


def test_f1_macro_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(50, 4)), rng.integers(0, 2, size=(50, 4))
    targets[:, 2] = 0
    expected = f1_score(targets, logits > 0, average="macro", zero_division=0)
    assert float(aggregate("f1_macro", logits, targets)) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_weights_equal_repeated_rows_exactly(case: Case) -> None:
    logits, targets, seed = case
    num_records = len(targets)
    draws = np.random.default_rng(seed).multinomial(num_records, np.full(num_records, 1 / num_records), size=(2, 2))
    evaluation = Evaluation(logits, targets, 0.4)
    for name in (*PER_CLASS, "num_positives", *AGGREGATES):
        all_draws = compute(evaluation, name, draws)
        for index in np.ndindex(2, 2):
            rows = np.repeat(np.arange(num_records), draws[index])
            repeated = compute(Evaluation(logits[rows], targets[rows], 0.4), name, None)
            np.testing.assert_array_equal(compute(evaluation, name, draws[index]), repeated, err_msg=name)
            np.testing.assert_array_equal(all_draws[index], repeated, err_msg=name)


def compute(evaluation: Evaluation, name: str, weights: NDArray[np.int64] | None) -> Floats:
    if name in AGGREGATES:
        return AGGREGATES[name](evaluation, weights)
    values: Floats = getattr(evaluation, name)(weights)
    return values


@settings(max_examples=50, deadline=None)
@given(case=cases())
def test_order_of_the_records_does_not_matter(case: Case) -> None:
    logits, targets, seed = case
    order = np.random.default_rng(seed).permutation(len(targets))
    names = [str(i) for i in range(targets.shape[1])]
    assert score(logits[order], targets[order], names).as_dict() == score(logits, targets, names).as_dict()


def test_by_hand() -> None:
    # Label a: TP 1, FP 1, FN 1. Label b: nothing predicted. Label c: no positives, one predicted.
    logits = [[1.0, -1.0, -1.0], [2.0, -2.0, -1.0], [-1.0, -3.0, 3.0], [-2.0, -4.0, -1.0]]
    targets = [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]]
    scores = score(logits, targets, ["a", "b", "c"])
    assert scores.f1.tolist() == [0.5, 0, 0]
    assert scores.f1_weighted == pytest.approx(0.5 * 2 / 3)
    assert scores.f1_macro == pytest.approx(0.5 / 3)
    assert scores.f1_macro_defined == 0.25
    assert scores.f1_micro == pytest.approx(2 / (2 + 2 + 2))
    assert scores.auroc[:2].tolist() == [0.5, 1.0]  # a: 1 beats -2, loses to 2; -1 beats -2, loses to 2
    assert scores.average_precision[:2].tolist() == pytest.approx([0.5 * 1 / 2 + 0.5 * 2 / 3, 1.0])
    assert np.isnan(scores.auroc[2])
    assert (scores.num_defined, scores.num_with_positives) == (2, 2)


def test_a_logit_of_zero_is_negative_at_one_half() -> None:
    evaluation = Evaluation([[0.0], [1e-9]], [[1], [1]])
    assert evaluation.predicted.tolist() == [[0], [1]]


def test_huge_logits_keep_their_order() -> None:
    logits = [[50.0], [60.0], [-800.0], [-900.0]]  # the sigmoid makes 1, 1, 0, 0 of them
    assert Evaluation(logits, [[0], [1], [1], [0]]).auroc().tolist() == [0.75]
    assert Evaluation(logits, [[0], [1], [0], [0]]).auroc().tolist() == [1.0]


def test_nothing_positive_and_nothing_predicted() -> None:
    scores = score([[-1.0, -1.0]], [[0, 0]], ["a", "b"])
    assert (scores.f1_weighted, scores.f1_macro, scores.f1_micro) == (0, 0, 0)
    assert np.isnan([scores.f1_macro_defined, scores.auroc_macro, scores.ap_macro]).all()
    assert (scores.num_defined, scores.num_with_positives) == (0, 0)


@settings(max_examples=100, deadline=None)
@given(case=cases())
def test_tuned_thresholds_are_the_best_there_are(case: Case) -> None:
    logits, targets, _ = case
    thresholds = tune_thresholds(logits, targets)
    tuned = Evaluation(logits, targets, thresholds).f1()
    probabilities = expit(logits)
    for label in range(targets.shape[1]):
        if not targets[:, label].any():
            assert thresholds[label] == 0.5
            continue
        column = probabilities[:, label]
        candidates = np.unique(np.concatenate([[0.0, 0.5], column, np.nextafter(column, 0)]))
        predicted = column > candidates[:, None]
        f1 = 2 * predicted @ targets[:, label] / np.maximum(predicted.sum(axis=1) + targets[:, label].sum(), 1)
        best = f1.max()
        assert tuned[label] == pytest.approx(best, abs=1e-12)


def test_tuned_thresholds_are_midpoints_and_ties_go_to_one_half() -> None:
    def logit(probability: float) -> float:
        return float(np.log(probability / (1 - probability)))

    three = [[logit(p)] for p in (0.2, 0.7, 0.9)]  # F1 above 0.1 is 4/5, above 0.45 1/2, above 0.8 2/3
    assert tune_thresholds(three, [[1], [0], [1]]) == pytest.approx([0.1])
    tied = [[logit(p)] for p in (0.3, 0.4, 0.6, 0.8)]  # F1 is 2/3 for the top one and for all four
    assert tune_thresholds(tied, [[1], [0], [0], [1]]) == pytest.approx([0.7])  # 0.15 is farther from one half


def test_neighbouring_floats_are_still_separated() -> None:
    logits = 2 + np.arange(1024) * np.spacing(2.0)
    probabilities, first = np.unique(expit(logits), return_index=True)
    pairs = logits[first][np.diff(probabilities, append=1) == np.spacing(probabilities)]
    assert len(pairs) > 10
    for lower in pairs:
        upper = logits[first][np.searchsorted(probabilities, expit(lower)) + 1]
        thresholds = tune_thresholds([[lower], [upper]], [[0], [1]])
        assert Evaluation([[lower], [upper]], [[0], [1]], thresholds).f1().tolist() == [1.0]


def test_dict_round_trip_is_plain_json() -> None:
    scores = score([[1.0, 2.0], [-1.0, 0.5]], [[1, 0], [0, 0]], ["AF", "MI"], [0.5, 0.9])
    values = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert values["per_class"]["MI"]["auroc"] is None
    assert values["per_class"]["MI"]["thresholds"] == 0.9
    again = Scores.from_dict(values)
    assert again.as_dict() == scores.as_dict()
    for field in dataclasses.fields(Scores):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(scores, field.name), err_msg=field.name)
        assert type(getattr(again, field.name)) is type(getattr(scores, field.name))


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        ([[1.0], [np.nan], [np.inf], [0.0]], [[0], [0], [0], [0]], "2 of 4 rows: 1, 2;"),
        ([[1.0, 2.0]], [[1]], r"\(1, 2\) and targets \(1, 1\)"),
        ([1.0, 2.0], [1, 0], r"expected both \(records, labels\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), "not empty"),
        ([[1.0]], [[0.5]], "other than 0 and 1"),
        ([[1.0]], [[np.nan]], "other than 0 and 1"),
    ],
)
def test_unusable_input(logits: Any, targets: Any, message: str) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=message):
        Evaluation(logits, targets)


@pytest.mark.parametrize("weights", [[1, -1], [0.5, 1], [np.nan, 1], [1, 1, 1], 2])
@pytest.mark.parametrize("name", list(AGGREGATES))
def test_unusable_weights(name: str, weights: Any) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match="weights"):
        aggregate(name, [[1.0], [2.0]], [[1], [0]], weights=weights)


def test_a_single_label_is_named_by_itself() -> None:
    single = score([[1.0], [-1.0]], [[1], [0]], "AF")
    assert single.label_names == ("AF",)
    assert single.as_dict() == score([[1.0], [-1.0]], [[1], [0]], ["AF"]).as_dict()
    with pytest.raises(ValueError, match=r"label names are \['AF'\], expected 2 different ones"):
        score([[1.0, 2.0]], [[1, 0]], "AF")


def test_a_masked_target_is_unknown_and_no_negative() -> None:
    targets = np.ma.masked_array([[1], [0]], [[True], [False]])
    with pytest.raises(ValueError, match="targets"):
        Evaluation([[1.0], [-1.0]], targets)


def test_other_unusable_arguments() -> None:
    for thresholds in (1.5, [0.5, 0.5], [[0.5]], np.nan):
        with pytest.raises(ValueError, match="thresholds are"):
            Evaluation([[1.0]], [[1]], thresholds)
    with pytest.raises(ValueError, match="no aggregate is called 'f1'"):
        aggregate("f1", [[1.0]], [[1]])
    with pytest.raises(ValueError, match="2 different ones"):
        score([[1.0, 1.0]], [[1, 1]], ["AF", "AF"])


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(ecg_transfer.metrics)
    assert result.attempted > 5
    assert result.failed == 0
