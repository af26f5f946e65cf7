"""A backbone through torch.compile: on a GPU as CUDA graphs, so that a small network is not held up by its launches.

No GPU was at hand when this was written: the tests compile on the CPU, with a backend that needs no compiler.
"""

from __future__ import annotations

import torch
from torch import nn

BACKEND = "inductor"


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
