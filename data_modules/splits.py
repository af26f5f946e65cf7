"""Who trains, who validates, who tests; and the nested subsets of the training records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.config import DataConfig

PAPER_TEST_FRACTION = 0.33
"""The authors' `test_size`."""
PAPER_VAL_FRACTION = 0.1
"""The share of the paper's training records that validates here; the authors validate on the test set."""
OFFICIAL_VAL_FOLD, OFFICIAL_TEST_FOLD = 9, 10
"""PTB-XL's recommended folds (Wagner et al. 2020, doi 10.1038/s41597-020-0495-6): 1-8 train, 9 validate, 10 test."""

Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row numbers of each part, each sorted; no row is in two parts."""

    train: Indices
    val: Indices
    test: Indices
    left_out: Indices
    """Rows in no part: copies of a record in a later part, which may not be moved out of their official fold, and
    records that have no fold."""


def split_records(
    config: DataConfig, labels: NDArray[np.uint8], folds: Indices | None, groups: Indices, copies: Indices
) -> Split:
    """Split the records of a corpus that can be used as the configuration says.

    Args:
        config: The `data` section of a run.
        labels: Multi-hot, (records, labels).
        folds: As `official_split`; None where there are no official folds.
        groups: Number of the group of each record, (records,): no two of one group in two parts of a `patient` split.
        copies: As `official_split`.

    Raises:
        ValueError: The fractions leave nothing to train on.
    """
    if folds is not None:
        return official_split(folds, copies)
    if config.split == "paper":
        return paper_split(len(labels), seed=config.split_seed)
    _, groups = np.unique(groups, return_inverse=True)
    return patient_split(
        labels, groups, val_fraction=config.val_fraction, test_fraction=config.test_fraction, seed=config.split_seed
    )


def paper_split(num_records: int, *, seed: int = 1) -> Split:
    """Split by record, 67/33, as scikit-learn's `train_test_split(test_size=0.33, random_state=seed)` does.

    The authors split an unsorted directory listing; here the records are sorted by id, so that the split is the
    protocol's but not theirs row for row. A tenth of the training records validates. Patients and duplicates are not
    looked at: on PTB most test ECGs then come from patients in training.

    Args:
        num_records: How many rows there are.
        seed: Of numpy's legacy generator, which scikit-learn uses.
    """
    order = np.random.RandomState(seed).permutation(num_records)
    num_test = int(np.ceil(PAPER_TEST_FRACTION * num_records))
    test, rest = order[:num_test], order[num_test:]
    num_val = int(np.ceil(PAPER_VAL_FRACTION * len(rest)))
    return Split(
        train=np.sort(rest[num_val:]), val=np.sort(rest[:num_val]), test=np.sort(test), left_out=np.empty(0, np.int64)
    )


def official_split(folds: Indices, copies: Indices) -> Split:
    """Split by a corpus's official folds; a record whose copy is in a later part is left out of the earlier one.

    A copy is never moved, so that test scores stay comparable with published ones.

    Args:
        folds: Fold of each record, 1 to 10, (records,); 0 for a record that has none.
        copies: Number of the content of each record, (records,): equal ones are copies of each other.
    """
    part = np.select([folds == OFFICIAL_TEST_FOLD, folds == OFFICIAL_VAL_FOLD, folds > 0], [2, 1, 0], -1)
    last_part = np.full(int(copies.max(initial=-1)) + 1, -1)
    np.maximum.at(last_part, copies, part)
    kept = part == last_part[copies]
    rows = [np.flatnonzero(kept & (part == number)) for number in range(3)]
    return Split(train=rows[0], val=rows[1], test=rows[2], left_out=np.flatnonzero(~kept | (part < 0)))


def patient_split(
    labels: NDArray[np.uint8], groups: Indices, *, val_fraction: float, test_fraction: float, seed: int
) -> Split:
    """Split so that no group (patient, or copies of one record) is in two parts, and labels are spread evenly.

    Args:
        labels: Multi-hot, (records, labels).
        groups: Number of the group of each record, (records,).
        val_fraction: Share of the records that validate.
        test_fraction: Share of the records that test.
        seed: Breaks the ties of the stratification.

    Raises:
        ValueError: The fractions leave nothing to train on.
    """
    fractions = (1.0 - val_fraction - test_fraction, val_fraction, test_fraction)
    if min(fractions) <= 0:
        raise ValueError(f"val_fraction {val_fraction} and test_fraction {test_fraction} must be > 0 and sum to < 1")
    part_of_group = stratify(label_totals(labels, groups), fractions, np.random.default_rng(seed))
    part = part_of_group[groups]
    rows = [np.flatnonzero(part == number) for number in range(3)]
    return Split(train=rows[0], val=rows[1], test=rows[2], left_out=np.empty(0, np.int64))


def nested_order(labels: NDArray[np.uint8], groups: Indices, *, seed: int) -> Indices:
    """An order of the records whose every beginning is a label-stratified sample; groups stay together.

    The groups are halved, label-stratified, again and again; the first half comes first. So the first n records of
    one order are nested for growing n, and any beginning carries the labels in nearly the proportions of the whole.

    Args:
        labels: Multi-hot, (records, labels).
        groups: Number of the group of each record, (records,).
        seed: Another seed gives another order.

    Returns:
        A permutation of the row numbers, (records,).
    """
    generator = np.random.default_rng(seed)
    _, groups = np.unique(groups, return_inverse=True)
    totals = label_totals(labels, groups)
    position = np.empty(len(totals), np.int64)
    pending = [np.arange(len(totals))]
    placed = 0
    while pending:
        members = pending.pop()
        if len(members) <= 1:
            position[members] = placed
            placed += len(members)
            continue
        half = stratify(totals[members], (0.5, 0.5), generator)
        first, second = members[half == 0], members[half == 1]
        if len(first) == 0 or len(second) == 0:
            first, second = np.array_split(members, 2)
        pending += [second, first]
    return np.argsort(position[groups], kind="stable")


def label_totals(labels: NDArray[np.uint8], groups: Indices) -> NDArray[np.int64]:
    """For each group its number of positives per label and, in the last column, its number of records."""
    counted = np.concatenate([labels.astype(np.int64), np.ones((len(labels), 1), np.int64)], axis=1)
    totals = np.zeros((int(groups.max(initial=-1)) + 1, counted.shape[1]), np.int64)
    np.add.at(totals, groups, counted)
    return totals


def stratify(totals: NDArray[np.int64], fractions: Sequence[float], generator: np.random.Generator) -> Indices:
    """Assign groups to parts by iterative stratification, the rarest label first.

    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, with groups in the
    place of single records: each group goes to the part that lacks most of the label at hand, then to the part that
    lacks most records.

    Args:
        totals: Positives per label, and records in the last column, (groups, labels + 1).
        fractions: Wanted share of each part; they sum to 1.
        generator: Breaks ties.

    Returns:
        Number of the part of each group, (groups,).
    """
    shares = np.asarray(fractions)
    lacking = shares[:, None] * totals.sum(axis=0)
    part = np.full(len(totals), -1, np.int64)
    shuffled = generator.permutation(len(totals))
    tie_breaks = generator.random((len(totals), len(shares)))
    num_labels = totals.shape[1] - 1
    open_totals = totals.sum(axis=0)[:num_labels].astype(np.float64)
    order_of_size = shuffled[np.argsort(-totals[shuffled, -1], kind="stable")]
    while True:
        remaining = np.where(open_totals > 0, open_totals, np.inf)
        label = int(np.argmin(remaining)) if num_labels and np.isfinite(remaining.min()) else -1
        members = order_of_size[part[order_of_size] < 0]
        if label >= 0:
            members = members[totals[members, label] > 0]
        for group in members:
            need = np.stack([lacking[:, label], lacking[:, -1], tie_breaks[group]])
            part[group] = np.lexsort(need[::-1])[-1]
            lacking[part[group]] -= totals[group]
        if label < 0:
            return part
        open_totals = totals[part < 0].sum(axis=0)[:num_labels].astype(np.float64)


def join_groups(patients: Sequence[str] | None, digests: Indices) -> Indices:
    """Number the groups of records that may not be separated: one patient's, and copies of one recording.

    Args:
        patients: Patient of each record, or None where they are unknown.
        digests: A number for the content of each record, (records,): equal ones are copies.

    Returns:
        Group number of each record, (records,), counted from 0: the connected components of "same patient or same
        content".
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    num_records = len(digests)
    _, content = np.unique(digests, return_inverse=True)
    owner = np.arange(num_records) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    num_owners = int(owner.max(initial=-1)) + 1
    size = num_owners + int(content.max(initial=-1)) + 1
    edges = coo_matrix((np.ones(num_records, np.int8), (owner, num_owners + content)), shape=(size, size))
    return connected_components(edges, directed=False)[1][owner].astype(np.int64)
