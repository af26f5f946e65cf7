"""Checkpoints that carry their own size and SHA-256, so that a torn or damaged one is never taken for a good one.

A checkpoint of torch is a zip. Size and digest are the zip's comment: one file, one rename, so that no kill can come
between a checkpoint and its digest; torch and every zip reader still read it; `unzip -z last.ckpt` shows them.
"""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import IO, Any, cast

import torch

from ecg_transfer.files import require_room, write_atomically

END_OF_ZIP = 22
"""Bytes of a zip's last record without a comment; the last two of them count the comment's (APPNOTE 6.3.10, 4.3.16)."""
_BLOCK = 1 << 20


def _comment(num_bytes: int, sha256: str) -> bytes:
    return f"bytes={num_bytes:015d} sha256={sha256}".encode()


COMMENT_BYTES = len(_comment(0, "0" * 64))


def write_checkpoint(
    checkpoint: dict[str, Any], path: Path, *, previous: Path | None = None, is_durable: bool = True
) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        checkpoint: Plain values and tensors.
        path: The name it takes.
        previous: The name that what it replaces takes.
        is_durable: See `write_atomically`.

    Raises:
        OSError: There is no room, or the disk fails.
    """
    require_room(path, _num_bytes(checkpoint))
    with write_atomically(path, previous=previous, is_durable=is_durable) as stream:
        hashing = _Hashing(stream)
        try:
            torch.save(checkpoint, cast(IO[bytes], hashing))
        except RuntimeError as error:  # torch swallows a full disk and a signal, either of which would look like a bug
            raise (hashing.error or _interruption(error) or error) from None
        stream.seek(-2, 2)
        stream.write(COMMENT_BYTES.to_bytes(2, "little"))
        stream.write(_comment(hashing.num_bytes, hashing.digest.hexdigest()))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is there and is, to the last bit, what was written.

    One without a comment, from another program, is whole when the checksum of each of the zip's members is right.
    """
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            if size < END_OF_ZIP:
                return False
            stream.seek(-END_OF_ZIP, 2)
            end = stream.read()
            if end.startswith(b"PK\5\6") and end.endswith(b"\0\0"):
                return _members_are_whole(path)
            return size > COMMENT_BYTES and _matches(stream, size - COMMENT_BYTES)
    except OSError:
        return False


def _matches(stream: IO[bytes], num_bytes: int) -> bool:
    """Whether a comment says of what comes before it what was written there: then its own length was still zero."""
    digest = hashlib.sha256()
    stream.seek(0)
    left = num_bytes - 2
    while left > 0 and (block := stream.read(min(_BLOCK, left))):
        digest.update(block)
        left -= len(block)
    digest.update(b"\0\0")
    return stream.read() == COMMENT_BYTES.to_bytes(2, "little") + _comment(num_bytes, digest.hexdigest())


def _members_are_whole(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as opened:
            return opened.testzip() is None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError):
        return False


def _num_bytes(value: object) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_num_bytes, value.values()))
    return sum(map(_num_bytes, value)) if isinstance(value, list | tuple) else 0


def _interruption(error: BaseException) -> BaseException | None:
    """The signal's exception that was under way when torch failed to close its file."""
    cause = error.__context__
    while cause is not None and not isinstance(cause, KeyboardInterrupt | SystemExit):
        cause = cause.__context__
    return cause


class _Hashing:
    """What `torch.save` writes to: counts, hashes and passes on; remembers why a write failed."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.digest = hashlib.sha256()
        self.num_bytes = 0
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            self._stream.write(data)
        except BaseException as error:
            self.error = error
            raise
        self.digest.update(data)
        self.num_bytes += len(data)
        return len(data)

    def flush(self) -> None:
        self._stream.flush()
