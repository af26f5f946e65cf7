"""SIGKILL at any instant of a training and of a cache's building."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from commands import Child, all_dead, fork, living_in, start
from life import CORPUS, RECORDS, TOGETHER, Life, Trial, epochs_in, seen

import ecg_transfer as et
from ecg_transfer.runs import Run, find_runs

LONG = "optim.max_epochs=16"
"""For drawn instants: most of them shall fall into epochs."""
AIMED = (
    ".last.ckpt.*.tmp",
    ".best.ckpt.*.tmp",
    ".predictions.npz.*.tmp",
    ".manifest.json.*.tmp",
    ".scores.json.*.tmp",
    ".DONE.*.tmp",
    "DONE",
    "last.previous.ckpt",
)
"""Instants: as soon as such a file is seen in the run's directory."""
TRIES = 4
"""Times that such an instant is looked for; on a busy machine it may pass unseen."""
AIMED_AT_DATA = (
    f"simulated/.{CORPUS}-{RECORDS}.*.tmp",
    f"simulated/.{CORPUS}-{RECORDS}.claim",
    f"cache/.{CORPUS}-*.tmp",
    f"cache/.{CORPUS}-*.claim",
    f"cache/{CORPUS}-*.h5",
)
MANY_RECORDS = 600
"""Of the corpus that is read at drawn instants: so many are decoded by several processes."""


