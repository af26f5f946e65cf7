"""Small changes to the training records that leave their labels what they are."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_modules.config import AugmentConfig

STREAM = 2
"""Keeps this random stream apart from those of the batches' order and of the crops."""


class Augmentation:
    """Another scale, other missing leads and other noise for each record in every epoch.

    Scale and missing leads follow from (seed, epoch, record) alone, as the crops do. Noise comes from torch's stream,
    which a run seeds anew before every epoch on every device: a resumed run repeats it, two devices draw otherwise than
    one.

    Args:
        config: How strong.
        num_records: Rows of the corpus.
        num_leads: Leads of a record.
        seed: The run's.
        stream: Tells apart changes that are drawn for the same records, two views of them say.
    """

    def __init__(
        self, config: AugmentConfig, num_records: int, num_leads: int, *, seed: int, stream: int = STREAM
    ) -> None:
        self._config, self._shape, self._seed, self._stream = config, (num_records, num_leads), seed, stream
        self._drawn: tuple[int, NDArray[np.float32]] | None = None

    def gains(self, epoch: int) -> NDArray[np.float32]:
        """By what each lead of each record is multiplied in this epoch, (records, leads): 0 where it is missing."""
        if self._drawn is None or self._drawn[0] != epoch:
            rng = np.random.default_rng((self._seed, epoch, self._stream))
            factors = np.exp(rng.uniform(-1, 1, (self._shape[0], 1)) * np.log1p(self._config.scaling))
            present = rng.random(self._shape) >= self._config.lead_masking
            self._drawn = epoch, (factors * present).astype(np.float32)
        return self._drawn[1]

    def apply(self, signal: Tensor, rows: Tensor, epoch: int) -> Tensor:
        """Change a batch.

        Args:
            signal: Scaled, (B, leads, T).
            rows: Row numbers, (B,).
            epoch: Of the training.

        Returns:
            The same shape, layout and dtype.
        """
        gains = torch.from_numpy(self.gains(epoch)[rows.cpu().numpy()]).to(signal)
        changed = signal * gains.unsqueeze(2)
        if self._config.noise:
            changed = changed + self._config.noise * torch.randn_like(changed)
        return changed
