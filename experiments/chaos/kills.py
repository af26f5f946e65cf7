"""SIGKILL at any instant of a training, a cache's building and a study; SIGTERM and Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from commands import Child, command, living_in
from life import CORPUS, RECORDS, Life, seen
from sameness import attempts, differences

from ecg_transfer.checkpoint_file import is_whole
from ecg_transfer.curve import read_curve
from ecg_transfer.runs import Run, find_runs

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
"""Trainings in which such an instant is looked for; on a busy machine it may pass unseen."""
AIMED_AT_DATA = (
    f"simulated/.{CORPUS}-{RECORDS}.*.tmp",
    f"simulated/.{CORPUS}-{RECORDS}.claim",
    f"cache/.{CORPUS}-*.tmp",
    f"cache/.{CORPUS}-*.claim",
    f"cache/{CORPUS}-*.h5",
)


def kill_trainings(life: Life, number: int) -> None:
    """At instants drawn over the whole life of a training, and at aimed ones."""
    for _ in range(number):
        instant = life.rng.uniform(0.0, life.seconds)
        life.inject("training", f"SIGKILL after {instant:.2f} s", lambda at=instant: _killed_after(life, at))
    for pattern in AIMED[: max(2, number)]:
        times = life.rng.randint(1, 4) if pattern.startswith(".last") else 1
        life.inject("training", f"SIGKILL at {pattern} ({times})", lambda at=pattern, n=times: _killed_at(life, at, n))


def _killed_after(life: Life, seconds: float) -> list[str]:
    output = life.new()
    while (child := life.train(output)) and not _dies_after(child, seconds):
        shutil.rmtree(output)  # it was faster than the undisturbed one: an earlier instant
        output.mkdir()
        seconds *= 0.6
    life.note = f"in {_where(output)}"
    return life.go_on(output)


def _dies_after(child: Child, seconds: float) -> bool:
    time.sleep(seconds)
    child.send(signal.SIGKILL)
    return child.wait() == -signal.SIGKILL


def _where(output: Path) -> str:
    """How far a killed training had come."""
    if done := list(output.glob("simulated/*/DONE")):
        return f"its last instants, {done[0].name} written"
    return f"epoch {len(_epochs(output))}"


def _killed_at(life: Life, pattern: str, times: int) -> list[str]:
    output = life.new()
    for _ in range(TRIES):
        child = life.train(output)
        for _ in seen(output, f"simulated/*/{pattern}", child, times):
            child.send(signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            inside = pattern.endswith(".tmp") and list(output.glob(f"simulated/*/{pattern}"))
            life.note = f"in {_where(output)}" + (", in the middle of the write" if inside else "")
            return life.go_on(output)
        shutil.rmtree(output)
        output.mkdir()
    return [f"{pattern} was not seen in {TRIES} trainings: nothing was tried"]


def kill_builders(life: Life, number: int) -> None:
    """While a corpus is simulated and its cache is built: data of its own for each trial."""
    for pattern in AIMED_AT_DATA[: max(2, number)]:
        life.inject("cache", f"SIGKILL at {pattern}", lambda at=pattern: _killed_building(life, at, None))
    for _ in range(max(0, number - len(AIMED_AT_DATA))):
        instant = life.rng.uniform(0.0, 2 * life.seconds)
        life.inject("cache", f"SIGKILL after {instant:.2f} s", lambda at=instant: _killed_building(life, None, at))


def _killed_building(life: Life, pattern: str | None, seconds: float | None) -> list[str]:
    output = life.new()
    data = output / "data"
    data.mkdir()
    child = life.train(output, data=data)
    if pattern is not None:
        for _ in seen(data, pattern, child):
            child.send(signal.SIGKILL)
        child.wait()
    else:
        _dies_after(child, seconds or 0.0)
    hidden = sorted(path.name.split(".")[1] for path in data.rglob(".*"))
    life.note = f"unfinished: {', '.join(hidden) or 'nothing'}"
    lost = life.go_on(output, data=data)
    return lost + [f"left behind: {path}" for path in sorted(data.rglob(".*"))] + _other_data(life, data)


def _other_data(life: Life, data: Path) -> list[str]:
    """Files of a data root that are not what an undisturbed one has."""
    ours, theirs = (
        {str(path.relative_to(root)): path for path in root.glob("simulated/**/*") if path.is_file()}
        for root in (data, life.data)
    )
    if ours.keys() != theirs.keys():
        return [f"other files: {sorted(ours.keys() ^ theirs.keys())[:4]}"]
    return [f"{name} has another content" for name in theirs if ours[name].read_bytes() != theirs[name].read_bytes()]


def kill_studies(life: Life, number: int) -> None:
    """The study's own process, or one of its workers; then it is started again."""
    if not number:
        return
    whole = life.new("study")
    started = time.monotonic()
    child = study(life, whole)
    if code := child.wait():
        raise RuntimeError(f"the undisturbed study ends with {code}: {child.said(2000)}")
    seconds = time.monotonic() - started
    life.say(f"an undisturbed study takes {seconds:.0f} s")
    for trial in range(number):
        instant = life.rng.uniform(0.2, 1.0) * seconds
        who = ("study", "worker")[trial % 2]
        life.inject(
            "study",
            f"SIGKILL of the {who} after {instant:.1f} s",
            lambda at=instant, whom=who: _killed_study(life, whole, at, whom),
        )


