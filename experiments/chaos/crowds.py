"""Several processes at once on one run, one missing cache, one study."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from commands import fork
from life import CORPUS, SETTINGS, Life, Trial, seen
from sameness import differences
from studies import same_study, study
from tiny_net import NAME

import ecg_transfer as et
from data_modules.claim import RunClaimedError
from ecg_transfer.runs import Run, find_runs


def crowd(life: Life, sizes: Sequence[int], *, studies: bool) -> None:
    """Two, four, eight processes on one training, on one missing corpus and cache, on one study."""
    trials: list[Trial] = []
    for size in sizes:
        trials.append((f"{size} processes, one run", lambda n=size: _one_run(life, n)))
        trials.append((f"{size} processes, one cache", lambda n=size: _one_cache(life, n)))
    trials.append(("the builder of a cache is killed, another waits", lambda: _builder(life, signal.SIGKILL)))
    trials.append(("the builder of a cache is stopped, another waits", lambda: _builder(life, signal.SIGSTOP)))
    if studies:
        trials.append(("2 studies, one folder", lambda: _one_study(life, 2)))
    life.inject("several", trials)


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
    return lost + differences(run, life.whole) + _once(run)


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
    children = [study(life, folder) for _ in range(number)]
    lost = [f"a study ends with {child.code}: {child.said()}" for child in children if child.wait()]
    runs = list(find_runs(folder / "runs"))
    return lost + [one for run in runs for one in _once(run)] + same_study(folder, folder)


def _once(run: Run) -> list[str]:
    """Whether a run was done by one attempt."""
    return [] if len(run.attempts) == 1 else [f"{run.name} took {len(run.attempts)} attempts"]
