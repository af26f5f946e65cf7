"""`SOURCE.json`: where a corpus on disk comes from, and the SHA-256 that each of its files must have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from data_modules.checksums import Checksum, checked_name
from data_modules.unfinished import beside

SOURCE_FILE = "SOURCE.json"

MAX_BYTES = 100_000_000
"""Of a `SOURCE.json` that is read; PTB-XL's, the largest, has 9 MB."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is known of a corpus that was downloaded. It is written before the first file arrives."""

    corpus: str
    version: str
    url: str
    licence: str
    citation: str
    rate: int | None
    """Hz of the only rate that was asked for; None where all were."""
    files_from: str
    """Base address of the files."""
    list_from: str
    """Address of the publisher's list."""
    list_sha256: str
    """Of that list as it was fetched."""
    archive_sha256: str | None = None
    """Of the archive that the files were unpacked from, computed here."""
    started: str
    """UTC."""
    complete: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by name, relative to the corpus's folder."""

    def write(self, folder: Path) -> None:
        """Write it beside its place and rename it."""
        path = folder / SOURCE_FILE
        unfinished = beside(path)
        with unfinished.open("wb") as stream:
            stream.write((json.dumps(asdict(self), indent=1) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)


def read_source(folder: Path) -> Source | None:
    """The `SOURCE.json` of a folder; None where there is none, or none that can be used."""
    path = folder / SOURCE_FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        source = Source(**json.loads(path.read_bytes()))
        for name, digest in source.files.items():
            if len(bytes.fromhex(digest)) != 32 or checked_name(name) != name:
                return None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    return source


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What became of the files of a corpus."""

    num_files: int
    """That the publisher lists."""
    missing: tuple[str, ...]
    wrong: tuple[str, ...]
    """Files that are there with another content."""
    rate: int | None = None
    """Hz of the only rate whose files were compared."""

    @property
    def is_whole(self) -> bool:
        """Whether every file is there and right."""
        return not self.missing and not self.wrong

    def sentence(self) -> str:
        """Say it to a person."""
        only = "" if self.rate is None else f" of {self.rate} Hz"
        if self.is_whole:
            return f"all {self.num_files:,} files{only} are there and are the published ones"
        parts = [f"{len(names):,} {kind} ({_some(names)})" for kind, names in self._bad() if names]
        return f"of {self.num_files:,} files{only} {' and '.join(parts)}"

    def _bad(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        yield "are missing", self.missing
        yield "are not the published ones", self.wrong


def compare(folder: Path, files: Mapping[str, str], *, num_threads: int | None = None) -> Verification:
    """Hash the files of a folder, on all cores, and compare them with what they must be.

    Args:
        folder: Of the corpus.
        files: SHA-256 by name.
        num_threads: None takes one a core.
    """
    with ThreadPoolExecutor(num_threads or os.cpu_count() or 1) as pool:
        states = list(pool.map(lambda item: _state(folder, *item), files.items(), chunksize=64))
    named = list(zip(files, states, strict=True))
    return Verification(
        num_files=len(files),
        missing=tuple(name for name, state in named if state is None),
        wrong=tuple(name for name, state in named if state is False),
    )


def _state(folder: Path, name: str, digest: str) -> bool | None:
    path = folder / name
    if not path.is_file():
        return None
    return Checksum(algorithm="sha256", digest=digest).matches(path)


def _some(names: Iterable[str], limit: int = 3) -> str:
    listed = list(names)
    return ", ".join(listed[:limit]) + (", ..." if len(listed) > limit else "")
