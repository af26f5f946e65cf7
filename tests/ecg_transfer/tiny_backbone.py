"""A user's own network, small enough that a test can train it: strided convolutions, BatchNorm, dropout."""

from __future__ import annotations

from torch import Tensor, nn


class TinyNet(nn.Module):
    """(B, 12, T) -> (B, 16)."""

    num_features = 16

    def __init__(self, num_leads: int = 12) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(num_leads, 16, 15, stride=4),
            nn.BatchNorm1d(16),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Conv1d(16, 16, 15, stride=4),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Embed a batch."""
        embedding: Tensor = self.layers(signal)
        return embedding
