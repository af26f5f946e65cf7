"""Every kind of file of an interrupted and of a finished run, and a cache: cut, changed, emptied."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from kills import fresh
from life import CORPUS, TOGETHER, Life, Trial, seen

from ecg_transfer.runs import Run, find_runs

GROWN = ("last.ckpt", "last.previous.ckpt", "both states", "best.ckpt", "predictions.npz", "metrics.jsonl")
SMALL = ("manifest.json", "config.yaml", "tensorboard/events.*", "FAILED")
DAMAGES: dict[str, str] = {"cut": "is cut short", "flip": "has one byte changed", "empty": "is empty"}


def rot(life: Life, kinds: Sequence[str] = tuple(DAMAGES)) -> None:
    """Damage each kind of file in each way."""
    half = life.new("half")
    while (child := life.train(fresh(half))).poll() is None:
        for _ in seen(half, "simulated/*/.last.ckpt.*.tmp", child, 4):
            child.send(signal.SIGKILL)
        if child.wait() == -signal.SIGKILL:
            break
    trials: list[Trial] = []
    for kind in kinds:
        for name in (*GROWN, *SMALL):
            words = f"{name} of an interrupted run {DAMAGES[kind]}"
            trials.append((words, lambda n=name, k=kind: _rotten(life, half, n, k)))
        for name in ("DONE", "scores.json", "predictions.npz", "best.ckpt"):
            words = f"{name} of a finished run {DAMAGES[kind]}"
            trials.append((words, lambda n=name, k=kind: _finished(life, n, k)))
        trials.append((f"a cache {DAMAGES[kind]}", lambda k=kind: _rotten_cache(life, k)))
    life.inject("damage", trials, together=TOGETHER)


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
