"""The project's command line in processes of its own: forked from this one, so that nothing is imported twice, or real.

A child has its own process group, the signal handlers that a shell gives, and its output in a file. What it does is
`ecg_transfer.cli.main`, so that exit codes are those that a user sees.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

LIMIT = 300.0
"""Seconds after which a child that should have ended counts as hanging."""


@dataclass
class Child:
    """A forked process."""

    pid: int
    log: Path
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for the signal that killed it; None while it lives."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, limit: float = LIMIT) -> int:
        """Its exit code.

        Raises:
            TimeoutError: It does not end; it and its children are killed.
        """
        deadline = time.monotonic() + limit
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.send(signal.SIGKILL, group=True)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"still at it after {limit:.0f} s: {self.said()}")
            time.sleep(0.005)
        assert self.code is not None
        return self.code

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to it, or to its whole process group as a terminal does."""
        if self.poll() is None:
            (os.killpg if group else os.kill)(self.pid, number)

    def said(self, num_characters: int = 300) -> str:
        """The end of what it printed."""
        return " ".join(self.log.read_text(errors="replace").split())[-num_characters:]


def fork(work: Callable[[], object], log: Path) -> Child:
    """Do some work in a child; it exits with 0, with its `SystemExit`, or with 70 after an exception."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid, log)
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with log.open("ab") as stream, Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
            sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
            sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        os._exit(code_of(work))
    finally:
        os._exit(71)


def code_of(work: Callable[[], object]) -> int:
    """Do some work and give the exit code of a process that does nothing else."""
    try:
        work()
    except SystemExit as error:
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def command(arguments: Sequence[str], log: Path, *, modules: Path | None = None) -> Child:
    """Do what `ecg-transfer` does with these arguments, in a forked process.

    Args:
        arguments: Of the command line.
        log: Where its output goes.
        modules: Where to write the names of all that it has imported by its end; see `warm`.
    """
    return fork(lambda: _main(arguments, modules), log)


def _main(arguments: Sequence[str], modules: Path | None) -> None:
    from ecg_transfer.cli import main

    sys.argv = ["ecg-transfer", *arguments]
    try:
        main()
    finally:
        if modules is not None:
            modules.write_text("\n".join(sorted(sys.modules)))


def start(arguments: Sequence[str], log: Path) -> Child:
    """Start `ecg-transfer` with these arguments as a shell does: another interpreter, which imports everything."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "ecg_transfer", *arguments],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o666),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
        setsigdef=[signal.SIGINT, signal.SIGTERM],
    )
    return Child(pid, log)


def warm(modules: Path) -> None:
    """Import what an earlier process had imported, so that those forked from now on need not.

    Modules alone are shared: this process trains nothing, since torch's threads would not survive a fork.
    """
    for name in modules.read_text().split():
        if name not in sys.modules:
            with suppress(ImportError):  # names that only exist in passing
                import_module(name)


def living_in(group: int) -> list[int]:
    """Processes of a process group that still live, its leader apart."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == group:
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX" and int(fields[2]) == group:
            found.append(int(entry.name))
    return found


def workers_of(pid: int) -> list[int]:
    """Child processes of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def all_dead(pids: Sequence[int], limit: float = 30.0) -> bool:
    """Whether processes end within so many seconds."""
    deadline = time.monotonic() + limit
    while any(_is_living(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_living(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
