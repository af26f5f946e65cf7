"""A claim to a path (a run's directory, a cache), so that of several processes, here or elsewhere, one works on it.

A claim is a small file beside the path, created exclusively, that says who holds it. Its holder touches it while it
lives. The claim of a dead process is void: at once when it died on this machine, where that can be seen; after some
minutes without a touch when it was on another. So nothing ever has to be unlocked by hand.

A shared folder must offer exclusive creation (of a file, better of a link) and renaming that replaces in one step, as
local disks, NFS from version 3, Lustre, BeeGFS and CephFS do. No two clocks are compared: ages are by the file
system's. Locks of the kernel (`flock`) are not used: over a network they are often granted to everybody in silence.
What NFS shows late (a file created elsewhere may be unseen for as long as its attribute cache holds, up to a minute)
costs a repeated attempt, never a file: whatever is written takes its name whole.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from data_modules.machine import start_time, this_machine
from data_modules.unfinished import beside

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


class ClaimLostError(RuntimeError):
    """Another machine has taken this process for dead and its work over."""


_held: dict[Path, Holder] = {}


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
    """Hold the claim to a path; a process that holds it already just goes on holding it.

    Args:
        path: What is worked on; it need not exist.
        distributed: Several processes work on this run together: only the first of them claims it.

    Raises:
        RunClaimedError: Another living process holds it.
    """
    if distributed and not is_first_process():
        yield
        return
    file = _claim_file(path)
    if file in _held:
        yield
        return
    holder = _take(file)
    _held[file] = holder
    stop = threading.Event()
    heartbeat = threading.Thread(target=_beat, args=(file, holder, stop), daemon=True, name="claim")
    heartbeat.start()
    try:
        yield
    finally:
        stop.set()
        heartbeat.join()
        _held.pop(file, None)
        if _read(file) == holder:
            file.unlink(missing_ok=True)


def is_first_process() -> bool:
    """Whether this is the first of the processes that were started together, or the only one."""
    return all(os.environ.get(name, "0") == "0" for name in RANK_VARIABLES)


@contextmanager
def claimed_in_turn(
    path: Path, *, done: Callable[[], bool], report: Callable[[str], None], patience: float = 0.3
) -> Iterator[bool]:
    """Hold the claim to a path as soon as nobody else does, unless there is nothing left to do by then.

    Args:
        path: What is worked on.
        done: Whether it is there.
        report: Is told once for whom this process waits.
        patience: Seconds between two looks.

    Yields:
        Whether there is still something to do, under the claim.
    """
    told: str | None = None
    with ExitStack() as stack:
        while not done():
            try:
                stack.enter_context(claimed(path))
                break
            except RunClaimedError as error:
                if (said := str(error).partition(";")[0]) != told:
                    report(f"waiting: {said}")
                    told = said
                time.sleep(patience)
        yield not done()


def require_held(path: Path) -> None:
    """Before something is written: a claim that this process has taken must still be its own.

    A process that was stopped for minutes, or cut off from a shared folder, may have been taken for dead.

    Raises:
        ClaimLostError: It is not.
    """
    file = _claim_file(path)
    if file in _held and (found := _read(file)) != _held[file]:
        raise ClaimLostError(
            f"{path.name} was taken over by {found or 'another process'} while this process, {_held[file]}, did not "
            "answer; nothing more is written here"
        )


def remove_void_claim(path: Path) -> None:
    """Remove the claim of a dead process, where there is one: nobody will come for this path any more."""
    file = _claim_file(path)
    if file.exists() and not _is_alive(file, found := _read(file)):
        _remove_void(file, found)


def holder_of(path: Path) -> Holder | None:
    """The living process that holds the claim to a path, if there is one."""
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
        machine=this_machine(),
        pid=os.getpid(),
        started=start_time(os.getpid()) or "",
        token=uuid4().hex,
    )
    while True:
        try:
            _create(file, json.dumps(asdict(mine)))
            return mine
        except FileExistsError:
            found = _read(file)
            if _is_alive(file, found):
                who = found or "a process that has not said its name yet"
                raise RunClaimedError(
                    f"{file.name[1:-6]} is being worked on by {who}; wait for it, or stop it first"
                ) from None
            _remove_void(file, found)


def _create(file: Path, content: str) -> None:
    """Create a claim that is never seen half-written, if its file system has links.

    Raises:
        FileExistsError: It is there.
    """
    whole = beside(file)
    try:
        whole.write_text(content)
        try:
            os.link(whole, file)
        except FileExistsError:
            raise
        except OSError:  # no links here, as on FAT: a kill in this instant leaves a claim that expires
            with file.open("x") as stream:
                stream.write(content)
    finally:
        whole.unlink(missing_ok=True)


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
    if holder is not None and holder.machine == this_machine():
        return start_time(holder.pid) == holder.started
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
    probe = beside(file.with_name(f"{file.name}.now"))
    try:
        probe.touch()
        return probe.stat().st_mtime - file.stat().st_mtime
    except OSError:
        return None
    finally:
        probe.unlink(missing_ok=True)
