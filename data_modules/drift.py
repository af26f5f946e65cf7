"""Baseline drift, taken off for comparing recordings; a model's input keeps it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def without_drift(signals: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Take off a centred moving mean; beyond the ends the end values are held.

    Args:
        signals: (records, samples, leads).
        window: Samples of the mean, made odd.

    Returns:
        The same shape.
    """
    half = min(window, signals.shape[1]) // 2
    padded = np.pad(signals, ((0, 0), (half + 1, half), (0, 0)), mode="edge")
    padded[:, 0] = 0
    sums = np.cumsum(padded, axis=1, dtype=np.float64)
    width = 2 * half + 1
    level = (sums[:, width:] - sums[:, :-width]) / width
    result: NDArray[np.float32] = (signals - level).astype(np.float32)
    return result
