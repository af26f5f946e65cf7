"""Whether the right arm's electrode was on another limb, told from how the limb leads fit the chest leads.

A linear map from V1-V6 predicts I and II, as in Kors and van Herpen 2001 (Am J Cardiol 88:396), who detect interchanged
electrodes by how well leads are reconstructed from others. The chest leads do not change when limb electrodes are
interchanged among RA, LA and LL: their reference is the mean of the three. So each of the six arrangements says what
the true I and II would have been, and the one that fits the prediction best is the likely one.

Interchanging LA and LL hardly changes the fit (found in 4 % at these thresholds): it is not looked for.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from data_modules.drift import without_drift

Floats = NDArray[np.float64]

FROM_CHEST = np.array(
    [[-0.564, 0.236, 0.043, -0.077, 0.118, 0.288], [-0.024, -0.093, 0.136, 0.069, -0.024, 0.507]], dtype=np.float64
)
"""I and II from V1-V6: least squares over the 17,094 training records of PTB-XL (folds 1-8), each of equal power."""

SWAPPED_MARGIN = 0.5
"""How much better (in correlation) the best arrangement with RA elsewhere must fit than the best with RA in its place.
The measured rates are those of `tests/data_modules/test_lead_swaps.py` and the command in its docstring."""

DRIFT_SECONDS = 0.6
"""Width of the moving mean that is taken off: what is slower is drift."""

_POTENTIALS = np.array([[-1, -1], [2, -1], [-1, 2]]) / 3
"""RA, LA and LL against their mean, from I and II."""


def _arrangement(order: tuple[int, ...]) -> Floats:
    """Recorded (I, II) from true ones, where electrode k (RA, LA, LL) lies on limb `order[k]`."""
    right_arm, left_arm, left_leg = _POTENTIALS[list(order)]
    return np.stack([left_arm - right_arm, left_leg - right_arm])


_ORDERS = list(permutations(range(3)))
_UNDO = np.stack([np.linalg.inv(_arrangement(order)) for order in _ORDERS])
_RIGHT_ARM_IN_PLACE = np.array([order[0] == 0 for order in _ORDERS])


def right_arm_margin(signals: NDArray[np.float32], sampling_rate: int) -> Floats:
    """How much better the limb leads fit the chest leads with the right arm's electrode on another limb.

    Args:
        signals: Millivolts, (records, samples, 12), canonical leads, finite.
        sampling_rate: Hz.

    Returns:
        (records,), between -2 and 2; more than `SWAPPED_MARGIN` is a suspicion, nothing more: dextrocardia and large
        infarctions look alike. -2 where the limb or the chest leads are flat.
    """
    leads = without_drift(signals[:, :, (0, 1, 6, 7, 8, 9, 10, 11)], round(DRIFT_SECONDS * sampling_rate))
    products = np.matmul(leads.transpose(0, 2, 1), leads).astype(np.float64)
    limb, cross, chest = products[:, :2, :2], products[:, :2, 2:], products[:, 2:, 2:]
    predicted_power = np.einsum("ij,njk,ik->n", FROM_CHEST, chest, FROM_CHEST)
    power = np.einsum("hij,njk,hik->nh", _UNDO, limb, _UNDO) * predicted_power[:, None]
    product = np.einsum("hij,njk,ik->nh", _UNDO, cross, FROM_CHEST)
    fit = np.divide(product, np.sqrt(power), out=np.zeros_like(product), where=power > 0)
    margin = fit[:, ~_RIGHT_ARM_IN_PLACE].max(axis=1) - fit[:, _RIGHT_ARM_IN_PLACE].max(axis=1)
    return np.where((power > 0).all(axis=1), margin, -2.0)