def dies_at(life: Life, seconds: float, begin: Callable[[], Child]) -> Child:
    """Begin something and kill it so many seconds later; where it was faster, begin again for another instant."""
    while True:
        started = time.monotonic()
        child = begin()
        time.sleep(seconds)
        child.send(signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            return child
        seconds = life.rng.uniform(0.0, time.monotonic() - started)


def fresh(folder: Path) -> Path:
    """An empty folder in the place of what is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def kill_trainings(life: Life, number: int) -> None:
    """At instants drawn over the whole life of a training, and at aimed ones, where it is a process of its own."""
    if number:
        seconds, folder = life.undisturbed("long training", lambda output: life.train(output, LONG))
        whole, drawing = next(find_runs(folder)), life.drawing("training")
        drawn: list[Trial] = [
            (f"SIGKILL after {instant:.2f} s", lambda at=instant: _killed_after(life, whole, at))
            for instant in [drawing.uniform(0.0, seconds) for _ in range(number)]
        ]
        life.inject("training", drawn, how="drawn", together=TOGETHER)
    aimed: list[Trial] = []
    for pattern in AIMED[: max(2, number)]:
        times = life.drawing(pattern).randint(1, 4) if pattern.startswith(".last") else 1
        aimed.append((f"SIGKILL at {pattern} ({times})", lambda at=pattern, n=times: _killed_at(life, at, n)))
    life.inject("training", aimed, how="aimed")


def _killed_after(life: Life, whole: Run, seconds: float) -> list[str]:
    output = life.new()
    dies_at(life, seconds, lambda: life.train(fresh(output), LONG))
    life.note = f"in {_where(life, output)}"
    return life.go_on(output, LONG, whole=whole)


def _where(life: Life, output: Path) -> str:
    """How far a killed training had come."""
    life.epochs = epochs_in(output)
    if done := list(output.glob("simulated/*/DONE")):
        return f"its last instants, {done[0].name} written"
    return f"epoch {life.epochs + 1}"


def _killed_at(life: Life, pattern: str, times: int) -> list[str]:
    output = life.new()
    for _ in range(TRIES):
        child = life.train(fresh(output), run=start)
        for _ in seen(output, f"simulated/*/{pattern}", child, times):
            child.send(signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            inside = pattern.endswith(".tmp") and list(output.glob(f"simulated/*/{pattern}"))
            life.note = f"in {_where(life, output)}" + (", in the middle of the write" if inside else "")
            return life.go_on(output)
    return [f"{pattern} was not seen in {TRIES} trainings: nothing was tried"]


def kill_builders(life: Life, number: int) -> None:
    """While a cache is built: at instants drawn over the reading of a larger corpus; at aimed ones, data and all."""
    if number:
        (life.home / "many").mkdir()
        if code := (first := _open(life.home / "many")).wait():
            raise RuntimeError(f"the corpus cannot be simulated: {code}, {first.said()}")
        seconds, whole = life.undisturbed("reading of a corpus", lambda folder: _open(_unread(life, folder)))
        drawing = life.drawing("cache")
        drawn: list[Trial] = [
            (f"SIGKILL after {instant:.2f} s", lambda at=instant: _killed_reading(life, whole, at))
            for instant in [drawing.uniform(0.0, seconds) for _ in range(number)]
        ]
        life.inject("cache", drawn, how="drawn", together=TOGETHER)
    aimed: list[Trial] = [
        (f"SIGKILL at {pattern}", lambda at=pattern: _killed_building(life, at))
        for pattern in AIMED_AT_DATA[: max(2, number)]
    ]
    life.inject("cache", aimed, how="aimed")


def _open(data: Path) -> Child:
    """Open the larger corpus as a training does; its cache is built if it is not there."""
    overrides = [f"data.num_simulated={MANY_RECORDS}", "data.source=simulated", f"data.root={data}"]
    return fork(lambda: et.datamodule(CORPUS, recipe="modern", overrides=overrides), data.parent / f"{data.name}.log")


def _unread(life: Life, folder: Path) -> Path:
    """Make a folder a data root that shares the larger corpus's records and has no cache."""
    (fresh(folder) / "simulated").symlink_to(life.home / "many" / "simulated")
    return folder


def _killed_reading(life: Life, whole: Path, seconds: float) -> list[str]:
    data = life.new("data")
    child = dies_at(life, seconds, lambda: _open(_unread(life, data)))
    life.note = _how_far(data)
    lost = [] if all_dead(living_in(child.pid)) else ["a process that it forked outlived it"]
    again = _open(data)
    if code := again.wait():
        return [*lost, f"it ends with {code}: {again.said()}"]
    return lost + left_behind(data) + _other_files(data, whole, "cache/*")


def _how_far(data: Path) -> str:
    """How far the killed building of a cache had come."""
    if list(data.glob("cache/*.h5")):
        return "with the cache in its place"
    if list(data.glob("cache/.*.tmp")):
        return "in the middle of the reading"
    return "under its claim, nothing written" if list(data.glob("cache/.*")) else "before its claim"


def _killed_building(life: Life, pattern: str) -> list[str]:
    output = life.new()
    for _ in range(TRIES):
        data = fresh(output) / "data"
        data.mkdir()
        child = life.train(output, data=data, run=start)
        for _ in seen(data, pattern, child):
            child.send(signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            hidden = sorted(path.name.split(".")[1] for path in data.rglob(".*"))
            life.note = f"unfinished: {', '.join(hidden) or 'nothing'}"
            lost = life.go_on(output, data=data)
            return lost + left_behind(data) + _other_files(data, life.data, "simulated/**/*")
    return [f"{pattern} was not seen in {TRIES} trainings: nothing was tried"]


def left_behind(data: Path) -> list[str]:
    """Claims and unfinished files."""
    return [f"left behind: {path}" for path in sorted(data.rglob(".*"))]


def _other_files(data: Path, whole: Path, pattern: str) -> list[str]:
    """Files of a data root that are not, byte for byte, what an undisturbed one has."""
    ours, theirs = (
        {str(path.relative_to(root)): path for path in root.glob(pattern) if path.is_file()} for root in (data, whole)
    )
    if not theirs or ours.keys() != theirs.keys():
        return [f"other files: {sorted(ours.keys() ^ theirs.keys())[:4]}"]
    return [f"{name} has another content" for name in theirs if ours[name].read_bytes() != theirs[name].read_bytes()]
