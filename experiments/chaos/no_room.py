"""A disk that is full from the k-th write on: Linux asks this program before each of a process's writes.

The process installs a seccomp filter (user notification: seccomp(2), seccomp_unotify(2), Linux 5.5 and later), which
its own children inherit. So it does not matter what writes: Python, torch, HDF5, TensorBoard's thread. No right is
needed, and nothing of what is tested is replaced.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from commands import LIMIT, Child, fork

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {"seccomp": 317, "write": 1, "writev": 20, "pwrite64": 18, "pwritev": 296, "fallocate": 285}
    | {"fsync": 74, "fdatasync": 75, "open": 2, "openat": 257, "mkdir": 83, "mkdirat": 258, "link": 86, "linkat": 265},
    "aarch64": {"seccomp": 277, "write": 64, "writev": 66, "pwrite64": 68, "pwritev": 70, "fallocate": 47}
    | {"fsync": 82, "fdatasync": 83, "openat": 56, "mkdirat": 34, "linkat": 37},
}
"""System calls that need room on a disk, or hear of it late, by machine; the kernel's own tables."""
PATHS = {"open": 0, "openat": 1, "mkdir": 0, "mkdirat": 1, "link": 1, "linkat": 3}
"""Calls that make an entry of a directory, and which of their arguments names it; the others have a descriptor."""
FLAGS = {"open": 1, "openat": 2}
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 38, 1, 8
SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF = 0x7FFF0000, 0x7FC00000
BPF_LOAD_WORD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
RECEIVE, SEND = 0xC0502100, 0xC0182101
"""ioctl requests: the next call that waits; the answer."""
CONTINUE = 1
"""The answer's flag for: do it."""


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("true", ctypes.c_uint8), ("false", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


@dataclass
class FullDisk:
    """Counts the writes of a process below a folder and refuses some.

    Attributes:
        folder: What lies elsewhere is never refused.
        refused_from: The first write that is refused, from 0; None refuses none.
        once: Only that one is refused, as if somebody then made room.
    """

    folder: Path
    refused_from: int | None = None
    once: bool = False
    writes: list[str] = field(default_factory=list)
    """Of each write what it was: `fsync best.ckpt`."""

    @property
    def struck(self) -> bool:
        """Whether a write was refused."""
        return self.refused_from is not None and len(self.writes) > self.refused_from

    def watch(self, work: Callable[[], object], log: Path) -> Child:
        """Do some work in a child, until it ends, and answer for the disk.

        Raises:
            TimeoutError: It does not end; it is killed.
        """
        ours, theirs = socket.socketpair()

        def watched() -> None:
            listener = _install()
            socket.send_fds(theirs, [b"!"], [listener])
            os.close(listener)
            ours.close()
            theirs.close()
            work()

        child = fork(watched, log)
        theirs.close()
        with ours:
            _, listeners, _, _ = socket.recv_fds(ours, 1, 1)
        if not listeners:
            raise OSError(f"the child ends with {child.wait()}: {child.said()}")
        try:
            self._answer_all(listeners[0], child)
        finally:
            os.close(listeners[0])
        child.wait()
        return child

    def _answer_all(self, listener: int, child: Child) -> None:
        poll, deadline = select.poll(), time.monotonic() + LIMIT
        poll.register(listener, select.POLLIN)
        while child.poll() is None:
            for _, event in poll.poll(50):
                if event & select.POLLHUP:
                    return
                self._answer(listener)
            if time.monotonic() > deadline:
                return

    def _answer(self, listener: int) -> None:
        asked = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, asked)
            number, thread, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", asked)
            refused = self._refuses(thread, call, arguments)
            answer = struct.pack("=QqiI", number, 0, -errno.ENOSPC if refused else 0, 0 if refused else CONTINUE)
            fcntl.ioctl(listener, SEND, bytearray(answer))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):  # it was killed meanwhile
                raise

    def _refuses(self, thread: int, call: int, arguments: Sequence[int]) -> bool:
        name = _NAMES[call]
        place = _place(thread, name, arguments)
        if place is None or not place.is_relative_to(self.folder):
            return False
        number = len(self.writes)
        self.writes.append(f"{name} {place.name.partition(f'.{socket.gethostname()}-')[0]}")
        return self.refused_from is not None and (
            number == self.refused_from if self.once else number >= self.refused_from
        )


_CALLS = {name: number for name, number in NUMBERS.get(platform.machine(), {}).items() if name != "seccomp"}
_NAMES = {number: name for name, number in _CALLS.items()}


def can_refuse_writes() -> bool:
    """Whether this system offers that."""
    if sys.platform != "linux" or not _CALLS:
        return False
    return fork(lambda: os.close(_install()), Path(os.devnull)).wait() == 0


def _install() -> int:
    """Have every call that may write wait for an answer from now on; the descriptor on which they are told.

    Raises:
        OSError: This system does not offer that.
    """
    library = ctypes.CDLL(None, use_errno=True)
    calls = sorted(_CALLS.values())
    lines = [(BPF_LOAD_WORD, 0, 0, 0)]
    lines += [(BPF_JUMP_IF_EQUAL, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    lines += [(BPF_RETURN, 0, 0, SECCOMP_RET_ALLOW), (BPF_RETURN, 0, 0, SECCOMP_RET_USER_NOTIF)]
    program = _Program(len(lines), (_Instruction * len(lines))(*(_Instruction(*line) for line in lines)))
    library.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = NUMBERS[platform.machine()]["seccomp"]
    listener: int = library.syscall(
        number, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, ctypes.byref(program)
    )
    if listener < 0:
        raise OSError(ctypes.get_errno(), "no seccomp filter with user notification")
    return listener


def _place(thread: int, name: str, arguments: Sequence[int]) -> Path | None:
    """The file or folder that a call is about to write, or to make; None where it does neither."""
    try:
        if name not in PATHS:
            return Path(f"/proc/{thread}/fd/{arguments[0] & 0xFFFFFFFF}").readlink()
        if name in FLAGS and not arguments[FLAGS[name]] & os.O_CREAT:
            return None
        path = Path(f"/proc/{thread}/cwd").readlink() / _text(thread, arguments[PATHS[name]])
    except OSError:
        return None
    return None if path.exists() else path


def _text(thread: int, address: int) -> str:
    """A string in a process's memory, up to the end of the next page."""
    with Path(f"/proc/{thread}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        found = memory.read(4096 - address % 4096)
        if b"\0" not in found:
            found += memory.read(4096)
    return os.fsdecode(found.partition(b"\0")[0])
