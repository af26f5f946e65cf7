"""Bring a plan's runs to their end on any pool of workers: order, claims, retries, failures.

What is done follows from the run directories alone. So a study can be stopped at any time in any way, be started
twice, here and on another machine with the same folder, and every run is still done once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from data_modules.claim import holder_of
from ecg_transfer.data_identity import DataChangedError, Known, require_same_data, require_same_upstream
from ecg_transfer.runs import Run, RunChangedError
from ecg_transfer.study.failures import CRASH, DiskFullError, is_disk_full, note_failure, remedy
from ecg_transfer.study.plan import Plan, PlannedRun
from ecg_transfer.study.worker import Outcome, Task
from ecg_transfer.upstream import Upstream


class Pool(Protocol):
    """Workers that do tasks, local processes or a cluster's."""

    def num_free(self) -> int:
        """How many tasks could start now."""

    def start(self, task: Task) -> None:
        """Start a task on a free worker."""

    def wait(self, timeout: float) -> list[Outcome]:
        """Outcomes of the tasks that ended; waits up to so many seconds for the first one."""

    def close(self) -> None:
        """End all workers, first asking those that are in a run to stop."""


@dataclass(kw_only=True)
class Summary:
    """How a study stands when `execute` is through with it. Runs by name."""

    kept: list[str] = field(default_factory=list)
    """Were finished before."""
    done: list[str] = field(default_factory=list)
    """Were finished now, here or by another process."""
    failed: dict[str, str] = field(default_factory=dict)
    """With the reason."""
    blocked: dict[str, str] = field(default_factory=dict)
    """Could not start: the name of the pre-training that failed."""


def execute(
    plan: Plan,
    pool: Pool,
    *,
    retry_failed: bool = False,
    report: Callable[[str], None] = lambda sentence: None,
    patience: float = 3.0,
) -> Summary:
    """Do every run of a plan that is not done. The pool is left open.

    Args:
        plan: What to do.
        pool: Who does it.
        retry_failed: Try again also what failed before and would fail again in the same way.
        report: Is told what happens, a sentence each.
        patience: Seconds between two looks at a run that another study works on.

    Raises:
        DiskFullError: There is no room for a run's files.
    """
    execution = _Execution(plan, pool, report, patience)
    execution.look_back(retry_failed)
    while execution.waiting or execution.running:
        execution.start_what_is_ready()
        for outcome in pool.wait(min(1.0, patience)):
            execution.take(outcome)
    return execution.summary


class _Execution:
    """A study that is being run."""

    def __init__(self, plan: Plan, pool: Pool, report: Callable[[str], None], patience: float) -> None:
        self.summary = Summary()
        self.waiting: dict[str, PlannedRun] = {planned.name: planned for planned in plan.runs}
        self.running: dict[str, PlannedRun] = {}
        self._plan, self._pool, self._report, self._patience = plan, pool, report, patience
        self._attempts: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._finished: set[str] = set()

    def look_back(self, retry_failed: bool) -> None:
        """Set aside what is done, and what failed before for a reason that lies in the run itself."""
        changed: dict[str, str] = {}
        known: Known = {}
        for name, planned in list(self.waiting.items()):
            if planned.run.is_done:
                try:
                    if planned.upstream is not None and planned.upstream.is_done:
                        require_same_upstream(planned.run, Upstream.from_run(planned.upstream))
                    require_same_data(planned.run, planned.config, known)
                    planned.run.tidy()
                    self._finish(name, self.summary.kept)
                except (DataChangedError, RunChangedError) as error:
                    changed[name] = str(error)
        for planned in [self.waiting.pop(name) for name in changed]:
            self._fail(planned, changed[planned.name])
        for planned in list(self.waiting.values()):
            if not retry_failed and (reason := _lasting_failure(planned.run)) is not None:
                self._fail(planned, f"{reason} (before; --retry-failed tries it again)")

    def start_what_is_ready(self) -> None:
        """Fill the free workers, in the plan's order."""
        free = self._pool.num_free()
        for name, planned in list(self.waiting.items()):
            if free <= 0:
                return
            if not self._is_ready(planned):
                continue
            (planned.run.path / "FAILED").unlink(missing_ok=True)
            self._attempts[name] += 1
            self._pool.start(
                Task(
                    name=name,
                    path=str(planned.run.path.resolve()),
                    output=str(self._plan.output.resolve()),
                    config=planned.launch_config().as_dict(),
                )
            )
            self.running[name] = self.waiting.pop(name)
            free -= 1

    def _is_ready(self, planned: PlannedRun) -> bool:
        name, now = planned.name, time.monotonic()
        if planned.upstream is not None and planned.upstream.name not in self._finished:
            return False
        if self._not_before.get(name, 0.0) > now:
            return False
        if planned.run.is_done:
            self._finish(name, self.summary.done)
            return False
        if (holder := holder_of(planned.run.path)) is not None:
            if name not in self._not_before:
                self._report(f"{name}: {holder} works on it")
            self._not_before[name] = now + self._patience
            return False
        if name in self._not_before and (reason := _lasting_failure(planned.run)) is not None:
            self._fail(planned, f"{reason} (just now, in another process)")
            return False
        return True

    def take(self, outcome: Outcome) -> None:
        """Judge how a run ended: by its files, then by what the worker says."""
        planned = self.running.pop(outcome.name)
        name = planned.name
        if planned.run.is_done:
            self._finish(name, self.summary.done)
            self._report(f"{name}: done in {outcome.seconds:.0f} s")
        elif outcome.kind == "busy":
            self._attempts[name] -= 1
            self._not_before[name] = time.monotonic() + self._patience
            self.waiting[name] = planned
        elif is_disk_full(outcome):
            raise DiskFullError(outcome.errno, outcome.message.partition("] ")[2] or outcome.message)
        else:
            self._retry_or_fail(planned, outcome)

    def _retry_or_fail(self, planned: PlannedRun, outcome: Outcome) -> None:
        name, attempts = planned.name, self._attempts[planned.name]
        error = outcome.error
        if outcome.kind in ("crashed", "interrupted"):
            error = CRASH
        elif outcome.kind == "done":
            error = "IncompleteRunError"
        reason = f"{error}: {outcome.message or 'its files are not complete'}"
        if remedy(error) == "again" and attempts <= self._plan.study.retries:
            self._report(f"{name}: {reason}; attempt {attempts + 1} of {self._plan.study.retries + 1}")
            self.waiting = {name: planned, **self.waiting}
            return
        note_failure(planned.run, planned.config, error, outcome.message, attempts=attempts)
        self._fail(planned, reason)
        self._report(f"{name}: failed: {reason}")

    def _finish(self, name: str, among: list[str]) -> None:
        self.waiting.pop(name, None)
        self._finished.add(name)
        among.append(name)

    def _fail(self, planned: PlannedRun, reason: str) -> None:
        """Give a run up, and those that would start from it."""
        self.waiting.pop(planned.name, None)
        self.summary.failed[planned.name] = reason
        for name, other in list(self.waiting.items()):
            if other.upstream is None or other.upstream.name != planned.name:
                continue
            if other.run.is_done:
                self._finish(name, self.summary.done)
            else:
                self.waiting.pop(name)
                self.summary.blocked[name] = planned.name


def _lasting_failure(run: Run) -> str | None:
    """Why a run failed, where another attempt would fail in the same way; else None."""
    if run.status != "failed":
        return None
    reason = run.failure or "for an unknown reason"
    return reason if remedy(reason.partition(":")[0]) == "none" else None
