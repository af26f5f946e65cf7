"""A downloaded zip; what comes out lies in its folder and is what Python's zipfile reads."""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from data_modules.unzip import ArchiveError, unzip

REFUSALS = (ArchiveError,)


def seeds(folder: Path) -> Iterator[bytes]:
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("data/a.hdf5", b"abc" * 30)
            archive.writestr("data/annotations/g.csv", b"1,0\n" * 20)
            archive.writestr("data/README.md", b"x")
        yield stream.getvalue()


def check(data: bytes, folder: Path) -> None:
    (folder / "a.zip").write_bytes(data)
    target = folder / "out"
    shutil.rmtree(target, ignore_errors=True)
    found = unzip(folder / "a.zip", target, wanted=r"[\w/.-]+", max_bytes=10**6)
    written = {path.relative_to(target).as_posix(): path for path in target.rglob("*") if path.is_file()}
    assert written.keys() == found.keys()
    theirs = set()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for info in archive.infolist():
            with suppress(Exception):  # members that are not wanted may be broken
                theirs.add(hashlib.sha256(archive.read(info)).hexdigest())
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in written.values()} <= theirs
    assert sorted(path.name for path in folder.iterdir()) == ["a.zip", "out"]
