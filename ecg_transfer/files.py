"""Files that are whole or not there: written beside their place, synced, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name only when it is whole and on the disk.

    The temporary file lies in the same directory, since a rename is atomic on one file system only.

    Args:
        path: The name it takes; what had that name before is replaced.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
        _sync_directory(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, indented for a reader; NaN is refused."""
    with write_atomically(path) as stream:
        stream.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def _sync_directory(folder: Path) -> None:
    """Make a rename durable; a file system that cannot sync a directory is left as it is."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        return
    finally:
        os.close(descriptor)
