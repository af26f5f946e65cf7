from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from data_modules.splits import (
    Split,
    join_groups,
    label_totals,
    nested_order,
    official_split,
    paper_split,
    patient_split,
    stratify,
)
from tests.data_modules.fake_corpus import random_labels


def assert_every_row_once(split: Split, num_records: int) -> None:
    parts = (split.train, split.val, split.test, split.left_out)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(num_records))
    assert all(np.array_equal(part, np.sort(part)) for part in parts)


def random_groups(num_records: int, num_groups: int, seed: int = 0) -> NDArray[np.int64]:
    groups = np.random.default_rng(seed).integers(0, num_groups, num_records)
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


@pytest.mark.parametrize("num_records", [3, 10, 522, 827, 6871, 10292])
def test_paper_split_is_scikit_learns(num_records: int) -> None:
    split = paper_split(num_records)
    train, test = train_test_split(np.arange(num_records), test_size=0.33, random_state=1)
    assert_every_row_once(split, num_records)
    assert np.array_equal(split.test, np.sort(test))
    assert np.array_equal(np.sort(np.concatenate([split.train, split.val])), np.sort(train))
    assert len(split.val) == int(np.ceil(0.1 * len(train)))


def test_paper_split_has_the_papers_sizes() -> None:
    """The authors' numbers of training and test records, docs of the protocol."""
    for records, train, test in ((6871, 4603, 2268), (10292, 6895, 3397), (522, 349, 173), (827, 554, 273)):
        split = paper_split(records)
        assert (len(split.train) + len(split.val), len(split.test)) == (train, test)


@settings(max_examples=60, deadline=None)
@given(st.integers(30, 300), st.integers(10, 200), st.integers(0, 2**31))
def test_patient_split_keeps_groups_whole(num_records: int, num_groups: int, seed: int) -> None:
    labels, groups = random_labels(num_records, seed), random_groups(num_records, num_groups, seed)
    split = patient_split(labels, groups, val_fraction=0.15, test_fraction=0.25, seed=seed)
    again = patient_split(labels, groups, val_fraction=0.15, test_fraction=0.25, seed=seed)
    assert_every_row_once(split, num_records)
    owners = [set(groups[part]) for part in (split.train, split.val, split.test)]
    assert sum(map(len, owners)) == len(set().union(*owners))
    for part in ("train", "val", "test", "left_out"):
        assert np.array_equal(getattr(split, part), getattr(again, part))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("num_groups", [2000, 500])
def test_patient_split_spreads_the_labels(seed: int, num_groups: int) -> None:
    """Parts get their share of each label to within the records of two groups.

    A group goes where the label at hand is lacking most, so a part is off by about the size of one group when a label
    has been dealt out; what later labels bring along is at most about one more.
    """
    labels = random_labels(2000, seed, shares=(0.5, 0.1, 0.02))
    groups = random_groups(2000, num_groups, seed)
    largest = np.bincount(groups).max()
    split = patient_split(labels, groups, val_fraction=0.15, test_fraction=0.25, seed=seed)
    for share, rows in ((0.6, split.train), (0.15, split.val), (0.25, split.test)):
        assert abs(len(rows) - share * 2000) <= 2 * largest
        assert (np.abs(labels[rows].sum(axis=0) - share * labels.sum(axis=0)) <= 2 * largest).all()


def test_another_seed_gives_another_patient_split() -> None:
    labels, groups = random_labels(200), np.arange(200)
    splits = [patient_split(labels, groups, val_fraction=0.2, test_fraction=0.2, seed=seed) for seed in (0, 1)]
    assert not np.array_equal(splits[0].test, splits[1].test)


@pytest.mark.parametrize(("val", "test"), [(0.5, 0.5), (0.0, 0.2), (0.2, 0.0), (0.7, 0.4), (-0.1, 0.2)])
def test_patient_split_refuses_impossible_fractions(val: float, test: float) -> None:
    with pytest.raises(ValueError, match="val_fraction"):
        patient_split(random_labels(20), np.arange(20), val_fraction=val, test_fraction=test, seed=0)


def test_official_split_follows_the_folds() -> None:
    folds = np.array([1, 8, 9, 10, 0, 5, 9, 10])
    split = official_split(folds, np.arange(8))
    assert_every_row_once(split, 8)
    assert split.train.tolist() == [0, 1, 5]
    assert split.val.tolist() == [2, 6]
    assert split.test.tolist() == [3, 7]
    assert split.left_out.tolist() == [4]


