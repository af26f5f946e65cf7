"""Small ECG files that the readers' tests write themselves, and where the real ones are."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def real_folder(name: str) -> Path:
    """Give a folder of the real recordings, or skip."""
    root = os.environ.get("ECG_REAL_DATA")
    if not root:
        pytest.skip("ECG_REAL_DATA does not name the real recordings")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


def synthetic_millivolts(num_samples: int, sampling_rate: int, seed: int = 0) -> NDArray[np.float64]:
    """Twelve leads of a crude ECG, one beat a second, whose limb leads satisfy the identities; (12, samples)."""
    rng = np.random.default_rng(seed)
    time = np.arange(num_samples) / sampling_rate
    beat = np.exp(-(((time + 0.5) % 1 - 0.5) ** 2) / (2 * 0.02**2)) + 0.2 * np.sin(2 * np.pi * time)
    one, two = 0.8 * beat, 1.2 * beat + 0.1 * np.cos(2 * np.pi * 0.7 * time)
    three = two - one
    limbs = [one, two, three, -(one + two) / 2, (one - three) / 2, (two + three) / 2]
    chest = [scale * beat for scale in (-0.5, -0.9, 0.4, 1.1, 1.3, 0.9)]
    return np.array(limbs + chest) + 0.001 * rng.standard_normal((12, num_samples))


def as_codes(millivolts: NDArray[np.float64], gain: float = 1000) -> NDArray[np.int16]:
    """Round to 16-bit codes."""
    return np.round(millivolts * gain).astype(np.int16)


def checksum(codes: NDArray[np.int16]) -> int:
    """16-bit signed sum, as the challenge's headers write it."""
    total = int(codes.astype(np.int64).sum()) % 65536
    return total - 65536 if total > 32767 else total


def write_challenge_record(
    folder: Path,
    name: str,
    codes: NDArray[np.int16],
    *,
    comments: Sequence[str] = ("#Dx: 426783006",),
    storage: str = "16+24",
    scale: str = "1000/mV",
    first_line: str | None = None,
    sampling_rate: int = 500,
) -> Path:
    """Write a MATLAB v4 `.mat` (24 bytes, then the codes column by column) and its header; give the header's path."""
    num_leads, num_samples = codes.shape
    folder.mkdir(parents=True, exist_ok=True)
    matrix = struct.pack("<5i4s", 30, num_leads, num_samples, 0, 4, b"val\0") + codes.T.astype("<i2").tobytes()
    (folder / f"{name}.mat").write_bytes(matrix)
    lines = [first_line or f"{name} {num_leads} {sampling_rate} {num_samples} 05-May-2020 14:50:55"]
    for lead, row in zip(LEADS, codes, strict=True):
        lines.append(f"{name}.mat {storage} {scale} 16 0 {row[0]} {checksum(row)} 0 {lead}")
    header = folder / f"{name}.hea"
    header.write_text("\n".join([*lines, *comments]) + "\n")
    return header
