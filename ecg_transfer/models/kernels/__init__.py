"""GPU kernels in Triton, which PyTorch for GPUs brings along; imported where they are first launched."""

from __future__ import annotations

import warnings
from functools import lru_cache

import torch


def num_parts(whole: int, part: int) -> int:
    """Parts that cover the whole, the last one perhaps not full."""
    return -(-whole // part)


def power_of_two(number: int) -> int:
    """The smallest that is not below a number; kernels take no other widths."""
    return 1 << (number - 1).bit_length()


@lru_cache(maxsize=1)
def can_be_launched() -> bool:
    """Whether Triton is here and works on this machine's GPU; why not is said once.

    Its first launch has the machine's C compiler make a small library, which a container need not have.
    """
    if torch.version.cuda is None:  # AMD's cards are not meant
        return False
    try:
        from triton.runtime import driver

        driver.active.get_current_target()
    except ImportError:
        return False
    except Exception as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        warnings.warn(
            f"Triton does not work here ({said[0][:200]}): PyTorch's own layers are used, which are slower. It needs a "
            "C compiler and Python's headers (apt install gcc python3-dev)",
            stacklevel=2,
        )
        return False
    return True