def test_official_split_leaves_out_the_earlier_copy() -> None:
    folds = np.array([1, 9, 10, 1, 1, 9, 0, 10, 10])
    copies = np.array([0, 0, 0, 1, 1, 2, 3, 3, 3])
    split = official_split(folds, copies)
    assert_every_row_once(split, 9)
    assert split.train.tolist() == [3, 4]  # copies of each other in one part stay
    assert split.val.tolist() == [5]
    assert split.test.tolist() == [2, 7, 8]
    assert split.left_out.tolist() == [0, 1, 6]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10), st.integers(0, 6)), min_size=1, max_size=40))
def test_official_split_never_separates_copies(records: Sequence[tuple[int, int]]) -> None:
    folds, copies = (np.array(column, np.int64) for column in zip(*records, strict=True))
    split = official_split(folds, copies)
    assert_every_row_once(split, len(records))
    owners = [set(copies[part]) for part in (split.train, split.val, split.test)]
    assert sum(map(len, owners)) == len(set().union(*owners))
    assert np.array_equal(split.test, np.flatnonzero(folds == 10))  # the test set is the published one


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 100), st.integers(0, 2**31))
def test_nested_order_is_a_permutation_that_keeps_groups_together(records: int, num_groups: int, seed: int) -> None:
    labels, groups = random_labels(records, seed), random_groups(records, num_groups, seed) * 3
    order = nested_order(labels, groups, seed=seed)
    assert np.array_equal(np.sort(order), np.arange(records))
    assert np.array_equal(order, nested_order(labels, groups, seed=seed))
    changes = np.count_nonzero(np.diff(groups[order]))
    assert changes == len(np.unique(groups)) - 1


@pytest.mark.parametrize("seed", range(4))
def test_every_beginning_of_a_nested_order_is_stratified(seed: int) -> None:
    """Any beginning has its share of each label within the imbalance of one pair at each of the log2(n) halvings."""
    labels = random_labels(1000, seed, shares=(0.5, 0.2, 0.03))
    order = nested_order(labels, np.arange(1000), seed=seed)
    sizes = np.arange(1, 1001)[:, None]
    off = np.abs(np.cumsum(labels[order].astype(int), axis=0) - sizes * labels.mean(axis=0))
    assert off.max() <= np.log2(1000)
    random = np.random.default_rng(seed).permutation(1000)
    off_at_random = np.abs(np.cumsum(labels[random].astype(int), axis=0) - sizes * labels.mean(axis=0))
    assert (off.max(axis=0) < off_at_random.max(axis=0)).all()


def test_nested_orders_of_other_seeds_differ() -> None:
    labels = random_labels(100)
    orders = [nested_order(labels, np.arange(100), seed=seed).tolist() for seed in range(4)]
    assert len({tuple(order[:10]) for order in orders}) == 4


def test_label_totals_by_hand() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.uint8)
    assert label_totals(labels, np.array([1, 0, 1, 1])).tolist() == [[1, 1, 1], [1, 1, 3]]


def test_stratify_without_labels_shares_the_records() -> None:
    totals = np.ones((100, 1), np.int64)
    part = stratify(totals, (0.5, 0.3, 0.2), np.random.default_rng(0))
    assert np.bincount(part).tolist() == [50, 30, 20]


def components(patients: Sequence[int] | None, digests: Sequence[int]) -> list[set[int]]:
    """By brute force: merge sets of rows that share a patient or a content until nothing merges."""
    found: list[set[int]] = [{row} for row in range(len(digests))]
    for first in range(len(digests)):
        for second in range(first):
            same_patient = patients is not None and patients[first] == patients[second]
            if same_patient or digests[first] == digests[second]:
                (one,) = (members for members in found if first in members)
                (other,) = (members for members in found if second in members)
                if one is not other:
                    found.remove(other)
                    one |= other
    return found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(-4, 8)), min_size=1, max_size=20), st.booleans())
def test_groups_are_the_connected_components(records: Sequence[tuple[int, int]], known: bool) -> None:
    patients = [patient for patient, _ in records] if known else None
    digests = [digest for _, digest in records]
    named = None if patients is None else [f"p{patient}" for patient in patients]
    groups = join_groups(named, np.array(digests, np.int64))
    found = {frozenset(np.flatnonzero(groups == group).tolist()) for group in set(groups.tolist())}
    assert found == {frozenset(members) for members in components(patients, digests)}
    assert set(groups.tolist()) == set(range(len(found)))


def test_groups_of_nothing() -> None:
    assert join_groups(None, np.empty(0, np.int64)).tolist() == []
