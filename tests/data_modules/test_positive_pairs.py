"""Two views of a record: where they lie, whose they are, and that nothing but seed, epoch and record decides it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_modules.augmentation import Augmentation
from data_modules.batches import ECGDataset
from data_modules.config import AugmentConfig, Positives
from data_modules.positive_pairs import SECOND_VIEW, PositivePairs

NUM_RECORDS, NUM_SAMPLES = 9, 20
GROUPS = np.array([7, 7, 7, 3, 3, 5, 5, 1, 0])
PARTS = (np.array([0, 1, 3, 4, 5, 8]), np.array([2, 6, 7]))


@pytest.fixture
def signals() -> NDArray[np.float32]:
    """Each number says which record and which sample it is."""
    numbers = 100 * np.arange(NUM_RECORDS)[:, None] + np.arange(NUM_SAMPLES)
    return np.repeat(numbers[:, :, None], 12, axis=2).astype(np.float32) / 100


def pairs_of(
    signals: NDArray[np.float32],
    positives: Positives = "segment",
    length: int = 6,
    seed: int = 0,
    augment: AugmentConfig | None = None,
) -> PositivePairs:
    dataset = ECGDataset(signals, np.zeros((NUM_RECORDS, 1), np.uint8), "none")
    return PositivePairs(dataset, PARTS, GROUPS, length, positives, augment=augment or AugmentConfig(), seed=seed)


def cut(pairs: PositivePairs, signals: NDArray[np.float32], rows: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
    """Record and sample number of the first lead of all views, (2, B, length)."""
    signal = torch.from_numpy(signals[rows]).transpose(1, 2)
    views = pairs.views(signal, torch.from_numpy(rows), epoch, augmented=False)
    assert views.shape == (2 * len(rows), 12, views.shape[2])
    numbers = (100 * views[:, 0]).round().long().numpy()
    return numbers.reshape(2, len(rows), -1)


def test_two_pieces_of_a_record_never_overlap_and_every_pair_of_places_comes(signals: NDArray[np.float32]) -> None:
    pairs, rows = pairs_of(signals), np.array([4, 0])
    found = set()
    for epoch in range(300):
        first, second = cut(pairs, signals, rows, epoch)
        for record, one, other in zip(rows, first, second, strict=True):
            assert list(np.diff(one)) == list(np.diff(other)) == [1] * 5
            assert one[0] // 100 == other[0] // 100 == record
            assert other[0] - one[0] >= 6
            found.add((one[0] % 100, other[0] % 100))
    assert found == {(one, other) for one in range(9) for other in range(one + 6, 15)}


def test_halves_are_the_only_two_pieces_of_half_a_record(signals: NDArray[np.float32]) -> None:
    first, second = cut(pairs_of(signals, length=10), signals, np.array([1]), 5)
    assert (list(first[0] % 100), list(second[0] % 100)) == (list(range(10)), list(range(10, 20)))
    with pytest.raises(ValueError, match=r"two pieces of 11 samples .* records of 20: give crops\.seconds"):
        pairs_of(signals, length=11)


def test_a_partner_is_another_record_of_the_patient_within_the_same_part(signals: NDArray[np.float32]) -> None:
    pairs = pairs_of(signals, "patient")
    seen: dict[int, set[int]] = {row: set() for row in range(NUM_RECORDS)}
    for epoch in range(50):
        for row, partner in enumerate(pairs.partners(epoch)):
            seen[row].add(int(partner))
    # record 2 shares its patient with 0 and 1, and 6 with 5, but in another part
    assert seen == {0: {1}, 1: {0}, 2: {2}, 3: {4}, 4: {3}, 5: {5}, 6: {6}, 7: {7}, 8: {8}}
    first, second = cut(pairs, signals, np.array([3, 8, 1]), 0)
    assert [list(view[:, 0] // 100) for view in (first, second)] == [[3, 8, 1], [4, 8, 0]]
    assert second[1, 0] - first[1, 0] >= 6, "without a partner two pieces of the record itself"


def test_of_several_records_of_a_patient_each_is_as_likely_and_never_the_record_itself(
    signals: NDArray[np.float32],
) -> None:
    dataset = ECGDataset(signals, np.zeros((NUM_RECORDS, 1), np.uint8), "none")
    pairs = PositivePairs(
        dataset,
        [np.arange(NUM_RECORDS)],
        np.zeros(NUM_RECORDS, np.int64),
        6,
        "patient",
        augment=AugmentConfig(),
        seed=0,
    )
    counts = np.zeros((NUM_RECORDS, NUM_RECORDS))
    for epoch in range(800):
        counts[np.arange(NUM_RECORDS), pairs.partners(epoch)] += 1
    assert (np.diag(counts) == 0).all()
    others = counts[~np.eye(NUM_RECORDS, dtype=bool)]
    assert abs(others - 100).max() < 5 * np.sqrt(100 * 7 / 8)


def test_views_follow_from_seed_epoch_and_record_alone(signals: NDArray[np.float32]) -> None:
    alone = cut(pairs_of(signals), signals, np.array([4]), 3)
    pairs = pairs_of(signals)
    cut(pairs, signals, np.array([1, 2]), 0)
    assert np.array_equal(cut(pairs, signals, np.array([0, 4, 8]), 3)[:, 1:2], alone)
    assert not np.array_equal(pairs_of(signals, seed=1).starts(3), pairs.starts(3))
    assert not np.array_equal(pairs.starts(4), pairs.starts(3))


def test_each_view_is_changed_by_itself_in_training_and_not_in_evaluation(signals: NDArray[np.float32]) -> None:
    config, rows = AugmentConfig(scaling=1.0), torch.tensor([4, 7])
    signal = torch.from_numpy(signals[rows.numpy()]).transpose(1, 2)
    pairs = pairs_of(signals, augment=config)
    plain, changed = (pairs.views(signal, rows, 2, augmented=augmented) for augmented in (False, True))
    expected = [
        Augmentation(config, NUM_RECORDS, 12, seed=0).gains(2),
        Augmentation(config, NUM_RECORDS, 12, seed=0, stream=SECOND_VIEW).gains(2),
    ]
    gains = torch.from_numpy(np.concatenate([one[rows.numpy()] for one in expected]))[:, :, None]
    torch.testing.assert_close(changed, plain * gains)
    assert not torch.equal(gains[:2], gains[2:])
