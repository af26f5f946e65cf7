"""WFDB files in the wording of each publisher: format 16, MATLAB-v4 `.mat`, header lines with true checksums."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MISSING = -32768
"""The code that format 16 reserves for "no sample"."""
MAT_HEADER_BYTES = 24
"""A MATLAB-v4 header: five 32-bit integers and the name `val` with its zero."""


def quantise(signal: NDArray[np.float32], gain: float) -> NDArray[np.int16]:
    """Millivolts to A/D units, NaN to `MISSING`: (signals, samples)."""
    codes = np.rint(signal * gain)
    return np.where(np.isnan(codes), MISSING, np.clip(codes, -32767, 32767)).astype("<i2")


def checksum(codes: NDArray[np.int16], *, signed: bool) -> int:
    """Sum of one signal's codes modulo 65536, as unsigned or as 16-bit signed integer (both are in use)."""
    total = int(codes.sum(dtype=np.int64)) & 0xFFFF
    return total - 0x10000 if signed and total >= 0x8000 else total


def signal_line(
    file: str, codes: NDArray[np.int16], name: str, *, file_format: str, gain: str, signed: bool = True
) -> str:
    """A header's line for one signal, in the order of WFDB's `header(5)`.

    Args:
        file: Name of the signal file.
        codes: The signal's A/D units, (samples,), for first value and checksum.
        name: Of the lead.
        file_format: `16`, or `16+24` where 24 bytes come before the samples.
        gain: As printed, unit included if the publisher prints it.
        signed: How the publisher prints checksums.

    Returns:
        File, format, gain, 16 bits, zero, first value, checksum, block size, name.
    """
    return f"{file} {file_format} {gain} 16 0 {int(codes[0])} {checksum(codes, signed=signed)} 0 {name}"


def write_dat(path: Path, codes: NDArray[np.int16]) -> None:
    """Write samples of all signals one after the other in time: format 16 from (signals, samples)."""
    path.write_bytes(np.ascontiguousarray(codes.T).tobytes())


def write_mat(path: Path, codes: NDArray[np.int16]) -> None:
    """Write a MATLAB-v4 file with one int16 matrix `val` of (signals, samples), as challenge-2020 does.

    MATLAB stores columns, so behind the 24 bytes lies format 16. The first integer, 30, means little-endian (0), a full
    matrix (0) of 16-bit signed integers (3).
    """
    header = struct.pack("<5i4s", 30, codes.shape[0], codes.shape[1], 0, 4, b"val\0")
    path.write_bytes(header + np.ascontiguousarray(codes.T).tobytes())
