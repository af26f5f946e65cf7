"""What a publisher says its files are: names and checksums, read from its own list and trusted no further."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *]?(\S.*)")
_NAME = re.compile(r"[\w.+@-]+(?:/[\w.+@-]+)*", re.ASCII)
_LENGTHS = {"sha256": 64, "md5": 32}


class ChecksumListError(ValueError):
    """A publisher's list that cannot be used: torn, of another format, or with a name that leads out of its folder."""


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """The content that a file must have."""

    algorithm: Literal["sha256", "md5"]
    digest: str
    """Lower-case hexadecimal."""

    def matches(self, path: Path) -> bool:
        """Whether a file has this content; False where there is none."""
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, self.algorithm).hexdigest() == self.digest
        except FileNotFoundError:
            return False


@dataclass(frozen=True, kw_only=True)
class PublishedFile:
    """One file of a publication."""

    path: str
    """Where it belongs, relative to the corpus's folder, `/` between parts."""
    address: str
    """Where it is published, relative to the publication's base address."""
    checksum: Checksum
    num_bytes: int | None = None
    """Its size, where the list gives one."""


def parse_sha256sums(content: bytes, *, folder: str, wanted: str) -> list[PublishedFile]:
    """Read a `SHA256SUMS.txt`, one `<digest> <name>` a line as PhysioNet and `sha256sum` write it.

    Args:
        content: The list.
        folder: The part of the database that is wanted, `training/georgia/`; it is taken off the names.
        wanted: Pattern of the names that are wanted, without `folder`.

    Returns:
        The wanted files, sorted by path.

    Raises:
        ChecksumListError: A line is none, a name leads out of its folder or is listed with two digests.
    """
    pattern = re.compile(wanted, re.ASCII)
    files: dict[str, PublishedFile] = {}
    for number, line in enumerate(content.decode("utf-8", "strict").splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ChecksumListError(f"line {number} of the list is {line[:80]!r}, expected a SHA-256 and a name")
        name = match[2].removeprefix("./")
        relative = name.removeprefix(folder)
        if not name.startswith(folder) or not pattern.fullmatch(relative):
            continue
        checksum = Checksum(algorithm="sha256", digest=match[1].lower())
        file = PublishedFile(path=checked_name(relative), address=checked_name(name), checksum=checksum)
        if files.setdefault(file.path, file) != file:
            raise ChecksumListError(f"the list names {name} twice with different checksums")
    return [files[path] for path in sorted(files)]


def parse_zenodo(content: bytes, *, wanted: str) -> list[PublishedFile]:
    """Read the files of a record out of the answer of Zenodo's `/api/records/<number>`.

    Args:
        content: JSON with `files`: `key`, `size`, `checksum` (`md5:...`).
        wanted: Pattern of the keys that are wanted.

    Raises:
        ChecksumListError: It is no such answer, or none of its files is wanted.
    """
    pattern = re.compile(wanted, re.ASCII)
    try:
        entries = [entry for entry in json.loads(content)["files"] if pattern.fullmatch(str(entry["key"]))]
        files = [_zenodo_file(str(entry["key"]), str(entry["checksum"]), entry["size"]) for entry in entries]
    except ChecksumListError:
        raise
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ChecksumListError(f"the answer is no description of a Zenodo record: {error!r}") from error
    if not files:
        raise ChecksumListError(f"the Zenodo record holds no file called {wanted}")
    return sorted(files, key=lambda file: file.path)


def _zenodo_file(key: str, checksum: str, size: object) -> PublishedFile:
    algorithm, _, digest = checksum.partition(":")
    if algorithm not in ("sha256", "md5") or not re.fullmatch(rf"[0-9a-f]{{{_LENGTHS[algorithm]}}}", digest):
        raise ChecksumListError(f"{key} has the checksum {checksum[:80]!r}, expected md5 or sha256")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ChecksumListError(f"{key} has the size {size!r}, expected a number of bytes")
    name = checked_name(key)
    return PublishedFile(
        path=name,
        address=name,
        checksum=Checksum(algorithm=algorithm, digest=digest),  # type: ignore[arg-type]
        num_bytes=size,
    )


def checked_name(name: str) -> str:
    """Give a relative name back, if it can only mean a file below its folder.

    Raises:
        ChecksumListError: It is absolute, has `..`, a backslash, a colon, a space or a control character.
    """
    if not _NAME.fullmatch(name) or any(part in (".", "..") for part in name.split("/")):
        raise ChecksumListError(f"a file is called {name[:120]!r}: that is no plain name below its folder")
    return name


def place(folder: Path, name: str) -> Path:
    """The path of a file below a folder, which no symbolic link may lead out of it.

    Raises:
        ChecksumListError: The name, or a link that lies in its way, leads elsewhere.
    """
    path = folder / checked_name(name)
    if path.is_symlink() or not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ChecksumListError(f"a symbolic link leads from {path} out of {folder}; remove it")
    return path
