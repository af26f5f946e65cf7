"""A corpus that lies on a GPU whole, where the batches are gathered: nothing but row numbers travels in a step."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from data_modules.batches import Batch, ECGDataset
from data_modules.signal import scale_

SHARE_OF_FREE_MEMORY = 0.25
"""Of a GPU, for the corpus at most: the network needs the rest, and other runs may share it. All of PTB-XL is 1 GB."""
ROWS_OF_A_COPY = 1024


def has_room(device: torch.device, num_bytes: int) -> bool:
    """Whether a corpus of this size is to lie on this device; never where that is the CPU, whose memory it is in."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return num_bytes <= SHARE_OF_FREE_MEMORY * free


class ResidentDataset(Dataset[Batch]):
    """The batches of an `ECGDataset`, equal to the last bit, from a copy of some of its rows on a device.

    The signals are looked at once, as they are copied: what lies on the device cannot change.

    Args:
        dataset: What is copied.
        rows: Which rows of it can be asked for, (N,).
        device: Where to.

    Raises:
        SignalNotFiniteError: A row holds what no ECG can; the message names the records.
    """

    def __init__(self, dataset: ECGDataset, rows: NDArray[np.int64], device: torch.device) -> None:
        self._rows = np.unique(rows)
        self._device, self._method = device, dataset.method
        self._signals = torch.empty((len(self._rows), *dataset.shape), device=device)
        for start in range(0, len(self._rows), ROWS_OF_A_COPY):
            some = self._rows[start : start + ROWS_OF_A_COPY]
            self._signals[start : start + len(some)] = dataset.millivolts(some)
        self._labels = dataset.labels(self._rows).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: NDArray[np.int64]) -> Batch:
        """The batch of these rows, (B,), by their numbers in the corpus."""
        places = self._on_device(np.searchsorted(self._rows, rows))
        return {
            "signal": scale_(self._signals.index_select(0, places), self._method).transpose(1, 2),
            "label": self._labels.index_select(0, places),
            "index": self._on_device(rows),
        }

    def _on_device(self, numbers: NDArray[np.int64]) -> Tensor:
        held = torch.from_numpy(numbers)
        if self._device.type == "cuda":  # from other memory a copy would wait for all that the GPU has to do
            held = held.pin_memory()
        return held.to(self._device, non_blocking=True)
