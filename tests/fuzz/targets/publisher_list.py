"""A publisher's lists: SHA256SUMS, Zenodo's JSON, and our own SOURCE.json. No name leads out of its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from data_modules.checksums import ChecksumListError, parse_sha256sums, parse_zenodo, place
from data_modules.download_source import Source, read_source

REFUSALS = (ChecksumListError, UnicodeDecodeError)
WANTED = r"[\w./+@-]+"


def seeds(folder: Path) -> Iterator[bytes]:
    digest = "0123456789abcdef" * 4
    yield f"{digest}  training/g1/E00001.hea\n{digest} *./training/g1/E00001.mat\n".encode()
    yield json.dumps({"files": [{"key": "data.zip", "size": 12, "checksum": f"md5:{digest[:32]}"}]}).encode()
    source = Source(
        corpus="ptb", version="1", url="", licence="", citation="", rate=None, files_from="", list_from="",
        list_sha256=digest, started="", files={"a/b.hea": digest},
    )  # fmt: skip
    source.write(folder)
    yield (folder / "SOURCE.json").read_bytes()


def check(data: bytes, folder: Path) -> None:
    (folder / "SOURCE.json").write_bytes(data)
    source = read_source(folder)
    names = list(source.files) if source else []
    if data[:1] == b"{":
        names += [file.path for file in parse_zenodo(data, wanted=WANTED)] if source is None else []
    else:
        names += [file.path for file in parse_sha256sums(data, folder="training/", wanted=WANTED)]
    for name in names:
        assert place(folder, name).resolve().is_relative_to(folder.resolve()), name
