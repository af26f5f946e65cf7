"""The contract of every backbone: a 12-lead ECG in, one embedding a record out.

Shape legend, used in all of `ecg_transfer.models`:

- `B`: records in the batch
- `num_leads`: 12, or fewer for reduced lead sets
- `T`: samples in time (1000 = 10 s at 100 Hz)
- `C`: channels of the feature map
- `T'`: time steps of the feature map
- `num_features`: width of the embedding, what the head reads
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """The transferred part of a classifier: everything but the last linear layer.

    A subclass sets the three attributes through `__init__` and defines `forward_features`, `pool` and `stages`. It must
    accept signals of any strides, and is fastest on the transposed view of a contiguous `(B, T, num_leads)` array,
    which is how batches arrive: the layout that records have on disk, and that fast convolutions (channels-last) and
    batch-first recurrent nets want.

    Args:
        num_leads: Leads of a signal.
        num_features: Width of the embedding.
        num_samples: The only signal length the backbone takes, where `num_features` depends on it; None if any will do.

    Raises:
        ValueError: From `forward`, when a signal has another shape than `(B, num_leads, T)`.
    """

    def __init__(self, *, num_leads: int, num_features: int, num_samples: int | None = None) -> None:
        super().__init__()
        self.num_leads = num_leads
        self.num_features = num_features
        self.num_samples = num_samples

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn signals `(B, num_leads, T)` into the feature map `(B, C, T')`, which still knows about time."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """Reduce a feature map `(B, C, T')` to embeddings `(B, num_features)`."""
        raise NotImplementedError

    def stages(self) -> list[list[nn.Module]]:
        """List the parts from the signal to the embedding; every parameter belongs to exactly one stage.

        The order serves learning rates that grow with depth, and gradual unfreezing from the last stage back.
        """
        raise NotImplementedError

    def forward(self, signal: Tensor) -> Tensor:
        """Embed signals `(B, num_leads, T)` as `(B, num_features)`."""
        self._check_shape(signal)
        return self.pool(self.forward_features(signal))

    def _check_shape(self, signal: Tensor) -> None:
        if signal.dim() != 3 or signal.shape[1] != self.num_leads:
            raise ValueError(
                f"{type(self).__name__} got a signal of shape {tuple(signal.shape)}, expected "
                f"(batch, {self.num_leads} leads, samples); transpose it, or build the backbone with another num_leads."
            )
        if self.num_samples is not None and signal.shape[2] != self.num_samples:
            raise ValueError(
                f"{type(self).__name__} got signals of {signal.shape[2]} samples, but was built for exactly "
                f"{self.num_samples}, because its embedding keeps every time step; crop or pad the signals, build it "
                f"with num_samples={signal.shape[2]}, or take a pooled variant (`*_mean`, `*_last`)."
            )


def is_watched(module: nn.Module) -> bool:
    """Whether somebody's hooks want to see what goes through a module: then it has to be called."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def is_traced() -> bool:
    """Whether the network is being traced, compiled or exported: then PyTorch's own layers are what can be read."""
    is_traced = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return bool(is_traced) or torch.compiler.is_compiling() or torch.compiler.is_exporting()
