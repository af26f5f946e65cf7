"""Two views of each record that should look alike, for learning without labels.

`segment`: two pieces of the same recording that do not overlap (CMSC of CLOCS, Kiyasseh et al. 2021, arXiv 2005.13249).
`patient`: a piece of it and one of another recording of the same patient (PCLR, Diamant et al. 2022, doi
10.1371/journal.pcbi.1009862); a patient with one recording gives two pieces of that.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.augmentation import Augmentation
from data_modules.batches import ECGDataset
from data_modules.config import AugmentConfig, Positives
from data_modules.crops import pieces

SEGMENTS, PARTNERS = 3, 4
"""Keep these random streams apart from each other and from those of batches, crops and augmentation."""
SECOND_VIEW = 5
"""Likewise that of the second view's augmentation."""


class PositivePairs:
    """Draws the two views; which they are follows from (seed, epoch, record) alone, as the crops do.

    Args:
        dataset: The records, for partners that are not in the batch.
        parts: Row numbers of each part of the split; a record's partner is of its own part.
        groups: Number of the patient of each row.
        length: Samples of a view, at most half a record's.
        positives: See above.
        augment: How the views of training batches are changed, each by itself.
        seed: The run's.

    Raises:
        ValueError: Two views do not fit into a record.
    """

    def __init__(
        self,
        dataset: ECGDataset,
        parts: Iterable[NDArray[np.int64]],
        groups: NDArray[np.int64],
        length: int,
        positives: Positives,
        *,
        augment: AugmentConfig,
        seed: int,
    ) -> None:
        num_samples, num_leads = dataset.shape
        if not 1 <= length <= num_samples // 2:
            raise ValueError(
                f"two pieces of {length} samples do not lie beside each other in records of {num_samples}: give "
                "crops.seconds of at most half a record, or null for just that"
            )
        self._dataset, self._length, self._free, self._seed = dataset, length, num_samples - 2 * length, seed
        self._members = _members(parts, groups, len(dataset)) if positives == "patient" else None
        self._augmentations = [
            Augmentation(augment, len(dataset), num_leads, seed=seed, **stream)
            for stream in ({}, {"stream": SECOND_VIEW})
            if augment.is_active
        ]
        self._drawn: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None

    def starts(self, epoch: int) -> NDArray[np.int64]:
        """The first samples of each record's two pieces in this epoch, (records, 2); they never overlap."""
        return self._draw(epoch)[0]

    def partners(self, epoch: int) -> NDArray[np.int64]:
        """The row of each record's second view in this epoch, (records,); its own where there is no other."""
        return self._draw(epoch)[1]

    def _draw(self, epoch: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self._drawn is None or self._drawn[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch, SEGMENTS))
            gaps = np.sort(rng.integers(0, self._free, (len(self._dataset), 2), endpoint=True), axis=1)
            self._drawn = epoch, gaps + np.array([0, self._length]), self._draw_partners(epoch)
        return self._drawn[1:]

    def _draw_partners(self, epoch: int) -> NDArray[np.int64]:
        partners = np.arange(len(self._dataset))
        if self._members is None:
            return partners
        rows, place, size, first = self._members
        steps = np.random.default_rng((self._seed, epoch, PARTNERS)).integers(1, np.maximum(size, 2))
        partners[rows] = rows[first + (place + steps) % size]
        return partners

    def views(self, signal: Tensor, rows: Tensor, epoch: int, *, augmented: bool) -> Tensor:
        """Cut the two views of a batch.

        Args:
            signal: Scaled as whole records, (B, leads, T).
            rows: Row numbers, (B,).
            epoch: Of the training.
            augmented: Whether to change them.

        Returns:
            (2B, leads, length): all first views, then all second ones in the same order.
        """
        own = rows.cpu().numpy()
        starts = self.starts(epoch)[own]
        both = [pieces(signal, starts[:, 0], self._length)]
        both.append(pieces(self._others(signal, own, epoch), starts[:, 1], self._length))
        if augmented:
            changes = zip(self._augmentations, both, strict=False)
            both = [change.apply(view, rows, epoch) for change, view in changes] or both
        return torch.cat([view.transpose(1, 2) for view in both]).transpose(1, 2)

    def _others(self, signal: Tensor, rows: NDArray[np.int64], epoch: int) -> Tensor:
        """The records of the second views, (B, leads, T)."""
        partners = self.partners(epoch)[rows]
        elsewhere = np.flatnonzero(partners != rows)
        if len(elsewhere) == 0:
            return signal
        others = signal.clone()
        others[torch.from_numpy(elsewhere).to(signal.device)] = self._dataset[partners[elsewhere]]["signal"].to(signal)
        return others


def _members(
    parts: Iterable[NDArray[np.int64]], groups: NDArray[np.int64], num_records: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """All rows, a part's patients one after the other; and of each the place in its patient, that one's size, start."""
    part_of = np.full(num_records, -1, np.int64)
    for number, rows in enumerate(parts):
        part_of[rows] = number
    used = np.flatnonzero(part_of >= 0)
    rows = used[np.lexsort((groups[used], part_of[used]))]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (groups[rows[1:]] != groups[rows[:-1]]) | (part_of[rows[1:]] != part_of[rows[:-1]])
    begins = np.flatnonzero(is_first)
    size = np.diff(np.append(begins, len(rows)))
    first = np.repeat(begins, size)
    return rows, np.arange(len(rows)) - first, np.repeat(size, size), first
