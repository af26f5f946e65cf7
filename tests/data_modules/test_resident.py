"""Batches gathered on a device against those gathered in memory. The CPU stands for the GPU where there is none."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from data_modules import resident
from data_modules.batches import Batch, ECGDataset, SignalNotFiniteError
from data_modules.resident import ResidentDataset, has_room

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")),
]
Method = Literal["minmax", "millivolt", "zscore", "none"]


def dataset_of(num_records: int, method: Method = "millivolt") -> ECGDataset:
    rng = np.random.default_rng(2)
    signals = rng.standard_normal((num_records, 40, 12)).astype(np.float32)
    return ECGDataset(signals, rng.integers(0, 2, (num_records, 3)).astype(np.uint8), method)


def equal(one: Batch, other: Batch) -> bool:
    pairs = ((one["signal"], other["signal"]), (one["label"], other["label"]), (one["index"], other["index"]))
    return all(ours.dtype == theirs.dtype and torch.equal(ours.cpu(), theirs) for ours, theirs in pairs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", ["minmax", "millivolt", "none"])
def test_the_batches_are_the_same_bits(method: Method, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resident, "ROWS_OF_A_COPY", 7)
    dataset = dataset_of(50, method)
    held = np.array([40, 3, 17, 3, 29, 8, 11, 49, 20, 21, 22])
    copy = ResidentDataset(dataset, held, torch.device(device))
    assert len(copy) == 10
    for rows in (np.array([3]), np.array([49, 3, 17]), held):
        batch = copy[rows]
        assert equal(batch, dataset[rows])
        assert batch["signal"].transpose(1, 2).is_contiguous()
        assert batch["signal"].device.type == device


def test_zscore_is_the_same_bits_on_the_same_device() -> None:
    dataset = dataset_of(9, "zscore")
    rows = np.array([8, 0, 4])
    assert equal(ResidentDataset(dataset, np.arange(9), torch.device("cpu"))[rows], dataset[rows])


def test_scaling_a_batch_leaves_the_copy_as_it_is() -> None:
    copy = ResidentDataset(dataset_of(6, "minmax"), np.arange(6), torch.device("cpu"))
    first = copy[np.array([1, 2])]["signal"].clone()
    assert torch.equal(copy[np.array([1, 2])]["signal"], first)


def test_what_no_ecg_can_hold_is_refused_as_it_is_copied() -> None:
    signals = np.zeros((5, 20, 12), np.float32)
    signals[3, 4, 5] = np.nan
    dataset = ECGDataset(signals, np.zeros((5, 1), np.uint8), "none", list("abcde"))
    with pytest.raises(SignalNotFiniteError, match=r"the records d hold"):
        ResidentDataset(dataset, np.arange(5), torch.device("cpu"))
    assert len(ResidentDataset(dataset, np.array([0, 1, 4]), torch.device("cpu"))) == 3


def test_room_is_a_quarter_of_a_gpus_free_memory_and_none_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4000, 10_000))
    gpu = torch.device("cuda")
    assert has_room(gpu, 1000)
    assert not has_room(gpu, 1001)
    assert not has_room(torch.device("cpu"), 1)
