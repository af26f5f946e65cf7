"""A backbone through torch.compile: on a GPU as CUDA graphs, so that a small network is not held up by its launches.

The tests compile on the CPU, with a backend that needs no compiler.
"""

from __future__ import annotations

import torch
from torch import nn

BACKEND = "inductor"


class CompilationError(ValueError):
    """torch.compile failed; the message says what does without it."""


def compile_backbone(backbone: nn.Module, device: torch.device) -> None:
    """Compile a backbone in place, which leaves the names of its weights as they are; the work is done at first use.

    Only the backbone is: torch.compile cannot take a LightningModule. LSTM and GRU stay as they are, because it leaves
    `nn.LSTM` and `nn.GRU` out of its graphs.

    Args:
        backbone: Of a classifier.
        device: On which it will be trained.
    """
    # other modes than the default are of the backend inductor, which alone has CUDA graphs
    mode = "reduce-overhead" if device.type == "cuda" and BACKEND == "inductor" else None
    backbone.compile(backend=BACKEND, mode=mode)


def explained_compilation(error: Exception) -> Exception:
    """The error itself; in place of one of torch.compile, which may be pages of C++, one that says what to do."""
    if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return error
    said = " ".join([line.strip() for line in str(error).splitlines() if line.strip()][:2])
    return CompilationError(
        f"torch.compile failed here: {type(error).__name__}: {said[:300]}. It needs a C++ compiler, or "
        "Triton on a GPU; trainer.compile=false does without"
    )
