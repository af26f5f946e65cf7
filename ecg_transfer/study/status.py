"""How a study stands, from its run directories alone: what is done, who works on what, how far, how long still."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from data_modules.claim import Holder, holder_of
from ecg_transfer.curve import read_curve
from ecg_transfer.study.estimate import Cost, makespan, num_epochs
from ecg_transfer.study.plan import Plan, PlannedRun
from ecg_transfer.study.quantities import duration

State = Literal["done", "running", "failed", "blocked", "interrupted", "waiting"]

STATES: tuple[State, ...] = ("done", "running", "failed", "blocked", "interrupted", "waiting")
"""`blocked`: its pre-training failed; `interrupted`: it was begun, nobody works on it, it will go on; `waiting`: it was
not begun."""
ENDED: tuple[State, ...] = ("done", "failed", "blocked")
"""Those in which nothing happens any more, unless the study is started again."""
MOST_SHOWN = 20
"""Rows of a list in the live table."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How one run stands."""

    planned: PlannedRun
    state: State
    epochs_done: int
    num_epochs: int
    seconds: float
    """That its finished epochs took."""
    holder: Holder | None = None
    reason: str = ""
    """Why it failed."""

    def seconds_left(self, expected: float | None) -> float | None:
        """Seconds to its end, by its own pace if it has one, else by what is expected of the whole run.

        Args:
            expected: Seconds of the whole run; None if nothing is known.
        """
        if self.state == "done":
            return 0.0
        if self.epochs_done:
            return self.seconds / self.epochs_done * max(0, self.num_epochs - self.epochs_done)
        return expected


def run_state(planned: PlannedRun) -> RunState:
    """Look at one run's directory."""
    run = planned.run
    status = run.status
    holder = None if status == "done" else holder_of(run.path)
    curve = read_curve(run.path / "metrics.jsonl")
    state: State = "done" if status == "done" else "waiting"
    if holder is not None:
        state = "running"
    elif status == "failed":
        state = "failed"
    elif status == "unfinished":
        state = "interrupted"
    return RunState(
        planned=planned,
        state=state,
        epochs_done=curve[-1]["epoch"] + 1 if curve else 0,
        num_epochs=num_epochs(planned),
        seconds=float(curve[-1]["seconds"]) if curve else 0.0,
        holder=holder,
        reason=(run.failure or "") if state == "failed" else "",
    )


def run_states(plan: Plan) -> list[RunState]:
    """Look at the directories of all runs of a plan, in its order."""
    states = [run_state(planned) for planned in plan.runs]
    failed = {one.planned.name for one in states if one.state == "failed"}

    def is_blocked(one: RunState) -> bool:
        upstream = one.planned.upstream
        return upstream is not None and upstream.name in failed and one.state in ("interrupted", "waiting")

    return [replace(one, state="blocked") if is_blocked(one) else one for one in states]


def pace(states: list[RunState], expected: Mapping[str, float]) -> float:
    """Measured over expected seconds of the epochs done so far; 1 if nothing is measured.

    Args:
        states: Of the runs.
        expected: Seconds of the whole runs, by name.
    """
    ratios = [
        one.seconds / (expected[one.planned.name] * one.epochs_done / one.num_epochs)
        for one in states
        if one.epochs_done and expected.get(one.planned.name)
    ]
    return statistics.median(ratios) if ratios else 1.0


def seconds_left(plan: Plan, states: list[RunState], expected: Mapping[str, float], num_workers: int) -> float | None:
    """Seconds until the study is done; None while no speed is known.

    Runs that failed are not counted, nor those that would start from them. The expectation is corrected by the pace of
    the runs so far.

    Args:
        plan: Its order and dependencies.
        states: Of its runs.
        expected: Seconds of the whole runs, by name, as `ecg_transfer.study.estimate.cost` gives them.
        num_workers: Runs at the same time.
    """
    factor = pace(states, expected)
    left: dict[str, float] = {}
    for one in states:
        if one.state in ENDED:
            continue
        whole = expected.get(one.planned.name)
        seconds = one.seconds_left(None if whole is None else factor * whole)
        if seconds is None:
            return None
        left[one.planned.name] = seconds
    return makespan(plan, left, num_workers)


def render(plan: Plan, costs: Mapping[str, Cost], num_workers: int | None = None) -> RenderableType:
    """The table of `study status`.

    Args:
        plan: The study's.
        costs: What is known of its runs' costs, by name.
        num_workers: Runs at the same time; None counts those that run now.
    """
    states = run_states(plan)
    expected = {name: each.seconds for name, each in costs.items()}
    counts = Counter(one.state for one in states)
    workers = num_workers or max(1, counts["running"])
    left = seconds_left(plan, states, expected, workers)
    head = Text(f"{plan.study.name}: {counts['done']} of {len(states)} runs done", style="bold")
    if sum(counts[state] for state in ENDED) < len(states):
        head.append(f", about {duration(left)} left with {workers} at a time" if left is not None else "")
    return Group(head, _by_phase(states), *_running(states), *_failed(states))


def _by_phase(states: list[RunState]) -> Table:
    table = Table("", *STATES, box=None, padding=(0, 2, 0, 0))
    for phase in ("pretrain", "finetune", "scratch"):
        counts = Counter(one.state for one in states if one.planned.config.phase == phase)
        table.add_row(phase, *(str(counts[state] or "") for state in STATES))
    return table


def _running(states: list[RunState]) -> list[RenderableType]:
    at_work = [one for one in states if one.state == "running"]
    if not at_work:
        return []
    table = Table(Column("running", no_wrap=True), "epoch", "", "left", "by", box=None, padding=(0, 2, 0, 0))
    for one in at_work[:MOST_SHOWN]:
        filled = round(20 * min(1.0, one.epochs_done / one.num_epochs))
        left = one.seconds_left(None)
        table.add_row(
            one.planned.name,
            f"{one.epochs_done} of {one.num_epochs}",
            "#" * filled + "." * (20 - filled),
            "" if left is None else duration(left),
            str(one.holder),
        )
    return [Text(""), table]


def _failed(states: list[RunState]) -> list[RenderableType]:
    failed = [one for one in states if one.state == "failed"]
    if not failed:
        return []
    table = Table(Column("failed", no_wrap=True), "why", box=None, padding=(0, 2, 0, 0))
    for one in failed[:MOST_SHOWN]:
        table.add_row(one.planned.name, Text(one.reason))
    if len(failed) > MOST_SHOWN:
        table.add_row(f"and {len(failed) - MOST_SHOWN} more", "")
    return [Text(""), table]


def watch(plan: Plan, costs: Mapping[str, Cost], *, num_workers: int | None = None, every: float = 2.0) -> None:
    """Show the table live until every run is done, has failed or is blocked, or Ctrl-C."""
    from rich.live import Live

    with Live(render(plan, costs, num_workers), auto_refresh=False, transient=False) as live:
        while any(one.state not in ENDED for one in run_states(plan)):
            time.sleep(every)
            live.update(render(plan, costs, num_workers), refresh=True)
        live.update(render(plan, costs, num_workers), refresh=True)
