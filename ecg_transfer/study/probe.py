"""How many records a second this machine trains and evaluates, and how long a worker starts: measured once, and kept.

A measurement starts as many processes as there would be workers, each with its share of the cores, and lets all of
them step at the same time. So two workers of one thread can be compared with one of two.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Literal, Self, cast

from ecg_transfer.files import write_json
from ecg_transfer.study.local import gpu_names, num_cores, visible_gpus, worker_environment
from ecg_transfer.study.mps import side_by_side

PROBE_FILE = ".probe.json"
"""Beside the runs: machine -> what was measured -> speed."""
NO_MEMORY = "no memory\n"
"""What a process says in place of `ready`."""


class NoMemoryError(RuntimeError):
    """So many processes do not fit into the memory of the machine or of a GPU."""


@dataclass(frozen=True, order=True, kw_only=True)
class Work:
    """What a speed depends on besides the machine."""

    backbone: str
    precision: Literal[32, "bf16", 64]
    batch_size: int
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    num_samples: int = 1000
    compile: bool = False

    def key(self, num_workers: int, num_threads: int) -> str:
        """Its name in the file."""
        kind = ("" if self.accelerator == "auto" else f" on {self.accelerator}") + " compiled" * self.compile
        return (
            f"{self.backbone} {self.precision} batch {self.batch_size} x {self.num_samples}{kind}: "
            f"{num_workers} workers of {num_threads} threads"
        )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one worker while all of them work."""

    train: float
    """Records a second."""
    evaluate: float
    """Records a second."""
    startup: float
    """Seconds until it has loaded what it needs, and found its GPU."""


SPEED_FIELDS = {field.name for field in fields(Speed)}


def threads_for(num_workers: int) -> int:
    """Cores of each of so many workers."""
    return max(1, num_cores() // num_workers)


def worker_choices() -> list[int]:
    """Numbers of workers worth comparing, in powers of two.

    On a CPU from one to one a core. On GPUs from one to eight on each, because a small network leaves most of a GPU
    idle while its kernels are launched; a worker launches from a core of its own.
    """
    cores = num_cores()
    if gpus := visible_gpus():
        return [len(gpus) * share for share in (1, 2, 4, 8) if share == 1 or len(gpus) * share <= cores]
    return sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})


def machine() -> str:
    """What this machine's speeds are filed under."""
    from importlib.metadata import version

    from ecg_transfer.provenance import _processor

    names = gpu_names()
    gpus = f", {len(visible_gpus())} GPUs ({', '.join(sorted(set(names)))})" if names and visible_gpus() else ""
    return f"{_processor()}, {num_cores()} cores{gpus}, torch {version('torch')}"


def speeds(
    works: Iterable[Work],
    num_workers: int,
    output: Path,
    *,
    measure: bool = True,
    report: Callable[[str], None] = lambda sentence: None,
) -> dict[Work, Speed]:
    """Speeds on this machine, from the file where they are known.

    Args:
        works: What to look up.
        num_workers: Workers at the same time.
        output: Where runs live; the file lies in it.
        measure: Whether to measure what is not known; it is missing from the result else.
        report: Is told what is being measured, and what is missing because so many workers have no memory for it or the
            machine has no GPU for it or does not compute in its precision.
    """
    file, here = output / PROBE_FILE, machine()
    found: dict[Work, Speed] = {}
    with Processes(num_workers) as processes:
        for work in sorted(set(works), key=str):
            name = work.key(num_workers, threads_for(num_workers))
            known = _read(file)
            speed = _speed(_of(known, here).get(name))
            if speed is None and measure:
                from ecg_transfer.devices import lack_of_devices
                from ecg_transfer.precision import refusal

                if why := lack_of_devices(work.accelerator) or refusal(work.precision, work.accelerator):
                    report(f"not measured: {name}: {why}")
                    continue
                report(f"measuring {name}")
                try:
                    speed = processes.speed(work)
                except NoMemoryError as error:
                    report(str(error))
                    continue
                file.parent.mkdir(parents=True, exist_ok=True)
                known = _read(file)
                write_json(file, {**known, here: {**_of(known, here), name: asdict(speed)}})
            if speed is not None:
                found[work] = speed
    return found


class Processes:
    """As many processes as there would be workers, started for the first measurement and kept for the next ones.

    Args:
        num_workers: How many.
    """

    def __init__(self, num_workers: int) -> None:
        self.num_workers = num_workers
        self._running: list[subprocess.Popen[str]] = []
        self._service = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def speed(self, work: Work) -> Speed:
        """Let all of them step at the same time; the means of what they measured.

        Raises:
            NoMemoryError: The machine, or a GPU that they share, has no memory for so many.
            RuntimeError: The backbone cannot be trained here; the message is the process's own.
        """
        if not self._running:
            self._start()
        try:
            self._tell(json.dumps(asdict(work)))
            for process in self._running:
                said = cast(IO[str], process.stdout).readline()
                if said == NO_MEMORY or (not said and process.wait() == -signal.SIGKILL):
                    raise NoMemoryError(f"there is no memory for {self.num_workers} x {work.backbone} at the same time")
                if said != "ready\n":
                    raise RuntimeError(f"no step of {work} could be made: see above")
            self._tell("go")
            measured = [json.loads(cast(IO[str], process.stdout).readline()) for process in self._running]
        except BaseException:
            self._end()
            raise
        return Speed(**{name: round(sum(one[name] for one in measured) / len(measured), 2) for name in measured[0]})

    def _start(self) -> None:
        gpus = visible_gpus()
        self._service.enter_context(side_by_side(self.num_workers, gpus))
        for slot in range(self.num_workers):
            process = subprocess.Popen(
                [sys.executable, "-m", "ecg_transfer.study.probe_process", str(time.time())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=worker_environment(os.environ, slot, self.num_workers, threads_for(self.num_workers), gpus),
            )
            self._running.append(process)

    def _tell(self, line: str) -> None:
        for process in self._running:
            with suppress(BrokenPipeError):  # its end is seen by who reads
                print(line, file=process.stdin, flush=True)

    def _end(self) -> None:
        for process in self._running:
            process.kill()
            with suppress(BrokenPipeError):
                process.communicate()
        self._running.clear()
        self._service.close()


def _read(file: Path) -> dict[str, object]:
    """By machine what was measured there; nothing of a file that is torn or another's."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _of(known: dict[str, object], here: str) -> dict[str, object]:
    """By name what was measured on one machine."""
    found = known.get(here)
    return found if isinstance(found, dict) else {}


def _speed(entry: object) -> Speed | None:
    """An entry of the file; None where it is missing, of another version, or no measurement."""
    if not isinstance(entry, dict) or entry.keys() != SPEED_FIELDS:
        return None
    numbers = [value for value in entry.values() if isinstance(value, int | float) and 0 < value < math.inf]
    return Speed(**entry) if len(numbers) == len(entry) else None
