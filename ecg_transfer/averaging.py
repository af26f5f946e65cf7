"""A running mean of the weights over the updates of a training: what is evaluated and kept in place of the last."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class WeightAverage:
    """Exponential moving average of a state dict (Polyak & Juditsky 1992; decay warmed up as in TensorFlow's).

    After update n each number moves by 1 - min(decay, (1 + n) / (10 + n)) of the way to its value of now, so that the
    mean of a short training is not still that of its beginning. Running statistics of BatchNorm are averaged likewise;
    whole numbers (how many batches they saw) are taken over.

    Args:
        decay: In (0, 1); 0.999 remembers about the last 1000 updates.

    Attributes:
        state: The averages by name; None before the first update.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"optim.ema is {decay:g}, expected a decay between 0 and 1, 0.999 say, or null for none")
        self.decay = decay
        self.state: dict[str, Tensor] | None = None

    @torch.no_grad()
    def update(self, state: Mapping[str, Tensor], num_updates: int) -> None:
        """Take in the weights after so many updates; the first ones are taken as they are."""
        if self.state is None:
            self.state = {name: value.detach().clone() for name, value in state.items()}
            return
        weight = 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))
        for name, value in state.items():
            mean = self.state[name] = self.state[name].to(value.device)  # a resumed one comes from the CPU
            if value.is_floating_point():
                mean.lerp_(value, weight)
            else:
                mean.copy_(value)

    def take_from_first_process(self) -> None:
        """Give every process the averages of the first: each has seen the running statistics of its own records."""
        for value in (self.state or {}).values():
            torch.distributed.broadcast(value, src=0)
