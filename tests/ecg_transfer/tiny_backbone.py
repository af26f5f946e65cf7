"""Networks so small that a training takes a second, with all that makes resuming hard: BatchNorm and dropout."""

from __future__ import annotations

from torch import Tensor, nn

from ecg_transfer.models import Backbone
from ecg_transfer.models.patch_transformer import PatchTransformer

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


class StagedBackbone(Backbone):
    """(B, num_leads, T) -> (B, 5) in three stages, the first two with BatchNorm; dropout in the second only."""

    def __init__(self, num_leads: int = 12, *, dropout: float = 0.2) -> None:
        super().__init__(num_leads=num_leads, num_features=5)
        self.stem = nn.Conv1d(num_leads, 4, 5, stride=4, bias=False)
        self.stem_norm = nn.BatchNorm1d(4)
        self.block = nn.Sequential(nn.Conv1d(4, 6, 3, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(dropout))
        self.embedding = nn.Linear(6, 5)

    def forward_features(self, signal: Tensor) -> Tensor:
        features: Tensor = self.block(self.stem_norm(self.stem(signal)).relu_())
        return features

    def pool(self, features: Tensor) -> Tensor:
        return self.embedding(features.mean(dim=2)).relu_()

    def stages(self) -> list[list[nn.Module]]:
        return [[self.stem, self.stem_norm], [self.block], [self.embedding]]


def staged_without_dropout(num_leads: int = 12) -> StagedBackbone:
    """All of its trainings are the same however their batches are shared out, where BatchNorm is frozen."""
    return StagedBackbone(num_leads, dropout=0.0)


def tiny_transformer(num_leads: int = 12) -> PatchTransformer:
    """One block of width 12."""
    return PatchTransformer(12, 1, 3, num_leads=num_leads)
