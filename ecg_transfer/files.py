"""Files that are whole or not there: written beside their place, synced, renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from data_modules.unfinished import beside

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk and of a user's share of it that is used up."""


@contextmanager
def write_atomically(path: Path, *, previous: Path | None = None, is_durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its name only when it is whole and on the disk.

    The temporary file lies in the same directory, since a rename is atomic on one file system only.

    Args:
        path: The name it takes; what had that name before is replaced.
        previous: The name that what it replaces takes. For an instant there is only that one.
        is_durable: Whether to wait for the disk. Without, no kill leaves half of it, but a loss of power may.

    Raises:
        OSError: It cannot be written; a folder that is not there is named, a full disk with the path.
    """
    if not path.parent.is_dir():  # or the error would name the temporary file
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    unfinished = beside(path)
    try:
        with unfinished.open("w+b") as stream:
            yield stream
            stream.flush()
            if is_durable:
                os.fsync(stream.fileno())
        if previous is not None and path.exists():
            path.replace(previous)
        unfinished.replace(path)
        if is_durable:
            _sync_directory(path.parent)
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def require_room(path: Path, num_bytes: int) -> None:
    """Look for room before a file is written, so that a full disk is told with figures and nothing is begun.

    Args:
        path: What is to be written.
        num_bytes: Its size, about.

    Raises:
        OSError: There is less (`errno.ENOSPC`).
    """
    free = shutil.disk_usage(path.parent).free
    if free < num_bytes:
        raise OSError(
            errno.ENOSPC,
            f"No space left on device: {num_bytes / 1e6:.3g} MB are needed and {free / 1e6:.3g} MB are free",
            str(path),
        )


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically, indented for a reader; NaN is refused."""
    with write_atomically(path) as stream:
        stream.write((json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def wait_for_disk(path: Path) -> None:
    """Return when what was written to a file, by whomever, is on the disk.

    Raises:
        OSError: The disk failed.
    """
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


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
