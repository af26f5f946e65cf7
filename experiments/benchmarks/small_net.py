"""A network that costs next to nothing, so that what is around it shows."""

from __future__ import annotations

from torch import Tensor, nn


class SmallNet(nn.Module):
    """Two strided convolutions and a mean over time: (B, 12, T) to (B, 32)."""

    num_features = 32

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(12, 16, 7, 4, 3), nn.ReLU(), nn.Conv1d(16, self.num_features, 5, 4, 2), nn.ReLU()
        )

    def forward(self, signal: Tensor) -> Tensor:
        """Embed."""
        embedding: Tensor = self.layers(signal).mean(dim=2)
        return embedding
