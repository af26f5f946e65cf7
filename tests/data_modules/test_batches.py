from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from data_modules.batches import ECGDataset, OrderedBatches, ShuffledBatches
from data_modules.signal import scale

WORLDS = st.sampled_from([1, 2, 3, 4])


def rows_of(num_records: int) -> NDArray[np.int64]:
    return np.arange(num_records, dtype=np.int64) * 3 + 1


def shuffled(num_records: int, batch_size: int, epoch: int, world_size: int, seed: int = 5) -> list[list[list[int]]]:
    """The batches of each process."""
    found = []
    for rank in range(world_size):
        batches = ShuffledBatches(rows_of(num_records), batch_size, seed=seed, rank=rank, world_size=world_size)
        batches.set_epoch(epoch)
        found.append([batch.tolist() for batch in batches])
        assert len(batches) == len(found[-1])
    return found


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 100), st.integers(1, 40), st.integers(0, 5))
def test_an_epoch_holds_every_row_once(num_records: int, batch_size: int, epoch: int) -> None:
    ((*batches,),) = shuffled(num_records, batch_size, epoch, 1)
    assert sorted(row for batch in batches for row in batch) == rows_of(num_records).tolist()
    assert all(len(batch) == batch_size for batch in batches[:-1])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 100), st.integers(1, 12), st.integers(0, 5), WORLDS)
def test_processes_share_the_batches_of_one(num_records: int, share: int, epoch: int, world_size: int) -> None:
    ((*alone,),) = shuffled(num_records, share * world_size, epoch, 1)
    together = list(zip(*shuffled(num_records, share * world_size, epoch, world_size), strict=True))
    sizes = [{len(part) for part in parts} for parts in together]
    assert all(len(size) == 1 for size in sizes)  # or the mean of gradients is not the batch's
    if len(alone[-1]) < world_size:
        alone.pop()
    joined = [sorted(row for part in parts for row in part) for parts in together]
    assert joined[:-1] == [sorted(batch) for batch in alone[:-1]]
    if joined:
        assert set(joined[-1]) <= set(alone[-1])
        assert len(joined[-1]) == len(alone[-1]) // world_size * world_size


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    batches = ShuffledBatches(rows_of(50), 8, seed=1)
    first = [batch.tolist() for batch in batches]
    batches.set_epoch(3)
    np.random.seed(0)  # noqa: NPY002 - the global streams are what must not matter
    torch.manual_seed(0)
    third = [batch.tolist() for batch in batches]
    resumed = ShuffledBatches(rows_of(50), 8, seed=1)
    resumed.set_epoch(3)
    assert [batch.tolist() for batch in resumed] == third
    batches.set_epoch(0)
    assert [batch.tolist() for batch in batches] == first
    assert first != third
    assert [batch.tolist() for batch in ShuffledBatches(rows_of(50), 8, seed=2)] != first


@pytest.mark.parametrize(("batch_size", "world_size"), [(0, 1), (2, 3), (256, 3)])
def test_a_batch_that_cannot_be_shared_is_refused(batch_size: int, world_size: int) -> None:
    with pytest.raises(ValueError, match=r"cannot be shared evenly.*optim\.batch_size="):
        ShuffledBatches(rows_of(9), batch_size, seed=0, world_size=world_size)


def test_the_refusal_names_a_batch_size_that_works() -> None:
    with pytest.raises(ValueError, match=r"batch_size=255 can"):
        ShuffledBatches(rows_of(9), 256, seed=0, world_size=3)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20), WORLDS)
def test_evaluation_covers_every_row(num_records: int, batch_size: int, world_size: int) -> None:
    rows = rows_of(num_records)
    samplers = [OrderedBatches(rows, batch_size, rank=rank, world_size=world_size) for rank in range(world_size)]
    shares = [[batch.tolist() for batch in sampler] for sampler in samplers]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert len({tuple(map(len, share)) for share in shares}) == 1  # or a collective call would wait for ever
    covered = [row for share in shares for batch in share for row in batch]
    assert set(covered) == set(rows.tolist())
    assert len(covered) - num_records < world_size
    if world_size == 1:
        assert covered == rows.tolist()


@pytest.mark.parametrize("method", ["minmax", "millivolt", "zscore", "none"])
def test_a_batch_is_its_rows(method: str) -> None:
    rng = np.random.default_rng(0)
    signals = rng.standard_normal((20, 100, 12)).astype(np.float32)
    labels = rng.integers(0, 2, (20, 3)).astype(np.uint8)
    dataset = ECGDataset(signals, labels, method)  # type: ignore[arg-type]
    rows = np.array([7, 3, 19, 3])
    batch = dataset[rows]
    assert len(dataset) == 20
    assert batch["signal"].shape == (4, 12, 100)
    assert batch["signal"].dtype == batch["label"].dtype == torch.float32
    assert batch["signal"].transpose(1, 2).is_contiguous()  # channels-last: what convolutions and RNNs read fastest
    assert batch["index"].tolist() == rows.tolist()
    assert np.array_equal(batch["label"].numpy(), labels[rows])
    for number, row in enumerate(rows):
        alone = scale(torch.from_numpy(signals[row : row + 1].copy()), method)[0].T  # type: ignore[arg-type]
        assert torch.equal(batch["signal"][number], alone)


def test_scaling_a_batch_leaves_the_cache_as_it_is() -> None:
    signals = np.random.default_rng(0).standard_normal((4, 50, 12)).astype(np.float32)
    before = signals.copy()
    dataset = ECGDataset(signals, np.zeros((4, 1), np.uint8), "none")
    dataset[np.array([0, 1])]["signal"].zero_()
    assert np.array_equal(signals, before)


def test_a_loader_gives_the_samplers_batches() -> None:
    signals = np.random.default_rng(0).standard_normal((10, 20, 12)).astype(np.float32)
    dataset = ECGDataset(signals, np.eye(10, dtype=np.uint8), "none")
    sampler = ShuffledBatches(np.arange(10), 4, seed=0)
    loader = DataLoader(dataset, batch_size=None, sampler=sampler)
    assert [batch["index"].tolist() for batch in loader] == [batch.tolist() for batch in sampler]
    assert len(loader) == 3
