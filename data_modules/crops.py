"""Random pieces of the training records, as in the PTB-XL benchmark (Strodthoff et al. 2020, arXiv 2004.13701)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

STREAM = 1
"""Keeps the crops' random stream apart from that of the order of the batches, which is (seed, epoch)."""


class RandomCrops:
    """A piece of each record, anew in every epoch.

    Where it begins follows from (seed, epoch, record) alone: not from the batch the record is in, nor from the process
    that trains on it, nor from what ran before. So a resumed run sees the same pieces, and so do several devices.

    Args:
        num_records: Rows of the corpus.
        num_samples: Of a record.
        length: Of a piece.
        seed: The run's.
    """

    def __init__(self, num_records: int, num_samples: int, length: int, *, seed: int) -> None:
        self.length = length
        self._num_records, self._num_starts, self._seed = num_records, num_samples - length + 1, seed
        self._drawn: tuple[int, NDArray[np.int64]] | None = None

    def starts(self, epoch: int) -> NDArray[np.int64]:
        """The first sample of each record's piece in this epoch, (records,); every one is equally likely."""
        if self._drawn is None or self._drawn[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch, STREAM))
            self._drawn = epoch, rng.integers(0, self._num_starts, self._num_records)
        return self._drawn[1]

    def cut(self, signal: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Cut the pieces of a batch out of it.

        Args:
            signal: Scaled as whole records, (B, leads, T): a piece keeps the record's minimum and maximum, not its own.
            rows: Row numbers, (B,).
            epoch: Of the training.

        Returns:
            (B, leads, length).
        """
        return pieces(signal, self.starts(epoch)[rows.cpu().numpy()], self.length)


def pieces(signal: Tensor, starts: NDArray[np.int64], length: int) -> Tensor:
    """Cut a piece out of each record of a batch, with one gather.

    Args:
        signal: (B, leads, T).
        starts: First sample of each piece, (B,).
        length: Of the pieces.

    Returns:
        (B, leads, length): a view of a contiguous (B, length, leads), as all batches are.
    """
    times = torch.from_numpy(starts).to(signal.device)[:, None] + torch.arange(length, device=signal.device)
    records = torch.arange(len(signal), device=signal.device)[:, None]
    return signal.transpose(1, 2)[records, times].transpose(1, 2)
