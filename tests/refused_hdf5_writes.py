"""Refuse every write of an HDF5 file in turn: `python tests/refused_hdf5_writes.py FOLDER`; prints what went wrong.

A process of its own, with nothing loaded that a fork would have to carry on.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "experiments" / "chaos")]

from no_room import FullDisk, can_refuse_writes  # type: ignore[import-not-found]  # noqa: E402

from data_modules.hdf5_writing import hdf5_writer  # noqa: E402

NUMBERS = np.arange(3000)


def write(path: Path) -> None:
    """As a cache is written: once anew, once more to it."""
    with hdf5_writer(path, "w") as file:
        file["record_ids"] = np.array(["a", "b"], dtype=h5py.string_dtype())
    with hdf5_writer(path, "a") as file:
        file["numbers"], file["log"] = NUMBERS, "what was found"


def main(folder: Path) -> str:
    """What went wrong; nothing, or why it cannot be tried, where it is empty."""
    path = folder / "disk" / "cache.h5"
    path.parent.mkdir()
    whole = FullDisk(path.parent)
    if (code := whole.watch(partial(write, path), folder / "log").code) != 0:
        return f"with room it ends with {code}"
    with h5py.File(path) as file:
        same = np.array_equal(file["numbers"][()], NUMBERS) and list(file["record_ids"].asstr()) == ["a", "b"]
        if not same or file["log"].asstr()[()] != "what was found":
            return "the file does not hold what was written"
    if len(whole.writes) <= 10:
        return f"HDF5 is known to write in many pieces, not {len(whole.writes)}"
    for number in range(len(whole.writes)):
        for once in (True, False):
            path.unlink(missing_ok=True)
            child = FullDisk(path.parent, number, once).watch(partial(write, path), folder / f"{number}-{once}.log")
            if child.code != 70 or f"OSError: [Errno 28] No space left on device: '{path}'" not in child.said():
                return f"write {number} refused {'once' if once else 'from then on'}: {child.code}, {child.said()}"
    return ""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) or None if can_refuse_writes() else "this system cannot refuse a process's writes")
