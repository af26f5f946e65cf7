"""SIGTERM, Ctrl-C, and Ctrl-C twice, given to real processes."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from commands import Child, all_dead, living_in, start, workers_of
from kills import AIMED_AT_DATA, TRIES, fresh, left_behind
from life import Life, Trial, epochs_in, seen
from studies import study

from ecg_transfer.checkpoint_file import is_whole
from ecg_transfer.runs import Run

SIGNALS = {"SIGTERM": (signal.SIGTERM,), "Ctrl-C": (signal.SIGINT,), "Ctrl-C twice": (signal.SIGINT, signal.SIGINT)}


def stop(life: Life, *, studies: bool) -> None:
    """In a training, in a cache's building, in a study."""
    trials: list[Trial] = []
    for name, signals in SIGNALS.items():
        trials.append((f"{name} in a training", lambda given=signals: _stopped_training(life, given)))
        trials.append((f"{name} in a cache's building", lambda given=signals: _stopped_building(life, given)))
        if studies:
            trials.append((f"{name} in a study", lambda given=signals: _stopped_study(life, given)))
    life.inject("stopping", trials)


def _give(child: Child, signals: Sequence[int]) -> list[str]:
    for number in signals:
        child.send(number, group=True)
        time.sleep(0.02)
    expected = 128 + signals[0]
    code = child.wait()
    lost = [] if code == expected else [f"exit code {code}, expected {expected}: {child.said()}"]
    return lost + [f"process {pid} lives on" for pid in living_in(child.pid)]


def _stopped_training(life: Life, signals: Sequence[int]) -> list[str]:
    """No epoch is saved but by the signal: the last whole one must be."""
    output = life.new()
    child = life.train(output, "trainer.checkpoint_seconds=1e6", "optim.max_epochs=500", run=start)
    while child.poll() is None and epochs_in(output) < 3:
        time.sleep(0.01)
    lost = _give(child, signals)
    run = Run(next(iter(output.glob("simulated/*/metrics.jsonl"))).parent)
    if len(signals) == 1:
        lost += [] if is_whole(run.path / "last.ckpt") else ["no state was kept"]
    # it has 500 epochs: whether it goes on is seen with the shorter one
    child = life.train(fresh(output), "trainer.checkpoint_seconds=1e6")
    while child.poll() is None and epochs_in(output) < 2:
        time.sleep(0.005)
    child.send(signals[0], group=True)
    child.wait()
    return lost + life.go_on(output)


def _stopped_building(life: Life, signals: Sequence[int]) -> list[str]:
    output = life.new()
    pattern = life.rng.choice((AIMED_AT_DATA[0], AIMED_AT_DATA[2]))
    for _ in range(TRIES):
        data = fresh(output) / "data"
        data.mkdir()
        child = life.train(output, data=data, run=start)
        for _ in seen(data, pattern, child):
            lost = _give(child, signals) + left_behind(data)
            return lost + life.go_on(output, data=data)
        child.wait()
    return [f"{pattern} was not seen in {TRIES} trainings: nothing was tried"]


def _stopped_study(life: Life, signals: Sequence[int]) -> list[str]:
    folder = life.new("study")
    child = study(life, folder, real=True)
    while child.poll() is None and not list(folder.glob("runs/simulated/*/metrics.jsonl")):
        time.sleep(0.02)
    workers = workers_of(child.pid)
    lost = _give(child, signals)
    lost += [] if workers else ["it had no worker"]
    return lost + ([] if all_dead(workers, 1.0) else ["a worker lives on"])