def study(life: Life, folder: Path, *more: str) -> Child:
    """Start the study with one worker."""
    arguments = (
        "study",
        "run",
        str(life.study_file(folder)),
        "--output",
        str(folder / "runs"),
        "--workers",
        "1",
        *more,
    )
    os.environ["ECG_DATA_ROOT"] = str(life.data)
    return command(arguments, folder / "study.log")


def _killed_study(life: Life, whole: Path, seconds: float, who: str) -> list[str]:
    folder = life.new("study")
    child = study(life, folder)
    time.sleep(seconds)
    workers = workers_of(child.pid)
    if who == "study":
        child.send(signal.SIGKILL)
        child.wait()
    elif workers:
        os.kill(life.rng.choice(workers), signal.SIGKILL)
        child.wait()
    lost = [] if _all_dead(workers) else ["a worker outlived its study by 30 s"]
    again = study(life, folder)
    if code := again.wait():
        return [*lost, f"it ends with {code}: {again.said()}"]
    return lost + same_study(folder, whole)


def same_study(folder: Path, whole: Path) -> list[str]:
    """In what the runs of a study differ from those of an undisturbed one."""
    runs = {run.name: run for run in find_runs(folder / "runs")}
    lost = []
    for expected in find_runs(whole / "runs"):
        found = runs.pop(expected.name, None)
        if found is None:
            lost.append(f"{expected.name} is missing")
        else:
            lost += [f"{expected.name}: {one}" for one in differences(found, expected) if "log.txt" not in one]
    return lost + [f"{name} is one too many" for name in runs]


def workers_of(pid: int) -> list[int]:
    """Child processes of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _all_dead(pids: Sequence[int], limit: float = 30.0) -> bool:
    deadline = time.monotonic() + limit
    while any(Path(f"/proc/{pid}/exe").exists() and _is_living(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _is_living(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


SIGNALS = {"SIGTERM": (signal.SIGTERM,), "Ctrl-C": (signal.SIGINT,), "Ctrl-C twice": (signal.SIGINT, signal.SIGINT)}


def stop(life: Life, *, studies: bool) -> None:
    """SIGTERM, Ctrl-C, and Ctrl-C twice, in a training, in a cache's building, in a study."""
    for name, signals in SIGNALS.items():
        life.inject("stopping", f"{name} in a training", lambda given=signals: _stopped_training(life, given))
        life.inject("stopping", f"{name} in a cache's building", lambda given=signals: _stopped_building(life, given))
        if studies:
            life.inject("stopping", f"{name} in a study", lambda given=signals: _stopped_study(life, given))


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
    child = life.train(output, "trainer.checkpoint_seconds=1e6", "optim.max_epochs=500")
    while child.poll() is None and len(_epochs(output)) < 3:
        time.sleep(0.01)
    lost = _give(child, signals)
    run = Run(next(iter(output.glob("simulated/*/metrics.jsonl"))).parent)
    if len(signals) == 1:
        lost += [] if is_whole(run.path / "last.ckpt") else ["no state was kept"]
    shutil.rmtree(output)  # it has 500 epochs: whether it goes on is seen with the shorter one
    output.mkdir()
    child = life.train(output, "trainer.checkpoint_seconds=1e6")
    while child.poll() is None and len(_epochs(output)) < 2:
        time.sleep(0.005)
    child.send(signals[0], group=True)
    child.wait()
    return lost + life.go_on(output)


def _epochs(output: Path) -> list[object]:
    return [line for path in output.glob("simulated/*/metrics.jsonl") for line in read_curve(path)]


def _stopped_building(life: Life, signals: Sequence[int]) -> list[str]:
    output = life.new()
    data = output / "data"
    data.mkdir()
    child = life.train(output, data=data)
    pattern = life.rng.choice(AIMED_AT_DATA[:1] + AIMED_AT_DATA[2:3])
    lost = []
    for _ in seen(data, pattern, child):
        lost = _give(child, signals)
    lost += [f"left behind: {path}" for path in sorted(data.rglob(".*"))]
    return lost + life.go_on(output, data=data)


def _stopped_study(life: Life, signals: Sequence[int]) -> list[str]:
    folder = life.new("study")
    child = study(life, folder)
    while child.poll() is None and not list(folder.glob("runs/simulated/*/metrics.jsonl")):
        time.sleep(0.02)
    workers = workers_of(child.pid)
    lost = _give(child, signals)
    lost += [] if workers else ["it had no worker"]
    return lost + ([] if _all_dead(workers, 1.0) else ["a worker lives on"])


def once(run: Run) -> list[str]:
    """Whether a run was done by one attempt."""
    return [] if attempts(run) == 1 else [f"{run.name} took {attempts(run)} attempts"]
