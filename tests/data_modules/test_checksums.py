"""Publishers' lists: read as their tools write them, refused where they lead astray."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from data_modules.checksums import ChecksumListError, checked_name, parse_sha256sums, parse_zenodo, place

A, B = "a" * 64, "b" * 64


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum")
def test_it_reads_what_sha256sum_writes(tmp_path: Path) -> None:
    (tmp_path / "patient001").mkdir()
    for name in ("patient001/s0010_re.dat", "patient001/s0010_re.hea", "index.html"):
        (tmp_path / name).write_bytes(name.encode())
    command = "find . -type f | xargs sha256sum"
    written = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=True).stdout
    files = parse_sha256sums(written, folder="", wanted=r"patient\d+/.*")
    assert [file.path for file in files] == ["patient001/s0010_re.dat", "patient001/s0010_re.hea"]
    assert all(file.checksum.matches(tmp_path / file.path) for file in files)
    assert not files[0].checksum.matches(tmp_path / files[1].path)
    assert not files[0].checksum.matches(tmp_path / "absent")


def test_a_folder_of_a_database_becomes_the_corpus() -> None:
    text = (
        f"{A} training/georgia/g1/E00001.hea\n{B} training/georgia_extra/g1/E1.hea\n{B} training/cpsc_2018/g1/A0001.hea"
    )
    (file,) = parse_sha256sums(text.encode(), folder="training/georgia/", wanted=r"g\d+/E\d+\.hea")
    assert (file.path, file.address) == ("g1/E00001.hea", "training/georgia/g1/E00001.hea")
    assert file.checksum.digest == A


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "a\\b", "C:x", "a//b", "a/./b", "", ".", "a b", "a\nb", "a/", "~/x:y", "ä"],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(ChecksumListError):
        checked_name(name)
    if name.strip() and "\n" not in name:
        with pytest.raises(ChecksumListError):
            parse_sha256sums(f"{A} {name}".encode(), folder="", wanted=".*")


@pytest.mark.parametrize("text", ["<html>503</html>", f"{A[:-1]} x", f"{A}x", f"{A} x\n{B} x", f"\\{A} x"])
def test_a_list_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ChecksumListError):
        parse_sha256sums(text.encode(), folder="", wanted=".*")


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (root / "g1").symlink_to(outside)
    (root / "x.dat").symlink_to(outside / "x.dat")
    for name in ("g1/A0001.hea", "x.dat"):
        with pytest.raises(ChecksumListError, match="symbolic link"):
            place(root, name)
    assert place(root, "g2/A0001.hea") == root / "g2/A0001.hea"


def record(**entry: object) -> bytes:
    usual = {"key": "data.zip", "size": 12, "checksum": "md5:" + "0" * 32}
    return json.dumps({"id": 1, "files": [usual | entry, {"key": "other.txt"}]}).encode()


def test_a_zenodo_record_is_read() -> None:
    (file,) = parse_zenodo(record(), wanted=r"data\.zip")
    assert (file.path, file.num_bytes, file.checksum.algorithm) == ("data.zip", 12, "md5")


@pytest.mark.parametrize(
    "content",
    [
        record(checksum="crc32:00000000"),
        record(checksum="md5:xyz"),
        record(size="12"),
        record(size=-1),
        record(key="../data.zip"),
        b"{}",
        b"[]",
        b"<html>",
        b"\xff",
        json.dumps({"files": [{"key": "data.zip"}]}).encode(),
    ],
)
def test_another_answer_is_refused(content: bytes) -> None:
    with pytest.raises(ChecksumListError):
        parse_zenodo(content, wanted=r"(.*/)?data\.zip")
