"""Names for what is still being written beside its place, and the removal of what a dead process left so.

A name says on which machine and by which process: several machines may share the folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import time
from functools import cache
from pathlib import Path

from data_modules.machine import start_time, this_machine

ABANDONED = 86400.0
"""Seconds without a change after which what another machine, or an earlier boot of this one, left counts as
abandoned."""


def beside(path: Path) -> Path:
    """The name that a file or folder has until it is finished: hidden, in the same folder, this process's own."""
    return path.with_name(f".{path.name}.{_place()}.{os.getpid()}.tmp")


def sweep(folder: Path) -> list[Path]:
    """Remove what dead processes left unfinished in a folder; of living ones nothing is touched.

    Args:
        folder: Looked through itself, not below.

    Returns:
        What was removed.
    """
    return [found for found in sorted(folder.glob(".*.tmp")) if _is_abandoned(found) and _remove(found)]


def _is_abandoned(path: Path) -> bool:
    name, _, process = path.name.removesuffix(".tmp").rpartition(".")
    if not process.isdigit():
        return False
    if name.endswith(f".{_place()}"):
        return start_time(int(process)) is None
    try:
        return time.time() - path.stat().st_mtime > ABANDONED
    except OSError:
        return False


def _remove(path: Path) -> bool:
    """Remove a file or a folder; False where another process was faster, or that is not allowed."""
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except OSError:
        return False
    return True


@cache
def _place() -> str:
    """The host's name, for a reader, and what tells its boots and containers apart."""
    host = socket.gethostname().replace("/", "-")[:60]
    return f"{host}-{hashlib.sha256(this_machine().encode()).hexdigest()[:8]}"
