"""The LSTMs of the PTB-XL benchmark: two layers of 256 units, and three ways of pooling side by side.

Wider and deeper than the paper's (`ecg_transfer.models.rnn`), with a hidden layer; see `ecg_transfer.models.benchmark`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecg_transfer.models.benchmark import BenchmarkBackbone, kaiming_fan_in
from ecg_transfer.models.persistent import outputs_of

HIDDEN_SIZE = 256
NUM_LAYERS = 2


class BenchmarkLSTM(BenchmarkBackbone):
    """Two layers of LSTM over the samples, for signals of any length.

    Parameters at 12 leads: 903,040; in both directions 2,329,984.

    Args:
        bidirectional: Whether a second pair of layers runs backwards in time.
        num_leads: Leads of a signal.
        num_samples: Not used.
    """

    def __init__(self, bidirectional: bool, *, num_leads: int = 12, num_samples: int | None = None) -> None:
        width = HIDDEN_SIZE * (2 if bidirectional else 1)
        super().__init__(num_leads=num_leads, num_channels=width, num_pooled=3 * width)
        self.rnn = nn.LSTM(num_leads, HIDDEN_SIZE, NUM_LAYERS, batch_first=True, bidirectional=bidirectional)
        kaiming_fan_in(self)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into the outputs of all steps, `(B, 256 * directions, T)`."""
        return outputs_of(self.rnn, signal.transpose(1, 2).contiguous()).transpose(1, 2)

    def concat_pool(self, features: Tensor) -> Tensor:
        """Reduce to `(B, 3 * 256 * directions)`: maximum and mean over time, and each direction's last state."""
        last = [features[:, :HIDDEN_SIZE, -1], features[:, HIDDEN_SIZE:, 0]]
        return torch.cat([super().concat_pool(features), *last], dim=1)

    def stages(self) -> list[list[nn.Module]]:
        """List the recurrent layers and the hidden layer."""
        return [[self.rnn], [self.hidden]]
