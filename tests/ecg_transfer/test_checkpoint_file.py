from __future__ import annotations

import errno
import hashlib
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
import torch

from ecg_transfer import files
from ecg_transfer.checkpoint_file import is_whole, write_checkpoint

CONTENT = {"epoch": 3, "weights": torch.arange(40.0), "files": {"a": torch.zeros(5, dtype=torch.uint8)}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checkpoint(CONTENT, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_it_carries_size_and_digest_and_torch_and_zip_read_it(path: Path) -> None:
    loaded = torch.load(path, weights_only=True)
    assert loaded["epoch"] == 3
    assert torch.equal(loaded["weights"], CONTENT["weights"])  # type: ignore[arg-type]
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        said = re.fullmatch(r"bytes=0*(\d+) sha256=([0-9a-f]{64})", opened.comment.decode())
        length = len(opened.comment)
    assert said is not None
    content = path.read_bytes()
    as_torch_wrote_it = content[: -length - 2] + b"\0\0"
    assert len(as_torch_wrote_it) == int(said[1])
    assert hashlib.sha256(as_torch_wrote_it).hexdigest() == said[2]
    assert is_whole(path)


def test_every_cut_and_every_changed_byte_is_noticed(path: Path, tmp_path: Path) -> None:
    content, damaged = path.read_bytes(), tmp_path / "damaged.ckpt"
    for length in range(0, len(content), 7):
        damaged.write_bytes(content[:length])
        assert not is_whole(damaged), length
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        damaged.write_bytes(changed)
        assert not is_whole(damaged), position
    damaged.write_bytes(content + b"\0")
    assert not is_whole(damaged)
    assert not is_whole(tmp_path / "missing.ckpt")


def test_one_that_torch_alone_wrote_is_judged_by_its_members(tmp_path: Path) -> None:
    path = tmp_path / "foreign.ckpt"
    torch.save(CONTENT, path)
    assert is_whole(path)
    content = bytearray(path.read_bytes())
    place = content.index(CONTENT["weights"].numpy().tobytes()[4:])  # type: ignore[attr-defined]
    content[place] ^= 1
    path.write_bytes(content)
    assert not is_whole(path)
    path.write_text("no zip at all, but long enough to be looked at")
    assert not is_whole(path)


@contextmanager
def full_disk() -> Iterator[list[OSError]]:
    """Collects the errors of a full disk; others pass."""
    caught: list[OSError] = []
    try:
        yield caught
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        caught.append(error)


class FullDisk:
    """A stream whose n-th write finds no room."""

    def __init__(self, stream: IO[bytes], writes_left: int) -> None:
        self._stream, self._writes_left = stream, writes_left

    def write(self, data: bytes) -> int:
        if self._writes_left == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._writes_left -= 1
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._stream, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.close()


def test_a_disk_that_is_full_at_any_write_is_named_and_the_old_one_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    original = Path.open
    num_failed = 0
    while path.read_bytes() == before:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "open", lambda self, mode="r", n=num_failed: FullDisk(original(self, mode), n))
            with full_disk() as caught:
                write_checkpoint(CONTENT | {"epoch": 4}, path)
        assert list(path.parent.iterdir()) == [path]
        assert (path.read_bytes() == before) == bool(caught)
        assert all(str(path) in str(error) for error in caught)
        num_failed += len(caught)
    assert num_failed > 10, "torch writes in many pieces"
    assert torch.load(path, weights_only=True)["epoch"] == 4
    assert is_whole(path)


def test_room_is_looked_for_before_anything_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 150}))
    with pytest.raises(OSError, match=r"No space left on device: 0\.000165 MB are needed and 0\.00015 MB") as error:
        write_checkpoint(CONTENT, path)
    assert error.value.errno == errno.ENOSPC
    assert is_whole(path)


def test_what_it_replaces_takes_the_name_of_the_one_before(path: Path) -> None:
    previous = path.with_name("last.previous.ckpt")
    for epoch in (4, 5):
        write_checkpoint(CONTENT | {"epoch": epoch}, path, previous=previous)
    assert [torch.load(name, weights_only=True)["epoch"] for name in (path, previous)] == [5, 4]
    assert is_whole(previous)


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit(143)])
def test_a_signal_while_torch_writes_stays_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException] | BaseException
) -> None:
    def interrupted(*arguments: object) -> None:
        raise interruption

    monkeypatch.setattr("ecg_transfer.checkpoint_file._Hashing.flush", interrupted)
    for name in ("torch.serialization._save", "ecg_transfer.checkpoint_file._num_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(name, interrupted)
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                write_checkpoint(CONTENT, tmp_path / "last.ckpt")
    assert not list(tmp_path.iterdir())
