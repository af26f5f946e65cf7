"""LSTM, BiLSTM and GRU over the samples of an ECG: one layer, 100 hidden units, zero initial state.

The paper's networks flatten the outputs of all time steps, so that the head reads 100,000 features (BiLSTM 200,000) and
holds most of the parameters, which do not transfer. The pooled variants keep the head small: the mean over time, or the
last state.

LSTM: Hochreiter & Schmidhuber 1997; GRU: Cho et al. 2014 (arXiv 1406.1078), with the reset gate
after the product, as cuDNN has it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ecg_transfer.models.backbone import Backbone
from ecg_transfer.models.gru import GRU
from ecg_transfer.models.persistent import outputs_of

HIDDEN_SIZE = 100

Cell = Literal["lstm", "bilstm", "gru"]
Pooling = Literal["flatten", "mean", "last"]


class RecurrentBackbone(Backbone):
    """One recurrent layer whose outputs are flattened or pooled over time.

    Parameters at 12 leads: LSTM 45,600, BiLSTM 91,200, GRU 34,200.

    Args:
        cell: `bilstm` runs a second LSTM backwards in time and puts its outputs behind those of the first.
        pooling: `flatten` keeps all outputs in `(time, hidden)` order, `mean` averages them over time, `last` takes
            each direction's final state: the last sample's forwards, the first sample's backwards.
        num_leads: Leads of a signal.
        num_samples: Length of the signals. The width of `flatten` is a multiple of it, and then no other length is
            taken; the pooled variants take any.
    """

    def __init__(self, cell: Cell, pooling: Pooling, *, num_leads: int = 12, num_samples: int = 1000) -> None:
        width = HIDDEN_SIZE * (2 if cell == "bilstm" else 1)
        if pooling == "flatten":
            super().__init__(num_leads=num_leads, num_features=width * num_samples, num_samples=num_samples)
        else:
            super().__init__(num_leads=num_leads, num_features=width)
        self.pooling = pooling
        self.rnn: nn.LSTM | nn.GRU
        if cell == "gru":
            self.rnn = GRU(num_leads, HIDDEN_SIZE)
        else:
            self.rnn = nn.LSTM(num_leads, HIDDEN_SIZE, batch_first=True, bidirectional=cell == "bilstm")

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into the outputs of all steps, `(B, hidden * directions, T)`."""
        return outputs_of(self.rnn, signal.transpose(1, 2).contiguous()).transpose(1, 2)

    def pool(self, features: Tensor) -> Tensor:
        """Flatten or reduce `(B, hidden * directions, T)` to `(B, num_features)`."""
        if self.pooling == "flatten":
            return features.transpose(1, 2).flatten(1)
        if self.pooling == "mean":
            return features.mean(dim=2)
        return torch.cat([features[:, :HIDDEN_SIZE, -1], features[:, HIDDEN_SIZE:, 0]], dim=1)

    def stages(self) -> list[list[nn.Module]]:
        """List the only stage, the recurrent layer."""
        return [[self.rnn]]
