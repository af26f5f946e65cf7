"""Archives: unpacked to the byte, or refused before anything leaves its folder."""

from __future__ import annotations

import hashlib
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from data_modules.unzip import ArchiveError, unzip

WANTED = r"ecg_tracings\.hdf5|annotations/\w+\.csv"
NOISE = np.random.default_rng(0).bytes(20_000)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


@pytest.mark.parametrize("top", ["", "data/"])
def test_wanted_members_come_out_with_their_hashes(tmp_path: Path, top: str) -> None:
    members = {"ecg_tracings.hdf5": NOISE, "annotations/gold_standard.csv": b"AF\n1\n", "model.py": b"import os"}
    packed = archive(tmp_path / "data.zip", {top + name: content for name, content in members.items()})
    files = unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=30_000)
    assert list(files) == ["annotations/gold_standard.csv", "ecg_tracings.hdf5"]
    for name, digest in files.items():
        assert (tmp_path / "out" / name).read_bytes() == members[name]
        assert digest == hashlib.sha256(members[name]).hexdigest()
    assert not (tmp_path / "out/model.py").exists()


@pytest.mark.parametrize("name", ["../ecg_tracings.hdf5", "/ecg_tracings.hdf5", "a\\b", "data/../../x"])
def test_names_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    packed = archive(tmp_path / "data.zip", {"data/ecg_tracings.hdf5": NOISE, name: b"x"})
    with pytest.raises(ArchiveError, match="no plain name"):
        unzip(packed, tmp_path / "out", wanted=".*", max_bytes=30_000)
    assert not (tmp_path / "out").exists()


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("ecg_tracings.hdf5")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as opened:
        opened.writestr(link, "/etc/passwd")
    with pytest.raises(ArchiveError, match="no plain file"):
        unzip(tmp_path / "data.zip", tmp_path / "out", wanted=WANTED, max_bytes=30_000)


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    packed = archive(tmp_path / "data.zip", {"ecg_tracings.hdf5": b"\0" * 10_000_000})
    with pytest.raises(ArchiveError, match="grows from"):
        unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=100_000_000)
    packed = archive(tmp_path / "data.zip", {"ecg_tracings.hdf5": NOISE})
    with pytest.raises(ArchiveError, match="unpacks to 20,000 bytes"):
        unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=19_999)


def test_a_size_that_lies_writes_no_more_than_it_says(tmp_path: Path) -> None:
    packed = archive(tmp_path / "data.zip", {"ecg_tracings.hdf5": NOISE})
    content = packed.read_bytes()
    packed.write_bytes(content.replace(struct.pack("<I", len(NOISE)), struct.pack("<I", 100)))
    with pytest.raises(ArchiveError):
        unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=30_000)
    assert not (tmp_path / "out/ecg_tracings.hdf5").exists()


def test_a_torn_archive_and_one_with_other_content_are_refused(tmp_path: Path) -> None:
    packed = archive(tmp_path / "data.zip", {"ecg_tracings.hdf5": NOISE})
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-30])
    with pytest.raises(ArchiveError, match="cannot be unpacked"):
        unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=30_000)
    packed.write_bytes(whole[:5000] + b"\0" + whole[5001:])
    with pytest.raises(ArchiveError, match=r"CRC|invalid"):
        unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=30_000)
    assert not (tmp_path / "out/ecg_tracings.hdf5").exists()
    archive(packed, {"readme.txt": b"nothing"})
    with pytest.raises(ArchiveError, match="none of the files"):
        unzip(packed, tmp_path / "out", wanted=WANTED, max_bytes=30_000)
