"""Workers on a Ray cluster: this machine's, or a running one's. Needs the extra `ray`.

Every machine must see the same folders of runs and of data, under the same paths, and have this package installed. A
run is one Ray task; which runs, in which order, and what is tried again is decided by `ecg_transfer.study.schedule`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from ecg_transfer.study.local import worker_environment
from ecg_transfer.study.worker import GRACE, RUNNER, Outcome, Task, perform


class RayPool:
    """A pool of Ray tasks; see `ecg_transfer.study.schedule.Pool`.

    Args:
        address: Of a running cluster, `auto` or `ray://head:10001`; None starts one on this machine, without
            dashboard.
        num_workers: Runs at the same time; None is as many as the cluster has room for, counted anew all the time.
        num_threads: Cores of each.
        num_gpus: GPUs of each; 0.25 lets four share one.
        runner: What a worker does; see `ecg_transfer.study.worker.RUNNER`.
        environment: Variables for the workers besides those that share out the cores.
        grace: Seconds between asking a run to end and killing it.

    Raises:
        ValueError: This machine, on which a cluster was to be started, has no room for a single run. A running cluster,
            which other machines may join, is warned of.
    """

    def __init__(
        self,
        *,
        address: str | None = None,
        num_workers: int | None = None,
        num_threads: int = 1,
        num_gpus: float = 0.0,
        runner: str = RUNNER,
        environment: Mapping[str, str] | None = None,
        grace: float = GRACE,
    ) -> None:
        self._num_workers, self._num_threads, self._num_gpus = num_workers, num_threads, num_gpus
        self._runner, self._grace = runner, grace
        self._running: dict[ray.ObjectRef[Any], tuple[Task, float]] = {}
        self._ours = not ray.is_initialized()
        if self._ours:
            # Ray listens on all networks; a cluster that it starts itself takes work from those with its token alone.
            # `local`, or it would join one that runs here already, whoever started it
            local = {"address": "local", "include_dashboard": False} if address is None else {"address": address}
            ray.init(log_to_driver=False, **local)
        if (lack := self._lack()) is not None:
            if self._ours and address is None:
                ray.shutdown()
                raise ValueError(f"{lack}: with fewer --threads or --gpus-per-run it has")
            warnings.warn(f"{lack} yet: no run starts before one joins that has", stacklevel=2)
        shares = worker_environment(environment or {}, 0, 2, num_threads, ())
        self._perform = ray.remote(
            num_cpus=num_threads, num_gpus=num_gpus, max_retries=0, runtime_env={"env_vars": shares}
        )(_perform)

    def _lack(self) -> str | None:
        """What not a single machine of the cluster has; None where a run has room on one."""
        wanted = {"CPU": float(self._num_threads), "GPU": self._num_gpus}
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
        if any(all(one.get(kind, 0.0) >= number for kind, number in wanted.items()) for one in machines):
            return None
        there = "; ".join(f"{one.get('CPU', 0.0):g} cores, {one.get('GPU', 0.0):g} GPUs" for one in machines) or "none"
        asked = f"{self._num_threads} cores and {self._num_gpus:g} GPUs for a run"
        return f"no machine of the Ray cluster ({there}) has {asked}"

    def num_free(self) -> int:
        """How many tasks could start now."""
        room = self._num_workers
        if room is None:
            total = ray.cluster_resources()  # type: ignore[no-untyped-call]
            room = int(total.get("CPU", 0.0) // self._num_threads)
            if self._num_gpus:
                room = min(room, int(total.get("GPU", 0.0) / self._num_gpus + 1e-9))
        return room - len(self._running)

    def start(self, task: Task) -> None:
        """Hand a task to the cluster, which starts it where there is room."""
        self._running[self._perform.remote(asdict(task), self._runner)] = task, time.monotonic()

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes of the tasks that ended; waits up to so many seconds for the first one."""
        if not self._running:
            time.sleep(timeout)
            return []
        ended, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        return [self._outcome(reference) for reference in ended]

    def close(self) -> None:
        """Interrupt what runs, as Ctrl-C does; kill what does not end in time."""
        for force in (False, True):
            for reference in self._running:
                with suppress(RayError, ValueError):
                    ray.cancel(reference, force=force)
            if self._running:
                ended, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=self._grace)
                self._running = {ref: told for ref, told in self._running.items() if ref not in ended}
        if self._ours:
            ray.shutdown()

    def _outcome(self, reference: ray.ObjectRef[Any]) -> Outcome:
        task, started = self._running.pop(reference)
        seconds = time.monotonic() - started
        try:
            return Outcome(**ray.get(reference, timeout=30))
        except GetTimeoutError:
            return Outcome(name=task.name, kind="crashed", message="its result was lost", seconds=seconds)
        except RayError as error:
            message = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            return Outcome(name=task.name, kind="crashed", message=message, seconds=seconds)


def _perform(task: dict[str, Any], runner: str) -> dict[str, Any]:
    """The body of a Ray task; plain values in and out."""
    return asdict(perform(Task(**task), runner))
