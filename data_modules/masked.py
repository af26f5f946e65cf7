"""Arrays that say themselves which of their values are none, as readers of NetCDF and of tables give them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def without_mask(values: ArrayLike) -> NDArray[Any]:
    """The values as an array; masked ones are NaN, where `np.asarray` would show what lies below the mask.

    Args:
        values: Anything that NumPy makes an array of; numbers, where it is masked.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return np.asarray(values)
    filled: NDArray[Any] = np.ma.filled(values.astype(np.result_type(values.dtype, np.float32)), np.nan)
    return filled
