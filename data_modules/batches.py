"""Batches gathered from memory: which rows, in which order, on which process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from data_modules.quality import MAX_MILLIVOLTS
from data_modules.signal import scale_

SERVED_MILLIVOLTS = 2 * MAX_MILLIVOLTS
"""Largest value that a batch may hold: what a record may, and room for a resampling filter's overshoot."""


class SignalNotFiniteError(ArithmeticError):
    """A signal that is about to be served holds NaN, infinity or a value that no ECG has."""


class Batch(TypedDict):
    """What a model is trained on."""

    signal: Tensor
    """Scaled, (B, 12, T) float32: a view of a contiguous (B, T, 12), so that it is channels-last without a copy."""
    label: Tensor
    """Multi-hot, (B, L) float32."""
    index: Tensor
    """Row numbers, (B,) int64: record ids are looked up by them."""


class ECGDataset(Dataset[Batch]):
    """Whole batches by their rows: one gather and one scaling a batch, none a record.

    Every batch is looked at before it is served, in training and in evaluation, because a network's BatchNorm takes a
    NaN into its running statistics before any loss is computed, and 1e30 without the loss ever showing it.

    Args:
        signals: Millivolts, (records, T, 12).
        labels: Multi-hot, (records, L).
        method: How amplitudes are scaled; see `data_modules.signal.scale`.
        record_ids: What an error calls the rows; their numbers by default.
    """

    def __init__(
        self,
        signals: NDArray[np.float32],
        labels: NDArray[np.uint8],
        method: Literal["minmax", "millivolt", "zscore", "none"],
        record_ids: Sequence[str] | None = None,
    ) -> None:
        self._signals, self._labels, self.method = signals, labels.astype(np.float32), method
        self._record_ids = record_ids

    def __len__(self) -> int:
        return len(self._signals)

    @property
    def shape(self) -> tuple[int, int]:
        """Samples and leads of a record."""
        return self._signals.shape[1], self._signals.shape[2]

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of these rows, (B,).

        Raises:
            SignalNotFiniteError: A row holds what no ECG can; the message names the records.
        """
        return {
            "signal": scale_(self.millivolts(rows), self.method).transpose(1, 2),
            "label": self.labels(rows),
            "index": torch.from_numpy(rows),
        }

    def millivolts(self, rows: NDArray[np.int64]) -> Tensor:
        """The signals of these rows, (B, T, 12), in memory of their own, not scaled.

        Raises:
            SignalNotFiniteError: As for the batch.
        """
        signal = torch.from_numpy(np.asarray(self._signals[rows]))
        low, high = torch.aminmax(signal)  # a NaN is the result of both; 35 times faster than isfinite().all()
        if not (low >= -SERVED_MILLIVOLTS and high <= SERVED_MILLIVOLTS):
            raise SignalNotFiniteError(self._complaint(signal, rows))
        return signal

    def labels(self, rows: NDArray[np.int64]) -> Tensor:
        """The labels of these rows, (B, L) float32."""
        return torch.from_numpy(self._labels[rows])

    def _complaint(self, signal: Tensor, rows: NDArray[np.int64]) -> str:
        within = (signal.abs() <= SERVED_MILLIVOLTS).all(dim=2).all(dim=1).numpy()
        names = [str(row) if self._record_ids is None else self._record_ids[row] for row in rows[~within]]
        others = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return (
            f"the records {', '.join(names[:8])}{others} hold NaN, infinity or more than {SERVED_MILLIVOLTS:g} mV "
            "after they were prepared; nothing has been computed of them. `ecg-transfer data check NAME --files` reads "
            "all records again"
        )


class ShuffledBatches(DistributedSampler[NDArray[np.int64]]):
    """Batches of shuffled rows; the order follows from (seed, epoch) alone, whatever ran before.

    A global batch is the same for any number of processes; each takes every `world_size`-th row of it. Where the last
    batch of an epoch does not divide by them, the rest (fewer than `world_size` records) sits that epoch out, so that
    the mean of the processes' gradients is the batch's gradient. It is a DistributedSampler by name alone, so that no
    Trainer shares its rows among the processes once more.

    Args:
        rows: Rows to draw from, (N,).
        batch_size: Of the global batch.
        seed: Of the order.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: The batch cannot be shared evenly among the processes.
    """

    def __init__(
        self, rows: NDArray[np.int64], batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"batch_size {batch_size} cannot be shared evenly by {world_size} processes: it is that of all of them "
                f"together; optim.batch_size={max(round(batch_size / world_size), 1) * world_size} can"
            )
        self._rows, self._batch_size, self._seed = rows, batch_size, seed
        self._rank, self._world_size = rank, world_size
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch. Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-(len(self._rows) // self._world_size * self._world_size) // self._batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = self._rows[np.random.default_rng((self._seed, self._epoch)).permutation(len(self._rows))]
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            batch = batch[: len(batch) // self._world_size * self._world_size]
            if len(batch):
                yield np.ascontiguousarray(batch[self._rank :: self._world_size])


class OrderedBatches(DistributedSampler[NDArray[np.int64]]):
    """Batches of rows in their order, for evaluation.

    With several processes each gets as many; the last ones may repeat a row, so results are to be joined by `index`. A
    DistributedSampler by name, as `ShuffledBatches`.

    Args:
        rows: Rows in order, (N,).
        batch_size: Rows of one batch.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, rows: NDArray[np.int64], batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        share = -(-len(rows) // world_size)
        self._rows = np.resize(rows, share * world_size)[rank::world_size] if len(rows) else rows
        self._batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self._rows) // self._batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(self._rows), self._batch_size):
            yield np.ascontiguousarray(self._rows[start : start + self._batch_size])
