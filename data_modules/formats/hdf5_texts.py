"""Texts of variable length in an HDF5 file, read by a process of its own: `python hdf5_texts.py FILE DATASET`.

They lie in heaps that the HDF5 library trusts: a few changed bytes make it loop for ever (2.0.0, found by fuzzing), and
a few kilobytes can refer to one long text a million times. A process can be given up; a library cannot.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

MAX_TEXT = 1000
"""Characters of one text."""

MAX_TEXTS = 2**26
"""Bytes of all of them together, as JSON."""

CPU_SECONDS = 20
MEMORY = 2**30
"""Bytes that the process may take."""


def read_texts(path: Path, dataset: str) -> list[str]:
    """The texts of a dataset that was checked to lie in this file.

    Raises:
        ValueError: They cannot be read, or not within the limits.
    """
    command = [sys.executable, "-I", str(Path(__file__)), str(path.absolute()), dataset]
    try:
        process = subprocess.run(command, capture_output=True, check=False, timeout=10 * CPU_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"the texts of `{dataset}` cannot be read in time") from error
    if process.returncode != 0 or len(process.stdout) > MAX_TEXTS:
        raise ValueError(f"the texts of `{dataset}` cannot be read, or are longer than {MAX_TEXT} characters")
    return list(map(str, json.loads(process.stdout)))


def main() -> int:
    """Read the texts within limits and print them as a JSON list."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    import h5py

    with h5py.File(sys.argv[1], "r") as file:
        ids = file[sys.argv[2]].asstr()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
        found: list[str] = []
        step = max(1, MAX_TEXTS // Path(sys.argv[1]).stat().st_size)
        for start in range(0, len(file[sys.argv[2]]), step):
            part = [str(text) for text in ids[start : start + step]]
            if any(len(text) > MAX_TEXT for text in part):
                return 1
            found += part
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
