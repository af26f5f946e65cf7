"""SIGKILL at any instant of a study."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from commands import Child, all_dead, code_of, command, start, workers_of
from kills import fresh
from life import TOGETHER, Life, Trial, epochs_in
from sameness import differences, other_tables
from tiny_net import NAME

from ecg_transfer.runs import find_runs
from ecg_transfer.study import local, worker

STUDY = f"""\
name: chaos
recipe: modern
overrides:
  data.source: simulated
  optim.batch_size: 16
  optim.min_updates: 0
  optim.max_epochs: 3
  trainer.accelerator: cpu
  trainer.checkpoint_seconds: 0
corpora:
  cpsc2018: {{data.num_simulated: 90}}
  ptb: {{data.num_simulated: 60}}
grids:
  - upstreams: [cpsc2018]
    downstreams: [ptb]
    backbones: ["{NAME}"]
    seeds: [0, 1]
"""


def study(life: Life, folder: Path, *, real: bool = False) -> Child:
    """Start the study with one worker.

    Args:
        life: Whose data it uses.
        folder: Where its file, its runs and its log go.
        real: It and its worker are interpreters of their own, as a user's are; else they are forked.
    """
    file = folder / "chaos.yaml"
    file.write_text(STUDY)
    arguments = ("study", "run", str(file), "--output", str(folder / "runs"), "--workers", "1")
    os.environ["ECG_DATA_ROOT"] = str(life.data)
    if real:
        return start(arguments, folder / "study.log")
    original, local.subprocess = local.subprocess, SimpleNamespace(**vars(subprocess) | {"Popen": _fork_a_worker})
    try:
        return command(arguments, folder / "study.log")
    finally:
        local.subprocess = original


def _fork_a_worker(
    arguments: Sequence[str],
    *,
    env: dict[str, str],
    **options: Any,  # noqa: ANN401 - of `subprocess.Popen`
) -> subprocess.Popen[bytes]:
    """In the place of `subprocess.Popen` in a study: the worker has imported what the study has, and starts at once.

    What is to be done before the new program starts is the worker's whole work, so that no program ever starts.
    """
    sys.stdout.flush()
    return subprocess.Popen(arguments, preexec_fn=lambda: _work(arguments[-1], env), **options)


def _work(runner: str, environment: dict[str, str]) -> None:
    os.closerange(3, 4096)  # by one of these the parent is told that the program has started
    gc.enable()
    os.environ.update(environment)
    sys.argv = ["worker", runner]
    os._exit(code_of(worker.main))


def kill_studies(life: Life, number: int) -> None:
    """The study's own process, or its worker, at instants drawn over the whole life of a study."""
    if not number:
        return
    seconds, whole = life.undisturbed("study", lambda folder: study(life, folder))
    drawing = life.drawing("study")
    trials: list[Trial] = []
    for instant in [drawing.uniform(0.0, seconds) for _ in range(number)]:
        who = drawing.choice(("study", "worker"))
        words = f"SIGKILL of the {who} after {instant:.1f} s"
        trials.append((words, lambda at=instant, whom=who: _killed_study(life, whole, at, whom)))
    life.inject("study", trials, how="drawn", together=TOGETHER)


def _killed_study(life: Life, whole: Path, seconds: float, who: str) -> list[str]:
    folder = life.new("study")
    workers = _strike(life, folder, seconds, who)
    lost = [] if all_dead(workers) else ["a worker outlived its study by 30 s"]
    again = study(life, folder)
    if code := again.wait():
        return [*lost, f"it ends with {code}: {again.said()}"]
    return lost + same_study(folder, whole)


def _strike(life: Life, folder: Path, seconds: float, who: str) -> list[int]:
    """Kill the study or its worker, once there is one, and let it end; its workers."""
    while True:
        started = time.monotonic()
        child = study(life, fresh(folder))
        time.sleep(seconds)
        while child.poll() is None:
            workers = workers_of(child.pid)
            if who == "study" or workers:
                life.epochs = epochs_in(folder / "runs")
                done = sum(run.is_done for run in find_runs(folder / "runs"))
                life.note = f"{done} runs done, {life.epochs} epochs"
                with suppress(ProcessLookupError):  # a worker that ended by itself in between: the next one, then
                    os.kill(child.pid if who == "study" else life.rng.choice(workers), signal.SIGKILL)
                    child.wait()
                    return workers
            time.sleep(0.005)
        seconds = life.rng.uniform(0.0, time.monotonic() - started)


def same_study(folder: Path, whole: Path) -> list[str]:
    """In what the runs and the tables of a study differ from those of an undisturbed one."""
    runs = {run.name: run for run in find_runs(folder / "runs")}
    lost = []
    for expected in find_runs(whole / "runs"):
        found = runs.pop(expected.name, None)
        if found is None:
            lost.append(f"{expected.name} is missing")
        else:
            lost += [f"{expected.name}: {one}" for one in differences(found, expected) if "log.txt" not in one]
    lost += [f"{name} is one too many" for name in runs]
    return lost or other_tables(find_runs(folder / "runs"), find_runs(whole / "runs"))
