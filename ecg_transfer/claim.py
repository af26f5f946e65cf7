"""A claim to a run's directory, so that of several processes, here or on other machines, one works on it at a time.

A claim is a small file beside the directory, created exclusively, that says who holds it. Its holder touches it while
it lives. The claim of a dead process is void: at once when it died on this machine, where that can be seen; after some
minutes without a touch when it was on another. So nothing ever has to be unlocked by hand.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

HEARTBEAT = 30.0
"""Seconds between two touches."""
EXPIRY = 300.0
"""Seconds without a touch after which the claim of another machine is void."""
BREAKING_EXPIRY = 60.0
"""Seconds after which a process that was removing a void claim counts as dead; it needs milliseconds."""
RANK_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")
"""Where torchrun, Slurm and Lightning tell a process of a distributed run its number."""


class RunClaimedError(RuntimeError):
    """Another living process works on this run."""


_held: set[Path] = set()


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a claim."""

    host: str
    machine: str
    """Boot and process namespace: where equal, a process number means the same process."""
    pid: int
    started: str
    """When the process started, by which it is told from a later one of the same number."""
    token: str
    """Of this one claim."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@contextmanager
def claimed(path: Path, *, distributed: bool = False) -> Iterator[None]:
    """Hold the claim to a run's directory; a process that holds it already just goes on holding it.

    Args:
        path: The directory; it need not exist.
        distributed: Several processes work on this run together: only the first of them claims it.

    Raises:
        RunClaimedError: Another living process holds it.
    """
    if distributed and any(os.environ.get(name, "0") != "0" for name in RANK_VARIABLES):
        yield
        return
    file = _claim_file(path)
    if file in _held:
        yield
        return
    holder = _take(file)
    _held.add(file)
    stop = threading.Event()
    heartbeat = threading.Thread(target=_beat, args=(file, holder, stop), daemon=True, name="claim")
    heartbeat.start()
    try:
        yield
    finally:
        stop.set()
        heartbeat.join()
        _held.discard(file)
        if _read(file) == holder:
            file.unlink(missing_ok=True)


def holder_of(path: Path) -> Holder | None:
    """The living process that holds the claim to a run's directory, if there is one."""
    file = _claim_file(path)
    holder = _read(file)
    return holder if holder is not None and _is_alive(file, holder) else None


def _claim_file(path: Path) -> Path:
    path = path.resolve()
    return path.with_name(f".{path.name}.claim")


def _take(file: Path) -> Holder:
    file.parent.mkdir(parents=True, exist_ok=True)
    mine = Holder(
        host=socket.gethostname(),
        machine=_machine(),
        pid=os.getpid(),
        started=_start_time(os.getpid()) or "",
        token=uuid4().hex,
    )
    while True:
        try:
            with file.open("x") as stream:
                json.dump(asdict(mine), stream)
            return mine
        except FileExistsError:
            found = _read(file)
            if _is_alive(file, found):
                who = found or "a process that has not said its name yet"
                raise RunClaimedError(
                    f"{file.name[1:-6]} is being worked on by {who}; wait for it, or stop it first"
                ) from None
            _remove_void(file, found)


def _remove_void(file: Path, found: Holder | None) -> None:
    """Remove a void claim; of several processes that see it only one does, so that no fresh claim is ever removed."""
    breaking = file.with_name(f"{file.name}.breaking")
    try:
        breaking.open("x").close()
    except FileExistsError:
        if (_age(breaking) or 0) > BREAKING_EXPIRY:
            breaking.unlink(missing_ok=True)
        time.sleep(0.05)
        return
    try:
        if _read(file) == found and not _is_alive(file, found):
            file.unlink(missing_ok=True)
    finally:
        breaking.unlink(missing_ok=True)


def _is_alive(file: Path, holder: Holder | None) -> bool:
    """Whether a claim is good; one that cannot be read yet, or is of another machine, is judged by its age."""
    if holder is not None and holder.machine == _machine():
        return _start_time(holder.pid) == holder.started
    age = _age(file)
    return age is not None and age < EXPIRY


def _beat(file: Path, holder: Holder, stop: threading.Event) -> None:
    """Touch the claim until told to stop; end this process's work when another one has taken it over."""
    while not stop.wait(HEARTBEAT):
        if _read(file) != holder:
            if not stop.is_set():
                os.kill(os.getpid(), signal.SIGINT)
            return
        with suppress(OSError):
            os.utime(file)


def _read(file: Path) -> Holder | None:
    try:
        return Holder(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _age(file: Path) -> float | None:
    """Seconds since a file was touched, by the clock of its file system: those of two machines may differ."""
    probe = file.with_name(f"{file.name}.{uuid4().hex}.now")
    try:
        probe.touch()
        return probe.stat().st_mtime - file.stat().st_mtime
    except OSError:
        return None
    finally:
        probe.unlink(missing_ok=True)


@cache
def _machine() -> str:
    """This boot of this machine and this process namespace; containers of one machine do not see each other's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {sys.platform}"


def _start_time(pid: int) -> str | None:
    """When a process started; None when there is no such process, or only its corpse."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None
