"""Files of a hostile folder: only regular ones are read, and links only within their folder."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from data_modules.corpus import RecordError

_CAREFUL = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""Opening fails at a link, and does not wait at a pipe."""


def require_plain_file(path: Path) -> int:
    """Give the size of a file that lies in its folder, or is linked to within it. Opening a pipe would wait for ever.

    Raises:
        RecordError: `unreadable`: a link out of the folder, a pipe, a device.
        OSError: It is not there.
    """
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        try:
            target = path.resolve(strict=True)
        except RuntimeError as error:  # what Python 3.11 makes of a link to itself
            raise RecordError("unreadable", f"{path.name} is a link to itself") from error
        if not target.is_relative_to(path.parent.resolve()):
            raise RecordError("unreadable", f"{path.name} is a link out of its folder; copy the file itself there")
        info = target.stat()
    _require_regular(path, info)
    return info.st_size


def _require_regular(path: Path | str, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode):
        raise RecordError("unreadable", f"{Path(path).name} is no regular file")


def read_plain_file(path: Path | str, limit: int) -> bytes:
    """Give the first bytes of a file that `require_plain_file` accepts: one open, one look, one read for most.

    Args:
        path: The file.
        limit: How many bytes at most.

    Raises:
        RecordError: `unreadable`, as `require_plain_file`.
        OSError: It is not there, or the system says no.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _CAREFUL)
    except OSError:
        require_plain_file(Path(path))
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        info = os.fstat(descriptor)
        _require_regular(path, info)
        content = os.read(descriptor, limit)
        while len(content) not in (limit, info.st_size) and (more := os.read(descriptor, limit - len(content))):
            content += more
        return content
    finally:
        os.close(descriptor)
