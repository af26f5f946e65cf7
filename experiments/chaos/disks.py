"""A full disk: at one write after the other of a whole run, and small ones of many sizes."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

from life import TOGETHER, TRAIN, Life, Trial
from no_room import FullDisk, can_refuse_writes
from sameness import differences

from ecg_transfer.checkpoint_file import is_whole
from ecg_transfer.cli import EX_TEMPFAIL, main
from ecg_transfer.predictions import load_predictions
from ecg_transfer.runs import find_runs

NUM_DRAWN = 40
"""Writes of a run at which the disk is full for good, and as many at which it is full once."""


def fill_the_disk(life: Life, writes: int, sizes: int) -> None:
    """Have it full at so many drawn writes of a run, and be of so many sizes; then there is room and it goes on."""
    if can_refuse_writes():
        _refuse_writes(life, writes)
    else:
        life.say("this system cannot refuse a process's writes (Linux from 5.5 does): they are not tried one by one")
    disk = life.new("disk")
    if not _mount(disk, 64):
        life.say("no right to mount a small disk here: small ones are not tried")
        return
    subprocess.run(["umount", disk], check=True)
    most = 3 * sum(path.stat().st_size for path in life.whole.path.rglob("*") if path.is_file()) // 1024
    drawing = life.drawing("disk")
    trials: list[Trial] = []
    for step in range(sizes):
        size = round(4 + (most - 4) * (step + drawing.random()) / sizes)
        trials.append((f"a disk of {size} kB", lambda at=size: _on_a_small_disk(life, at)))
    trials.append(("no room for a cache", lambda: _no_room_for_a_cache(life)))
    life.inject("full disk", trials, together=TOGETHER)


def _refuse_writes(life: Life, number: int) -> None:
    """Full for good from a write on, and full at that write alone, as if somebody then made room."""
    counted = FullDisk(life.new("counted"))
    _train_on(life, counted)
    writes, drawing = counted.writes, life.drawing("writes")
    life.say(f"a whole run with its cache makes {len(writes)} writes of {len(set(map(_kind, writes)))} kinds")
    for once in (False, True):
        until = "alone" if once else "and from then on"
        trials: list[Trial] = [
            (f"no room at write {place + 1} of {len(writes)} {until}", lambda at=place, o=once: _full_at(life, at, o))
            for place in _drawn(writes, number, drawing)
        ]
        life.inject("full disk", trials, how="drawn", together=TOGETHER)


def _drawn(writes: Sequence[str], number: int, drawing: Random) -> list[int]:
    """Places of so many writes: some of the kinds, one of each, and the rest any; all, where they are fewer."""
    kinds: dict[str, list[int]] = {}
    for place, write in enumerate(writes):
        kinds.setdefault(_kind(write), []).append(place)
    drawn = set(drawing.sample([drawing.choice(places) for places in kinds.values()], min(number, len(kinds))))
    rest = [place for place in range(len(writes)) if place not in drawn]
    return sorted(drawn.union(drawing.sample(rest, min(number - len(drawn), len(rest)))))


def _kind(write: str) -> str:
    """A write without the numbers of processes and times: `write events.out.tfevents`."""
    return re.sub(r"\.\d.*", "", write)


def _train_on(life: Life, disk: FullDisk) -> tuple[int, str]:
    """Train where the disk may be full, from the records on, with a cache to be built; exit code and last words."""
    data = disk.folder / "data"
    if not data.exists():
        data.mkdir()
        (data / "simulated").symlink_to(life.data / "simulated")
    fields = (f"data.root={data}", "trainer.checkpoint_seconds=0", "--output", str(disk.folder))

    def work() -> None:
        sys.argv = ["ecg-transfer", *TRAIN, *fields]
        main()

    child = disk.watch(work, disk.folder.with_suffix(".log"))
    assert child.code is not None
    return child.code, child.said()


def _full_at(life: Life, number: int, once: bool) -> list[str]:
    disk = FullDisk(life.new("full"), number, once)
    code, said = _train_on(life, disk)
    if not disk.struck:  # a thread of TensorBoard's does not always write in as many pieces
        life.note = f"it made {len(disk.writes)} writes only"
        return differences(next(find_runs(disk.folder)), life.whole)
    life.note = f"{disk.writes[number]}, exit code {code}"
    if code == 0:  # what could not be written was not needed: then nothing may be missing
        lost = differences(next(find_runs(disk.folder)), life.whole)
    else:
        lost = [] if code == EX_TEMPFAIL else [f"exit code {code}: {said}"]
        lost += [] if "Make room" in said else [f"it does not say so: {said}"]
    lost += _torn(life, disk.folder)
    return lost + life.go_on(disk.folder, data=disk.folder / "data") + _torn(life, disk.folder)


def _torn(life: Life, output: Path) -> list[str]:
    """What lies there under a name of its own and is not whole; and what was left unfinished."""
    torn = [path for path in output.rglob("*.ckpt") if not is_whole(path)]
    for path in output.rglob("predictions.npz"):
        try:
            load_predictions(path)
        except ValueError:
            torn.append(path)
    expected = {path.name: path.read_bytes() for path in life.data.glob("cache/*.h5")}
    torn += [path for path in output.glob("data/cache/*.h5") if path.read_bytes() != expected[path.name]]
    unfinished = [path for path in output.rglob(".*") if path.name.endswith((".tmp", ".claim"))]
    return [f"{path.name} is torn" for path in torn] + [f"left behind: {path.name}" for path in unfinished]


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
        lost = [] if code in (0, EX_TEMPFAIL) else [f"exit code {code}: {child.said()}"]
        if code == EX_TEMPFAIL and "Make room" not in child.said():
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
        lost = [] if code == EX_TEMPFAIL else [f"exit code {code}: {child.said()}"]
        _mount(data / "cache", 64_000, again=True)
        return lost + life.go_on(output, data=data)
    finally:
        subprocess.run(["umount", data / "cache"], check=True)
