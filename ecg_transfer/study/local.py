"""Workers on this machine: one process a slot, started when it is needed, replaced when it dies."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from ecg_transfer.study.failures import last_words
from ecg_transfer.study.mps import side_by_side
from ecg_transfer.study.worker import GRACE, RUNNER, Outcome, Task


@dataclass(kw_only=True)
class _Worker:
    slot: int
    process: subprocess.Popen[bytes]
    task: Task | None = None
    started: float = 0.0
    unread: bytes = b""
    timed_out: bool = False

    @property
    def stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


@dataclass(kw_only=True)
class LocalPool:
    """A pool of local processes; see `ecg_transfer.study.schedule.Pool`.

    A worker is in a session of its own, so that Ctrl-C reaches this process alone, which then ends them in order.
    A worker whose pool is gone, however that happened, notices that its input has ended and ends its run. Workers that
    share a GPU run on it side by side, where that can be had (see `ecg_transfer.study.mps`).

    Attributes:
        num_workers: Runs at the same time.
        num_threads: Cores of each.
        gpus: Names for CUDA_VISIBLE_DEVICES, dealt to the workers in turn; none leaves the variable alone.
        run_timeout: Seconds after which a run is killed; None waits for ever.
        runner: What a worker does; see `ecg_transfer.study.worker.RUNNER`.
        grace: Seconds between asking a worker to end and killing it.
    """

    num_workers: int
    num_threads: int = 1
    gpus: Sequence[str] = ()
    run_timeout: float | None = None
    runner: str = RUNNER
    grace: float = GRACE
    _workers: dict[int, _Worker] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    _service: ExitStack = field(default_factory=ExitStack)

    def num_free(self) -> int:
        """How many tasks could start now."""
        return self.num_workers - sum(worker.task is not None for worker in self._workers.values())

    def start(self, task: Task) -> None:
        """Give a task to an idle worker, or to a new one.

        Raises:
            RuntimeError: No worker is free.
        """
        idle = [worker for worker in self._workers.values() if worker.task is None]
        for worker in idle:
            if self._send(worker, task):
                return
            self._bury(worker)
        slots = [slot for slot in range(self.num_workers) if slot not in self._workers]
        if not slots:
            raise RuntimeError("every worker is in a run")
        worker = self._spawn(slots[0])
        if not self._send(worker, task):
            raise RuntimeError(f"a worker process ends as it starts: {' '.join(map(str, worker.process.args))}")  # type: ignore[arg-type]

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes of the tasks that ended; waits up to so many seconds for the first one."""
        if not self._workers:
            time.sleep(timeout)
            return []
        outcomes = [self._read(key.data) for key, _ in self._selector.select(timeout)]
        dead = [worker for worker in self._workers.values() if worker.process.poll() is not None]
        for worker in dead:  # what it forked off may keep its pipe open, so that no end of it is read
            if worker.slot in self._workers:
                outcomes += [self._read(worker) if self._has_said_something(worker) else self._end(worker)]
        self._kill_the_overdue()
        return [outcome for outcome in outcomes if outcome is not None]

    def close(self) -> None:
        """Ask the workers to end, which an idle one does at once and a training one after its step; then kill them.

        Another Ctrl-C meanwhile kills them at once.
        """
        try:
            for worker in self._workers.values():
                with suppress(OSError):
                    worker.stdin.close()
                if worker.task is not None:
                    worker.process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + self.grace
            for worker in self._workers.values():
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in list(self._workers.values()):
                self._bury(worker)
            self._service.close()

    def _spawn(self, slot: int) -> _Worker:
        if not self._workers:
            self._service.close()
            self._service.enter_context(side_by_side(self.num_workers, self.gpus))
        process = subprocess.Popen(
            [sys.executable, "-m", "ecg_transfer.study.worker", self.runner],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=worker_environment(os.environ, slot, self.num_workers, self.num_threads, self.gpus),
            start_new_session=True,
        )
        worker = _Worker(slot=slot, process=process)
        self._workers[slot] = worker
        self._selector.register(worker.stdout, selectors.EVENT_READ, worker)
        return worker

    def _send(self, worker: _Worker, task: Task) -> bool:
        """Give a task to a worker; False when the worker is gone."""
        try:
            worker.stdin.write(json.dumps(asdict(task)).encode() + b"\n")
            worker.stdin.flush()
        except BrokenPipeError:
            return False
        worker.task, worker.started, worker.timed_out = task, time.monotonic(), False
        return True

    def _read(self, worker: _Worker) -> Outcome | None:
        received = os.read(worker.stdout.fileno(), 1 << 16)
        if not received:
            return self._end(worker)
        worker.unread += received
        line, newline, rest = worker.unread.partition(b"\n")
        if not newline:
            return None
        worker.unread, worker.task = rest, None
        return Outcome(**json.loads(line))

    def _has_said_something(self, worker: _Worker) -> bool:
        """Whether there is something to read from a worker that has died."""
        return any(key.data is worker for key, _ in self._selector.select(0)) and worker.task is not None

    def _end(self, worker: _Worker) -> Outcome | None:
        """Bury a dead worker; the outcome of the run that it was in."""
        task = worker.task
        self._bury(worker)
        return None if task is None else self._crash(worker, task)

    def _crash(self, worker: _Worker, task: Task) -> Outcome:
        code = worker.process.returncode
        if worker.timed_out:
            message = f"killed: it took longer than {self.run_timeout:g} s"
        elif code == -signal.SIGKILL:
            message = (
                "killed by SIGKILL, as a system does that is out of memory (`dmesg` says so): fewer --workers or a "
                "smaller optim.batch_size need less"
            )
        elif code < 0:
            message = f"killed by {signal.Signals(-code).name}"
        else:
            message = f"its process ended with code {code}"
        log = Path(task.path) / "log.txt"
        if words := last_words(log):
            message += f"; the last line of its log: {words}"
        return Outcome(name=task.name, kind="crashed", message=message, seconds=time.monotonic() - worker.started)

    def _kill_the_overdue(self) -> None:
        for worker in self._workers.values():
            if self.run_timeout is None or worker.task is None or worker.timed_out:
                continue
            if time.monotonic() - worker.started > self.run_timeout:
                worker.timed_out = True
                worker.process.kill()

    def _bury(self, worker: _Worker) -> None:
        """Forget a worker, and make sure that nothing of it lives on."""
        del self._workers[worker.slot]
        self._selector.unregister(worker.stdout)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        with suppress(OSError):
            worker.stdin.close()
        worker.stdout.close()


