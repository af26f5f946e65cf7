"""Too little memory, said with what can be done about it."""

from __future__ import annotations

import errno

import torch

from ecg_transfer.config import RunConfig

SAID_BY_TORCH = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "out of memory")
"""What plain `RuntimeError`s of torch that mean too little memory have in them."""


class OutOfMemoryError(MemoryError):
    """A run does not fit into the memory of its device; the message says what makes it smaller."""


def explained(error: Exception, config: RunConfig) -> Exception:
    """The error itself; in place of one that means too little memory, one that says so.

    Args:
        error: Of a run.
        config: Of that run.
    """
    if not means_too_little_memory(error):
        return error
    on_gpu = isinstance(error, torch.OutOfMemoryError) or "CU" in str(error)
    size, precision = config.optim.batch_size, config.trainer.precision
    advice = [f"an optim.batch_size below {size}"] if size > 1 else []
    advice += ["trainer.precision=bf16"] if on_gpu and precision != "bf16" else []
    advice.append("fewer runs at the same time (study run --workers)")
    said = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return OutOfMemoryError(
        f"{'GPU memory' if on_gpu else 'memory'} is not enough for {config.model.backbone} with "
        f"optim.batch_size={size} and trainer.precision={precision}. Less is needed with {', '.join(advice)}. "
        f"({said[:300]})"
    )


def means_too_little_memory(error: Exception) -> bool:
    """Whether an error says that there is too little memory, of the machine or of a GPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(said in str(error) for said in SAID_BY_TORCH)
