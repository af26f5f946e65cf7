"""Who has what: label sets with the published prevalences, rare ones raised to a handful."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

MIN_POSITIVES = 4
"""Positives of each label in a small corpus, where there is room."""
MIN_SHARE = 0.02
"""Or this share of its records, if that is more."""

CLASHES: dict[str, tuple[str, ...]] = {
    "SARRH": ("AF", "AFLT", "SB", "STACH"),
    "HVOLT": ("LVH", "LVOLT", "LBBB"),
    "LOWT": ("TAB", "TINV", "LBBB", "STE"),
    "IRBBB": ("NORM", "RBBB", "LBBB"),
    "LVH": ("NORM", "LVOLT", "LBBB"),
    "QWAVE": ("NORM", "LBBB"),
    "LAE": ("NORM", "AF", "AFLT"),
    "IVCD": ("NORM", "LBBB", "RBBB", "IRBBB"),
    "LVOLT": ("NORM", "LVH", "LBBB"),
    "LAFB": ("NORM", "LBBB", "RAD", "LAD"),
    "TAB": ("NORM", "TINV", "LBBB", "STE", "STD"),
}
"""Incidental finding -> labels that exclude it."""
INCIDENTAL = tuple(CLASHES)


def quotas(counts: Mapping[str, int], total: int, num_records: int) -> dict[str, int]:
    """How many records get each label.

    The published prevalence, but no fewer than `MIN_POSITIVES` or `MIN_SHARE` of the records, so that a small corpus
    can be split and learned from. A corpus of published size gets the published counts. Where so many positives do not
    fit (a dozen records), each label gets at least one.

    Args:
        counts: Published positives per label.
        total: Published records.
        num_records: Records of the simulated corpus.
    """
    room = max(1, num_records // (2 * len(counts)))
    floor = 1 if num_records >= total else min(max(MIN_POSITIVES, math.ceil(MIN_SHARE * num_records)), room)
    return {label: max(round(count / total * num_records), floor) for label, count in counts.items()}


def deal(
    quota: Mapping[str, int],
    num_records: int,
    rng: np.random.Generator,
    *,
    exclusive: Sequence[Collection[str]] = (),
    alone: Collection[str] = ("NORM",),
    single: float = 0.5,
) -> list[tuple[str, ...]]:
    """Deal labels to records so that each label gets exactly its quota, if there are records that may have it.

    Args:
        quota: Records per label.
        num_records: How many records there are.
        rng: Decides who gets what.
        exclusive: Sets of labels of which a record has one at most.
        alone: Labels that no other label joins.
        single: Share of each quota that goes to records without any label yet, as long as there are some: 1 gives as
            few combinations as the counts allow, 0 makes labels independent.

    Returns:
        For each record its labels, in the order of `quota`; empty for a record that got none.
    """
    dealt: list[set[str]] = [set() for _ in range(num_records)]
    order = [int(index) for index in rng.permutation(num_records)]
    rivals = {label: set().union(*(group for group in exclusive if label in group), alone) for label in quota}
    for label in alone:
        take = [index for index in order if not dealt[index]][: quota.get(label, 0)]
        for index in take:
            dealt[index].add(label)
    # Rare labels first: the frequent ones always find room.
    for label in sorted((label for label in quota if label not in alone), key=lambda label: (quota[label], label)):
        rng.shuffle(order)
        empty = [index for index in order if not dealt[index]]
        fitting = [index for index in order if dealt[index] and not dealt[index] & (rivals[label] | {label})]
        num_single = max(round(single * quota[label]), quota[label] - len(fitting))
        take = empty[:num_single]
        take += fitting[: quota[label] - len(take)]
        for index in take:
            dealt[index].add(label)
    return [tuple(label for label in quota if label in labels) for labels in dealt]


def add_incidental(
    dealt: Sequence[tuple[str, ...]],
    share: float,
    rng: np.random.Generator,
    *,
    among: Sequence[str] = INCIDENTAL,
    clashes: Mapping[str, Collection[str]] = CLASHES,
) -> list[tuple[str, ...]]:
    """Give some hearts findings for which the corpus has no label, or which its readers passed over.

    Args:
        dealt: For each record its labels.
        share: Of the records; each gets one more condition where it has none that would clash.
        rng: Decides who gets what.
        among: Conditions to choose from.
        clashes: Condition -> labels with which it cannot be, `NORM` among them for whatever no reader calls normal.

    Returns:
        For each record the conditions of its heart: its labels, and perhaps one more.
    """
    hearts = []
    for labels in dealt:
        wants = rng.random() < share
        extra = str(rng.choice(list(among)))
        is_free = extra not in labels and not set(labels) & set(clashes.get(extra, ()))
        hearts.append((*labels, extra) if wants and is_free else labels)
    return hearts


def drop_overcalls(dealt: Sequence[tuple[str, ...]], share: float, rng: np.random.Generator) -> list[tuple[str, ...]]:
    """Findings that a reader saw and nobody else would: the label stays, the heart is without.

    Args:
        dealt: For each record the conditions of its heart.
        share: Of all conditions that are dropped, each by itself.
        rng: Decides which.
    """
    return [tuple(name for name in conditions if rng.random() >= share) for conditions in dealt]


def group_patients(
    keys: Sequence[str], records_per_patient: Mapping[str, float], rng: np.random.Generator
) -> list[int]:
    """Give records to patients; the records of one patient share a key (a diagnosis, say).

    Args:
        keys: For each record what its patient must have.
        records_per_patient: Mean number of records of a patient, by key; 1 where a key is missing.
        rng: Decides how many records a patient has (1 + Poisson) and which.

    Returns:
        For each record the number of its patient, from 0; numbers ascend with a patient's first record.
    """
    patient_of = np.full(len(keys), -1)
    patient = 0
    for key in sorted(set(keys)):
        members = rng.permutation([index for index, other in enumerate(keys) if other == key])
        start = 0
        while start < len(members):
            size = 1 + int(rng.poisson(records_per_patient.get(key, 1.0) - 1.0))
            patient_of[members[start : start + size]] = patient
            start += size
            patient += 1
    _, first, inverse = np.unique(patient_of, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=int)
    rank[np.argsort(first)] = np.arange(len(first))
    return [int(number) for number in rank[inverse]]
