"""Several processes at once, a full disk, and files that rot."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from commands import Child, fork
from kills import once, same_study, study
from life import CORPUS, SETTINGS, Life, seen
from sameness import differences
from tiny_net import NAME

import ecg_transfer as et
from data_modules.claim import RunClaimedError
from ecg_transfer.runs import Run, find_runs

FULL_DISK = 75


def crowd(life: Life, sizes: Sequence[int], *, studies: bool) -> None:
    """Two, four, eight processes on one training, on one missing corpus and cache, on one study."""
    for size in sizes:
        life.inject("several", f"{size} processes, one run", lambda n=size: _one_run(life, n))
        life.inject("several", f"{size} processes, one cache", lambda n=size: _one_cache(life, n))
    life.inject("several", "the builder of a cache is killed, another waits", lambda: _builder(life, signal.SIGKILL))
    life.inject("several", "the builder of a cache is stopped, another waits", lambda: _builder(life, signal.SIGSTOP))
    if studies:
        life.inject("several", "2 studies, one folder", lambda: _one_study(life, 2))


def _together(number: int, work: Callable[[], object], folder: Path) -> list[str]:
    children = [fork(work, folder / f"{index}.log") for index in range(number)]
    return [f"a process ends with {child.code}: {child.said()}" for child in children if child.wait()]


def _one_run(life: Life, number: int) -> list[str]:
    output = life.new()

    def work() -> None:
        overrides = [*SETTINGS, f"data.root={life.data}", "trainer.checkpoint_seconds=0"]
        while True:
            with suppress(RunClaimedError):
                et.train_from_scratch(CORPUS, backbone=NAME, recipe="modern", overrides=overrides, output=output)
                return
            time.sleep(0.05)

    lost = _together(number, work, output)
    run = next(find_runs(output))
    return lost + differences(run, life.whole) + once(run)


def _opener(life: Life, data: Path, *, note: Path) -> Callable[[], None]:
    """Opens a corpus that must first be simulated and read; notes each simulation and each reading."""

    def work() -> None:
        from data_modules import cache
        from data_modules.simulation import simulated_corpus

        for module, name in ((cache, "_build"), (simulated_corpus, "_build")):
            original = getattr(module, name)

            def noted(
                *arguments: object, original: Callable[..., object] = original, what: str = module.__name__
            ) -> None:
                original(*arguments)
                with note.open("a") as stream:
                    stream.write(f"{what}\n")

            setattr(module, name, noted)
        et.datamodule(CORPUS, recipe="modern", overrides=[*SETTINGS[:2], f"data.root={data}"])

    return work


def _built_once(data: Path, note: Path) -> list[str]:
    built = sorted(note.read_text().split()) if note.exists() else []
    expected = ["data_modules.cache", "data_modules.simulation.simulated_corpus"]
    lost = [] if built == expected else [f"built: {', '.join(built)}"]
    return lost + [f"left behind: {path.name}" for path in sorted(data.rglob(".*"))]


def _one_cache(life: Life, number: int) -> list[str]:
    folder = life.new("cache")
    data, note = folder / "data", folder / "built"
    return _together(number, _opener(life, data, note=note), folder) + _built_once(data, note)


def _builder(life: Life, number: int) -> list[str]:
    """A dead holder's work is taken over; a living one's, however still it is, never."""
    folder = life.new("cache")
    data, note = folder / "data", folder / "built"
    work = _opener(life, data, note=note)
    first = fork(work, folder / "first.log")
    for _ in seen(data, "*/.*.claim", first):
        first.send(number)
    second = fork(work, folder / "second.log")
    lost = []
    if number == signal.SIGSTOP:
        time.sleep(life.seconds + 2)
        lost = [] if second.poll() is None else [f"the other did not wait: {second.said()}"]
        lost += [] if "waiting: " in second.said() else ["the other does not say for whom it waits"]
        first.send(signal.SIGCONT)
    codes = [first.wait(), second.wait()]
    expected = [-signal.SIGKILL if number == signal.SIGKILL else 0, 0]
    return lost + ([] if codes == expected else [f"exit codes {codes}: {second.said()}"]) + _built_once(data, note)


def _one_study(life: Life, number: int) -> list[str]:
    folder = life.new("study")
    children: list[Child] = [study(life, folder) for _ in range(number)]
    lost = [f"a study ends with {child.code}: {child.said()}" for child in children if child.wait()]
    runs = list(find_runs(folder / "runs"))
    return lost + [one for run in runs for one in once(run)] + same_study(folder, folder)


def fill_the_disk(life: Life, number: int) -> None:
    """Disks of many sizes, so that it is full at one write after the other; then there is room and it goes on."""
    disk = life.new("disk")
    if not _mount(disk, 64):
        life.say("no right to mount a small disk here: a full one is not tried")
        return
    subprocess.run(["umount", disk], check=True)
    most = 3 * sum(path.stat().st_size for path in life.whole.path.rglob("*") if path.is_file()) // 1024
    for step in range(number):
        size = round(4 + (most - 4) * (step + life.rng.random()) / number)
        life.inject("full disk", f"a disk of {size} kB", lambda at=size: _on_a_small_disk(life, at))
    life.inject("full disk", "no room for a cache", lambda: _no_room_for_a_cache(life))


def _mount(folder: Path, kilobytes: int, *, again: bool = False) -> bool:
    option = f"{'remount,' if again else ''}size={kilobytes}k"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", option, "none", folder], check=False, capture_output=True)
    return done.returncode == 0


def _on_a_small_disk(life: Life, kilobytes: int) -> list[str]:
    output = life.new("disk")
    _mount(output, kilobytes)
    try:
        child = life.train(output)
        code = child.wait()
        lost = [] if code in (0, FULL_DISK) else [f"exit code {code}: {child.said()}"]
        if code == FULL_DISK and "Make room" not in child.said():
            lost.append(f"it does not say so: {child.said()}")
        _mount(output, 64_000, again=True)
        return lost + life.go_on(output)
    finally:
        subprocess.run(["umount", output], check=True)


def _no_room_for_a_cache(life: Life) -> list[str]:
    output = life.new()
    data = output / "data"
    shutil.copytree(life.data / "simulated", data / "simulated")
    (data / "cache").mkdir()
    _mount(data / "cache", 1000)
    try:
        child = life.train(output, data=data)
        code = child.wait()
        lost = [] if code == FULL_DISK else [f"exit code {code}: {child.said()}"]
        _mount(data / "cache", 64_000, again=True)
        return lost + life.go_on(output, data=data)
    finally:
        subprocess.run(["umount", data / "cache"], check=True)


GROWN = ("last.ckpt", "last.previous.ckpt", "both states", "best.ckpt", "predictions.npz", "metrics.jsonl")
SMALL = ("manifest.json", "config.yaml", "tensorboard/events.*", "FAILED")
DAMAGES: dict[str, str] = {"cut": "is cut short", "flip": "has one byte changed", "empty": "is empty"}


def rot(life: Life, kinds: Sequence[str] = tuple(DAMAGES)) -> None:
    """Every kind of file of an interrupted and of a finished run, and a cache: cut, changed, emptied."""
    half = life.new("half")
    child = life.train(half)
    for _ in seen(half, "simulated/*/.last.ckpt.*.tmp", child, 4):
        child.send(signal.SIGKILL)
    child.wait()
    for kind in kinds:
        for name in (*GROWN, *SMALL):
            life.inject(
                "damage",
                f"{name} of an interrupted run {DAMAGES[kind]}",
                lambda n=name, k=kind: _rotten(life, half, n, k),
            )
        for name in ("DONE", "scores.json", "predictions.npz", "best.ckpt"):
            life.inject(
                "damage", f"{name} of a finished run {DAMAGES[kind]}", lambda n=name, k=kind: _finished(life, n, k)
            )
        life.inject("damage", f"a cache {DAMAGES[kind]}", lambda k=kind: _rotten_cache(life, k))


def _damage(life: Life, path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    if kind == "flip" and content:
        content[life.rng.randrange(len(content))] ^= 1 << life.rng.randrange(8)
    elif kind == "cut" and content:
        del content[life.rng.randrange(len(content)) :]
    else:
        content.clear()
    path.write_bytes(content)


def _copied(life: Life, output: Path) -> Path:
    copy = life.new() / "runs"
    shutil.copytree(output, copy)
    return copy


def _rotten(life: Life, half: Path, name: str, kind: str) -> list[str]:
    output = _copied(life, half)
    (path,) = (found.parent for found in output.glob("simulated/*/config.yaml"))
    (path / "FAILED").write_text('{"error": "OSError", "message": "no disk"}')
    names = ("last.ckpt", "last.previous.ckpt") if name == "both states" else (name,)
    for one in names:
        for found in sorted(path.glob(one)):
            _damage(life, found, kind)
    lost = life.go_on(output)
    said = (output.parent / "runs.log").read_text()
    if "last.ckpt" in names and "is torn or damaged: it is not used" not in said:
        lost.append("the damage is not said")
    return lost


def _finished(life: Life, name: str, kind: str) -> list[str]:
    """A damage of a finished run is found: by its status, or by `verify`; what is not done is done anew."""
    output = _copied(life, life.whole.path.parents[1])
    run: Run = next(find_runs(output))
    _damage(life, run.path / name, kind)
    if run.is_done:
        found = name == "DONE" or run.verify() == [name]
        return [] if found else ["it is not noticed"]
    return life.go_on(output)


def _rotten_cache(life: Life, kind: str) -> list[str]:
    output = life.new()
    data = output / "data"
    shutil.copytree(life.data, data)
    for folder in data.rglob("*"):
        theirs = life.data / folder.relative_to(data)
        os.utime(folder, ns=(theirs.stat().st_atime_ns, theirs.stat().st_mtime_ns))
    (cache,) = data.glob(f"cache/{CORPUS}-*.h5")
    _damage(life, cache, kind)
    return life.go_on(output, data=data)
