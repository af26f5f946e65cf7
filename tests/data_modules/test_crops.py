"""Random pieces of records, against numpy by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from data_modules.config import CropConfig, DataConfig
from data_modules.crops import RandomCrops


def whole_records(num_records: int = 6, num_samples: int = 40) -> torch.Tensor:
    """As batches arrive: the transposed view of (B, T, leads), every number another."""
    return torch.arange(num_records * num_samples * 12.0).reshape(num_records, num_samples, 12).transpose(1, 2)


def test_pieces_are_the_records_slices() -> None:
    crops = RandomCrops(20, 40, 15, seed=3)
    signal, rows = whole_records(), np.array([19, 0, 7, 7, 3, 11])
    cut = crops.cut(signal, torch.from_numpy(rows), 5)
    starts = crops.starts(5)
    assert cut.shape == (6, 12, 15)
    assert cut.transpose(1, 2).is_contiguous()
    for number, row in enumerate(rows):
        begin = starts[row]
        assert np.array_equal(cut[number].numpy(), signal[number].numpy()[:, begin : begin + 15])


def test_where_a_piece_begins_follows_from_seed_epoch_and_record_alone() -> None:
    crops = RandomCrops(50, 100, 30, seed=1)
    first, third = crops.starts(0).copy(), crops.starts(3).copy()
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global streams are what must not matter
    resumed = RandomCrops(50, 100, 30, seed=1)
    assert np.array_equal(resumed.starts(3), third)
    assert np.array_equal(crops.starts(0), first)
    assert not np.array_equal(first, third)
    assert not np.array_equal(RandomCrops(50, 100, 30, seed=2).starts(3), third)


def test_processes_cut_what_one_would() -> None:
    signal, rows = whole_records(), torch.tensor([9, 4, 2, 8, 1, 0])
    alone = RandomCrops(10, 40, 15, seed=0).cut(signal, rows, 2)
    for rank in range(2):
        share = RandomCrops(10, 40, 15, seed=0).cut(signal[rank::2], rows[rank::2], 2)
        assert torch.equal(share, alone[rank::2])


def test_every_start_is_equally_likely() -> None:
    starts = RandomCrops(20_000, 40, 31, seed=0).starts(0)
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10
    assert chisquare(counts).pvalue > 0.001


def test_a_piece_as_long_as_the_record_is_the_record() -> None:
    signal = whole_records()
    assert torch.equal(RandomCrops(6, 40, 40, seed=0).cut(signal, torch.arange(6), 1), signal)


@pytest.mark.parametrize(
    ("fields", "samples"),
    [({}, None), ({"seconds": 2.5}, 250), ({"seconds": 10}, 1000), ({"seconds": 2.5, "stride_seconds": 2.5}, 250)],
)
def test_seconds_become_samples(fields: dict[str, float], samples: int | None) -> None:
    assert CropConfig(**fields).num_samples(DataConfig()) == samples  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seconds": 10.5}, "crops.seconds=10.5 cuts no piece out of records of 10 s"),
        ({"seconds": 0}, "more than 0 and at most 10"),
        ({"seconds": 2.5, "stride_seconds": 3}, "leaves parts of a record unseen by windows of 2.5 s"),
        ({"seconds": 2.5, "stride_seconds": 0}, "never moves on"),
    ],
)
def test_what_cannot_be_cut_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        CropConfig(**fields).num_samples(DataConfig())  # type: ignore[arg-type]
