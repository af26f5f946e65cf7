"""A network so small that its training takes a second, with what makes resuming hard: BatchNorm and dropout."""

from __future__ import annotations

from torch import Tensor, nn

NAME = "tiny_net:TinyNet"
"""What it is called in a configuration."""


class TinyNet(nn.Module):
    """(B, num_leads, T) -> (B, 8)."""

    def __init__(self, num_leads: int = 12) -> None:
        super().__init__()
        self.num_features = 8
        self.convolution = nn.Conv1d(num_leads, 8, 7, stride=8, bias=False)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.2)

    def forward(self, signal: Tensor) -> Tensor:
        """Features of a batch."""
        return self.dropout(self.norm(self.convolution(signal)).relu().mean(dim=2))
