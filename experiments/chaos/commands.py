"""The project's command line in processes of its own, forked from this one: nothing is imported twice.

A forked child has its own process group, the signal handlers that a shell gives, and its output in a file. What it
does is `ecg_transfer.cli.main`, so that exit codes are those that a user sees.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        os._exit(_code_of(work))
    finally:
        os._exit(71)


def _code_of(work: Callable[[], object]) -> int:
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


def command(arguments: Sequence[str], log: Path) -> Child:
    """Start `ecg-transfer` with these arguments."""
    from ecg_transfer.cli import main

    def work() -> None:
        sys.argv = ["ecg-transfer", *arguments]
        main()

    return fork(work, log)


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
