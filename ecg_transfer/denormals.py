"""Numbers too small for a float's full precision count as zero while a training computes.

Gradients that fade over the time steps of a recurrent net pass through them on their way to zero, and a CPU takes some
hundred cycles for each: one step of an `lstm_last` on ECGs took 4.5 s with them and 0.4 s without, one of a `gru` 4.1 s
and 0.4 s (batch 137, two cores). The ResNets hardly meet any. Added to a weight they change nothing: the smallest
float32 of full precision is 1.2e-38.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 1e-39
"""Below the smallest float32 of full precision."""


@contextmanager
def denormals_flushed() -> Iterator[bool]:
    """Within it denormal numbers are zeros, as operands and as results, on the CPU.

    It is a setting of this thread, which the threads that PyTorch starts for its operators inherit when the first of
    them needs them: in a process that has computed with PyTorch before, those keep what they have, and are slower.

    Yields:
        Whether it is in force; some processors cannot.
    """
    before = is_flushing()
    try:
        yield torch.set_flush_denormal(True)
    finally:
        torch.set_flush_denormal(before)


def is_flushing() -> bool:
    """Whether denormal numbers are zeros in this thread."""
    return torch.tensor(SMALL).mul(1).item() == 0
