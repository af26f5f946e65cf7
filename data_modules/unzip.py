"""Files out of an archive that is trusted no further than its checksum: names, links and sizes are looked at first."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import zipfile
from pathlib import Path
from typing import IO

from data_modules.checksums import checked_name, place

MAX_MEMBERS = 1000

MAX_RATIO = 100
"""Times that a member may be larger than in the archive; ECGs shrink to a third at best."""

_CHUNK = 1 << 20


class ArchiveError(ValueError):
    """An archive that is not unpacked; the message says why."""


def unzip(archive: Path, folder: Path, *, wanted: str, max_bytes: int) -> dict[str, str]:
    """Unpack the wanted members of a zip; each takes its name when it is whole.

    Where all members lie in one folder of the archive, that folder is left away.

    Args:
        archive: The zip file.
        folder: Where to.
        wanted: Pattern of the wanted names, without the common folder.
        max_bytes: That all of them together may have.

    Returns:
        SHA-256 by name, relative to `folder`, sorted.

    Raises:
        ArchiveError: A name leads out of the folder, a member is a link, or sizes are out of bounds.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = _wanted(opened, re.compile(wanted, re.ASCII), max_bytes)
            return {name: _extract(opened, member, place(folder, name)) for name, member in sorted(members.items())}
    except ArchiveError:
        raise
    except Exception as error:  # zipfile raises whatever it stumbles over in a broken archive
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a place before the file's start
            raise
        raise ArchiveError(f"{archive.name} cannot be unpacked: {error}") from error


def check_compression(member: zipfile.ZipInfo) -> None:
    """Refuse what is neither stored nor deflated: other methods take memory as the file says, not as its contents do.

    Raises:
        ArchiveError: See above.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(f"{member.filename} in it is packed by method {member.compress_type}; deflate is read")


def _wanted(opened: zipfile.ZipFile, wanted: re.Pattern[str], max_bytes: int) -> dict[str, zipfile.ZipInfo]:
    members = [
        member
        for member in opened.infolist()
        if not member.is_dir() and not member.filename.startswith("__MACOSX/")  # what macOS adds to every archive
    ]
    if len(members) > MAX_MEMBERS:
        raise ArchiveError(f"it holds {len(members)} files, at most {MAX_MEMBERS} are unpacked")
    tops = {checked_name(member.filename).partition("/")[0] for member in members}
    common = f"{tops.pop()}/" if len(tops) == 1 and all("/" in member.filename for member in members) else ""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in members:
        name = member.filename.removeprefix(common)
        if not wanted.fullmatch(name):
            continue
        if found.setdefault(name, member) is not member:
            raise ArchiveError(f"it holds {name} twice")
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ArchiveError(f"{name} in it is no plain file")
        check_compression(member)
        if member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise ArchiveError(f"{name} in it grows from {member.compress_size:,} to {member.file_size:,} bytes")
    if not found:
        raise ArchiveError("it holds none of the files that are wanted")
    total = sum(member.file_size for member in found.values())
    if total > max_bytes:
        raise ArchiveError(f"it unpacks to {total:,} bytes, at most {max_bytes:,} are taken")
    return found


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    with opened.open(member) as source, part.open("xb") as stream:
        digest = _copy(source, stream, member.file_size)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(target)
    return digest


def _copy(source: IO[bytes], stream: IO[bytes], declared: int) -> str:
    """Copy at most what was declared; zipfile itself compares the CRC at the end."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        size += len(chunk)
        if size > declared:
            raise ArchiveError(f"a member is larger than the {declared:,} bytes that it declares")
        digest.update(chunk)
        stream.write(chunk)
    return digest.hexdigest()
