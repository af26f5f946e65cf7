"""Networks so small that a training takes a second, with all that makes resuming hard: BatchNorm and dropout."""

from __future__ import annotations

from torch import Tensor, nn

NAME = "tests.ecg_transfer.tiny_backbone:TinyBackbone"
"""What it is called in a configuration."""


class TinyBackbone(nn.Module):
    """(B, num_leads, T) -> (B, 6)."""

    def __init__(self, num_leads: int = 12, num_features: int = 6) -> None:
        super().__init__()
        self.num_features = num_features
        self.convolution = nn.Conv1d(num_leads, num_features, 5, stride=4, bias=False)
        self.norm = nn.BatchNorm1d(num_features)
        self.dropout = nn.Dropout(0.2)

    def forward(self, signal: Tensor) -> Tensor:
        return self.dropout(self.norm(self.convolution(signal)).relu().mean(dim=2))


class WideBackbone(TinyBackbone):
    """The same with another width, whose weights do not fit."""

    def __init__(self, num_leads: int = 12) -> None:
        super().__init__(num_leads, 7)