def worker_environment(
    environment: Mapping[str, str], slot: int, num_workers: int, num_threads: int, gpus: Sequence[str]
) -> dict[str, str]:
    """The environment of a worker: its share of the cores, and its GPU.

    Where several workers share the cores their threads wait without spinning: one busy neighbour made a two-thread
    training step 17 times slower with OpenMP's default, 3 times with this.

    Args:
        environment: Of this process.
        slot: Number of the worker.
        num_workers: Of all workers.
        num_threads: Cores of each.
        gpus: Names of the GPUs to deal out.
    """
    shared = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"} if num_workers > 1 else {}
    ours = {"OMP_NUM_THREADS": str(num_threads), "MKL_NUM_THREADS": str(num_threads), **shared}
    if gpus:
        ours["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return {**environment, **ours}


def visible_gpus() -> list[str]:
    """Names of this machine's NVIDIA GPUs that may be used, without loading torch."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in chosen.split(",") if name and name != "-1"]
    return _ask_driver("index")


def gpu_names() -> list[str]:
    """Models of all of this machine's NVIDIA GPUs."""
    return _ask_driver("name")


def _ask_driver(field: str) -> list[str]:
    """A field of each GPU, by nvidia-smi; none where that is missing."""
    try:
        command = ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listed.stdout.splitlines() if line.strip()]


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
