"""From the heart's dipole, and the noise of nine electrodes, to the twelve leads.

The dipole lives in Frank's coordinates: x points to the left, y to the feet, z to the back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")
"""Right arm, left arm, left leg, chest: the order of `ELECTRODES_TO_LEADS`' columns."""

DOWER = np.array(
    [
        [0.632, -0.235, 0.059],
        [0.235, 1.066, -0.132],
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)
"""I, II, V1 to V6 from Frank's X, Y, Z: Dower et al. 1980, Clin Cardiol 3:87-95."""

WILSON = np.full((6, 3), -1 / 3)
"""The chest electrodes are measured against the mean of the three limb electrodes."""
ELECTRODES_TO_LEADS = np.block([[np.array([[-1, 1, 0], [-1, 0, 1]]), np.zeros((2, 6))], [WILSON, np.eye(6)]])
"""I, II, V1 to V6 from the nine electrodes' potentials, (8, 9)."""
LIMB_LEADS = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])
"""I, II, III, aVR, aVL, aVF from I and II: Einthoven (III = II - I) and Goldberger."""
INDEPENDENT_TO_TWELVE = np.block([[LIMB_LEADS, np.zeros((6, 6))], [np.zeros((6, 2)), np.eye(6)]])
"""Twelve leads from I, II, V1 to V6, (12, 8)."""


def rotation(angles: Sequence[float]) -> NDArray[np.float64]:
    """Rotation matrix about the x, then the y, then the z axis.

    Args:
        angles: Three angles in radians. A positive one about z turns from the left arm (x) to the feet (y), as the
            electrical axis is counted.

    Returns:
        (3, 3).
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    product: NDArray[np.float64] = about_z @ about_y @ about_x
    return product


def lead_field(torso: Sequence[float], electrode_gain: Sequence[float]) -> NDArray[np.float64]:
    """One person's leads I, II, V1 to V6 from the dipole.

    Args:
        torso: Radians by which the heart lies rotated about x, y, z.
        electrode_gain: Six factors on V1 to V6.

    Returns:
        (8, 3).
    """
    field: NDArray[np.float64] = DOWER @ rotation(torso)
    field[2:] *= np.asarray(electrode_gain)[:, None]
    return field


FRONTAL = np.array([[1.0, 0.0], [-1 / np.sqrt(3), 2 / np.sqrt(3)]])
"""The frontal plane's two components from I and II: I itself, and aVF = II - I/2.

Goldberger's leads are smaller than Einthoven's by sqrt(3)/2, which the factor on aVF undoes.
"""


def frontal_axis(net: NDArray[np.float64]) -> float:
    """Electrical axis in degrees (-180, 180] from the net QRS of the leads I, II, V1 to V6."""
    left, down = FRONTAL @ net[:2]
    return float(np.degrees(np.arctan2(down, left)))


def turn_to_axis(field: NDArray[np.float64], dipole: NDArray[np.float64], degrees: float) -> float:
    """Degrees by which to rotate a dipole in the frontal plane so that the leads I and II show a given axis.

    The limb leads are skew, so this is not the difference of two angles: the part of the leads' frontal vector that is
    perpendicular to the wanted axis, a cos(turn) + b sin(turn) + c, must vanish. Of the two solutions the one counts
    that points along the axis, not against it. Where none exists (a dipole along the z axis) it comes close.

    Args:
        field: Leads I, II, ... from the dipole, (leads, 3).
        dipole: Net dipole, (3,).
        degrees: Wanted axis.
    """
    plane = FRONTAL @ field[:2]
    wanted = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
    across = np.array([-wanted[1], wanted[0]]) @ plane
    a, b = across[:2] @ dipole[:2], across[1] * dipole[0] - across[0] * dipole[1]
    offset = np.arccos(np.clip(-across[2] * dipole[2] / np.hypot(a, b), -1, 1))
    turns = np.arctan2(b, a) + np.array([offset, -offset])
    along = [wanted @ plane @ rotation((0.0, 0.0, turn)) @ dipole for turn in turns]
    return float(np.degrees(turns[int(np.argmax(along))]))
