"""A backbone's training step as CUDA graphs: recorded once, then launched as a whole.

A small network's kernels end before the next one is launched: on an H100 a ResNet1d-18 waited for three quarters of its
step (batch 256). A graph holds the same kernels in the same order, so that the numbers are the same, bit for bit; those
of a ResNet1d-50 and -101 up to rounding (`ecg_transfer.models.normalization`).
`torch.cuda.make_graphed_callables` records; what is added here is when a recording may be used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn

from ecg_transfer.models import BACKBONES
from ecg_transfer.models.normalization import while_recording


def may_be_recorded(name: str) -> bool:
    """Whether a backbone of this name is known to do the same in every step.

    Args:
        name: As `ecg_transfer.config.ModelConfig.backbone`.
    """
    return name in BACKBONES


class RecordedForward:
    """Stands in for a backbone's `forward`; trains by graphs where it can, and as before where it cannot.

    One pair of graphs is kept for each shape of a batch. They are made anew when what is trained has changed: weights
    that are frozen or thawed, modules that went into evaluation mode, autocast. Evaluation, and whatever needs no
    gradient, is never recorded. Between two calls the first one's backward pass must have been made, once.

    What a network decides in Python, by a random number say, would be decided once and for all in a recording. The
    backbones of this package decide nothing so; those of others are not recorded (`may_be_recorded`).

    Args:
        backbone: On a GPU.
    """

    def __init__(self, backbone: nn.Module) -> None:
        self._backbone = backbone
        self._forward: Callable[[Tensor], Tensor] = backbone.forward
        self._state: tuple[Any, ...] = ()
        self._recorded: dict[torch.Size, Callable[[Tensor], Tensor]] = {}
        self._refused = False

    def __call__(self, signal: Tensor) -> Tensor:
        """The embedding `(B, F)` of a signal `(B, leads, T)`."""
        if (
            self._refused
            or not torch.is_grad_enabled()
            or not any(w.requires_grad for w in self._backbone.parameters())
        ):
            return self._forward(signal)
        state = self._state_now(signal)
        if state != self._state:
            self._state = state
            self._recorded.clear()
        if signal.shape not in self._recorded:
            self._record(signal)
        return self._recorded.get(signal.shape, self._forward)(signal)

    def __deepcopy__(self, memo: dict[int, Any]) -> RecordedForward:
        """For a copy of the backbone, which has recorded nothing."""
        return RecordedForward(deepcopy(self._backbone, memo))

    def _state_now(self, signal: Tensor) -> tuple[Any, ...]:
        """All that a recording depends on besides the shape."""
        trained = tuple(weight.requires_grad for weight in self._backbone.parameters())
        modes = tuple(module.training for module in self._backbone.modules())
        return trained, modes, signal.dtype, torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")

    def _record(self, signal: Tensor) -> None:
        """Record a step on batches of this shape; statistics and random numbers stay as if it had not been made."""
        buffers = {name: value.clone() for name, value in self._backbone.named_buffers()}
        random_state = torch.cuda.get_rng_state(signal.device)
        # a recorded step runs on a stream of its own, which PyTorch would warn of; it waits for that stream
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        try:
            with while_recording(), torch.autocast("cuda", dtype, enabled, cache_enabled=False):
                body, sample = _Body(self._backbone, self._forward), signal.clone()
                recorded = torch.cuda.make_graphed_callables(body, (sample,), allow_unused_input=True)
            self._recorded[signal.shape] = cast(Callable[[Tensor], Tensor], recorded)
        except (RuntimeError, AssertionError) as error:
            self._refused = True
            self._recorded.clear()
            said = str(error).strip().splitlines() or [type(error).__name__]
            warnings.warn(
                f"trainer.cuda_graphs: no graph could be recorded ({said[0][:200]}); the training goes on without, "
                "which is slower for small networks and gives the same numbers, up to rounding",
                stacklevel=2,
            )
        finally:
            torch.cuda.set_rng_state(random_state, signal.device)
            with torch.no_grad():
                for name, value in self._backbone.named_buffers():
                    value.copy_(buffers[name])


class _Body(nn.Module):
    """A module of its own around a backbone's `forward`, whose name in the backbone is taken."""

    def __init__(self, backbone: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.backbone, self._function = backbone, forward

    def forward(self, signal: Tensor) -> Tensor:
        return self._function(signal)
