"""Networks as users bring them: with numbers, masks and ties that those of the package do not have."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ecg_transfer.models import Backbone
from tests.ecg_transfer.tiny_backbone import TinyBackbone


class StochasticDepth(TinyBackbone):
    """Reads numbers off a tensor while it is built, as timm's networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]
        self.register_buffer("window", torch.from_numpy(torch.hann_window(5).numpy()))


class Masked(TinyBackbone):
    """Has a mask and an order among its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(4, 4, dtype=torch.bool).tril())
        self.register_buffer("order", torch.arange(4, dtype=torch.int32))


class Endless(TinyBackbone):
    """Has an infinite number, which a file of weights must not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))


class Tied(TinyBackbone):
    """Has one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, signal: Tensor) -> Tensor:
        return torch.as_tensor(self.second(self.first(super().forward(signal))))


class Stageless(Backbone):
    """Does not say in which stage a weight is."""

    def __init__(self, num_leads: int = 12) -> None:
        super().__init__(num_leads=num_leads, num_features=6)
        self.module = TinyBackbone(num_leads)

    def forward_features(self, signal: Tensor) -> Tensor:
        return torch.as_tensor(self.module(signal)).unsqueeze(2)

    def pool(self, features: Tensor) -> Tensor:
        return features.squeeze(2)
