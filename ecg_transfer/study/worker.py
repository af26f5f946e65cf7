"""A process that does one run after another, told over a pipe.

Importing torch and Lightning takes some seconds; a worker pays them once. A run that crashes takes its worker with it
and nothing else.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal

from data_modules.claim import RunClaimedError, claimed
from ecg_transfer.config import RunConfig
from ecg_transfer.config_reading import config_from
from ecg_transfer.loading import loading

RUNNER = "ecg_transfer.study.worker:train_quietly"
"""What a worker does with a task: `module:function`, called with a configuration and the folder of the runs."""
GRACE = 20.0
"""Seconds that a run is given to end by itself, at the end of its training step, before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One run to be done, as it travels to a worker."""

    name: str
    path: str
    """The run's directory, absolute; its `log.txt` takes what the run prints."""
    output: str
    """Where runs live, absolute."""
    config: dict[str, Any]
    """As `RunConfig.as_dict` gives it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task."""

    name: str
    kind: Literal["done", "busy", "failed", "interrupted", "crashed"]
    """`busy`: another process holds the claim; `failed`: an exception; `crashed`: the process died."""
    error: str = ""
    """Name of the exception."""
    message: str = ""
    errno: int | None = None
    """Of an exception of the operating system."""
    seconds: float = 0.0


def train_quietly(config: RunConfig, output: Path) -> None:
    """Train without progress bars: the log is a file."""
    with loading():
        from ecg_transfer.training import train

    train(config, output=output, progress=False)


def perform(task: Task, runner: str = RUNNER) -> Outcome:
    """Do a run under its claim, what it prints in its own log.

    Never raises: an exception is an outcome, `KeyboardInterrupt` and `SystemExit` are `interrupted`.
    """
    started = time.perf_counter()
    kind: Literal["done", "busy", "failed", "interrupted"] = "done"
    error: BaseException | None = None
    gc.collect()  # what a run before left in cycles, on a GPU too
    try:
        with claimed(Path(task.path)), _printing_to(Path(task.path) / "log.txt"):
            try:
                module, _, function = runner.partition(":")
                getattr(import_module(module), function)(config_from(task.config), Path(task.output))
            except BaseException:
                traceback.print_exc()
                raise
    except RunClaimedError as found:
        kind, error = "busy", found
    except (KeyboardInterrupt, SystemExit) as found:
        kind, error = "interrupted", found
    except Exception as found:
        kind, error = "failed", found
    return Outcome(
        name=task.name,
        kind=kind,
        error="" if error is None else type(error).__name__,
        message="" if error is None else str(error),
        errno=getattr(error, "errno", None),
        seconds=time.perf_counter() - started,
    )


@contextmanager
def _printing_to(path: Path) -> Iterator[None]:
    """Append all that this process and its libraries print to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = [os.dup(1), os.dup(2)]
    with path.open("ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in zip((1, 2), before, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def main() -> None:
    """Read tasks as lines of JSON from standard input, write outcomes as lines to standard output, until it ends.

    When the input ends in the middle of a run, the study's process is gone: the run is ended too. A run is ended by
    SIGINT, an exception that gives the claim back. SIGTERM keeps its default: a handler in Python would be inherited by
    what the run forks off, where a signal that comes right after the fork is lost and `multiprocessing.Pool` then waits
    for ever.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    runner = sys.argv[1] if len(sys.argv) > 1 else RUNNER
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    orders = os.fdopen(os.dup(0), "rb", buffering=0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_listen, args=(orders, tasks, busy), daemon=True, name="tasks").start()
    while (task := tasks.get()) is not None:
        busy.set()
        outcome = perform(task, runner)
        busy.clear()
        try:
            replies.write(json.dumps(asdict(outcome)) + "\n")
        except BrokenPipeError:
            break
        if outcome.kind == "interrupted":
            break


def _listen(orders: IO[bytes], tasks: queue.SimpleQueue[Task | None], busy: threading.Event) -> None:
    """Read unbuffered: a buffered reader's lock would be held for ever in a process that a run forks off."""
    while line := orders.readline():
        tasks.put(Task(**json.loads(line)))
    tasks.put(None)
    if busy.is_set():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(GRACE)
        os._exit(1)


if __name__ == "__main__":
    main()
