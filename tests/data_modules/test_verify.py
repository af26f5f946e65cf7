"""What `data verify` says of a corpus that was downloaded at one rate, at the other, or at both."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from data_modules.download import download, verify
from data_modules.publishers import PUBLICATIONS
from tests.data_modules.bad_server import BadServer, serve


@pytest.fixture
def server() -> Iterator[BadServer]:
    with serve() as server:
        yield server


def test_verify_compares_the_rate_it_is_asked_about(
    server: BadServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stems = [f"records{rate}/00000/0000{number}_{kind}" for rate, kind in ((100, "lr"), (500, "hr")) for number in "12"]
    names = [f"{stem}.{suffix}" for stem in stems for suffix in ("dat", "hea")]
    files = {name: name.encode() for name in [*names, "ptbxl_database.csv", "scp_statements.csv"]}
    server.files = {f"xl/{name}": content for name, content in files.items()}
    lines = [f"{hashlib.sha256(content).hexdigest()} {name}" for name, content in files.items()]
    server.files["xl/SHA256SUMS.txt"] = "\n".join(lines).encode()
    publication = replace(
        PUBLICATIONS["ptbxl"],
        base=f"{server.url}xl/",
        checksums=f"{server.url}xl/SHA256SUMS.txt",
        num_records=2,
        num_bytes_at={100: 1_000_000, 500: 1_000_000},
    )
    monkeypatch.setitem(PUBLICATIONS, "ptbxl", publication)
    for rate in (100, 500):
        download("ptbxl", root=tmp_path, rate=rate, progress=False)
    assert verify("ptbxl", root=tmp_path).sentence() == "all 6 files of 500 Hz are there and are the published ones"
    (tmp_path / "ptbxl" / names[0]).write_bytes(b"damaged")
    assert verify("ptbxl", root=tmp_path, rate=500).is_whole
    assert verify("ptbxl", root=tmp_path, rate=100).wrong == (names[0],)
    with pytest.raises(ValueError, match="no rate of 250 Hz to choose"):
        verify("ptbxl", root=tmp_path, rate=250)
    download("ptbxl", root=tmp_path, replace_wrong=True, progress=False)
    assert verify("ptbxl", root=tmp_path).num_files == 10
    assert verify("ptbxl", root=tmp_path, rate=100).num_files == 6
