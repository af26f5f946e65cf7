"""What the faults are let loose on: a tiny corpus, a tiny training, a tiny study; and how long each lives."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from commands import LIMIT, Child, command, fork, warm
from sameness import differences
from tiny_net import NAME

from ecg_transfer.curve import read_curve
from ecg_transfer.runs import Run, find_runs

CORPUS, RECORDS = "cpsc2018", 90
SETTINGS = (
    f"data.num_simulated={RECORDS}",
    "data.source=simulated",
    "optim.max_epochs=6",
    "optim.min_updates=0",
    "optim.batch_size=16",
    "trainer.accelerator=cpu",
)
TRAIN = ("scratch", CORPUS, "--backbone", NAME, "--recipe", "modern", *SETTINGS)
TOGETHER = 2
"""Trials at the same time where none watches for an instant."""

Trial = tuple[str, Callable[[], Sequence[str]]]
"""What is done, in words; and doing it, which gives what was lost."""


@dataclass(frozen=True)
class Fault:
    """One fault and what became of the data."""

    group: str
    what: str
    how: str
    """`drawn`: at a random instant or place; `aimed`: at one that was chosen; empty where there is no such choice."""
    lost: str
    """What differs from a run that met with no fault; empty where nothing does."""
    seconds: float
    note: str = ""
    epochs: int | None = None
    """Epochs that were finished when a process was killed."""


@dataclass
class Life:
    """A workplace with an uninterrupted run in it, and what has been done to others.

    A trial is a process of its own, forked from this one; so this one stays as it was, whatever happens.
    """

    home: Path
    """Where the data and the uninterrupted run are, for all trials."""
    seed: int
    say: Callable[[str], None]
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0
    """That an uninterrupted training takes."""
    rng: random.Random = field(default_factory=random.Random)
    """Of the trial at hand."""
    note: str = ""
    """What the trial at hand has to say of itself."""
    epochs: int | None = None
    """Epochs that the trial at hand had finished when it struck."""
    _number: int = 0

    def __post_init__(self) -> None:
        self.folder = self.home
        """Of the trial at hand."""

    @property
    def data(self) -> Path:
        """The data root of all trainings."""
        return self.home / "data"

    @property
    def whole(self) -> Run:
        """The training that was never interrupted."""
        return next(find_runs(self.home / "whole"))

    def drawing(self, group: str) -> random.Random:
        """Random numbers of a group, whichever others are done."""
        return random.Random(f"{self.seed} {group}")

    def new(self, name: str = "run") -> Path:
        """A folder for the trial at hand."""
        self._number += 1
        path = self.folder / f"{self._number:03d}-{name}"
        path.mkdir(parents=True)
        return path

    def train(
        self,
        output: Path,
        *more: str,
        data: Path | None = None,
        run: Callable[[Sequence[str], Path], Child] = command,
    ) -> Child:
        """Start the training; every epoch is saved unless `more` says otherwise.

        Args:
            output: Where its run goes; its log lies beside it.
            more: Fields.
            data: Another data root.
            run: `start` for a real process.
        """
        fields = (f"data.root={data or self.data}", "trainer.checkpoint_seconds=0", *more)
        return run((*TRAIN, *fields, "--output", str(output)), output.parent / f"{output.name}.log")

    def go_on(self, output: Path, *more: str, whole: Run | None = None, data: Path | None = None) -> list[str]:
        """Give the same command again; in what its run then differs from the uninterrupted one."""
        child = self.train(output, *more, data=data)
        try:
            code = child.wait()
        except TimeoutError as error:
            return [str(error)]
        if code:
            return [f"it ends with {code}: {child.said()}"]
        return differences(next(find_runs(output)), whole or self.whole)

    def begin(self) -> None:
        """Train without a fault: for the data, for what to import, and for the time it takes."""
        modules, output = self.home / "modules", self.home / "whole"
        output.mkdir(parents=True)
        child = self.train(output, run=lambda arguments, log: command(arguments, log, modules=modules))
        if code := child.wait():
            raise RuntimeError(f"the undisturbed training ends with {code}: {child.said(2000)}")
        warm(modules)
        self.seconds, _ = self.undisturbed("training", self.train)

    def undisturbed(self, what: str, begin: Callable[[Path], Child]) -> tuple[float, Path]:
        """Do something, as many at a time as in the trials, without a fault.

        Args:
            what: In words.
            begin: Starts it in a folder.

        Returns:
            Seconds from its start to its end, and the folder of one.
        """
        folders = [self.new("undisturbed") for _ in range(TOGETHER)]
        started = time.monotonic()
        children = [begin(folder) for folder in folders]
        for child in children:
            if code := child.wait():
                raise RuntimeError(f"an undisturbed {what} ends with {code}: {child.said(2000)}")
        seconds = time.monotonic() - started
        self.say(f"an undisturbed {what} takes {seconds:.1f} s")
        return seconds, folders[0]

    def inject(self, group: str, trials: Sequence[Trial], *, how: str = "", together: int = 1) -> None:
        """Do trials, each in its own process, so many at a time, and write down what became of them."""
        waiting, going = deque(trials), list[_Going]()
        try:
            while waiting or going:
                while waiting and len(going) < together:
                    going.append(self._begin_trial(group, *waiting.popleft()))
                for trial in [one for one in going if one.has_ended()]:
                    going.remove(trial)
                    self._write_down(trial.fault(group, how))
                    shutil.rmtree(trial.folder, ignore_errors=True)
                time.sleep(0.01)
        finally:
            for trial in going:
                trial.child.send(signal.SIGKILL)

    def _begin_trial(self, group: str, what: str, do: Callable[[], Sequence[str]]) -> _Going:
        folder = self.new("trial")
        number = self._number

        def work() -> None:
            self.folder, self.rng = folder, random.Random(f"{self.seed} {group} {number}")
            try:
                lost = "; ".join(do())
            except Exception as error:  # a trial that cannot be judged is not survived
                lost = f"{type(error).__name__}: {error}"
            judged = {"lost": lost, "note": self.note, "epochs": self.epochs}
            (folder / "judged.json").write_text(json.dumps(judged))

        return _Going(what, folder, fork(work, folder / "trial.log"))

    def _write_down(self, fault: Fault) -> None:
        self.faults.append(fault)
        words = " ".join(filter(None, (fault.how, fault.what)))
        note = f" [{fault.note}]" if fault.note else ""
        fate = f"LOST: {fault.lost}" if fault.lost else "survived"
        self.say(f"{len(self.faults):3d} {fault.group}: {words}{note}: {fate} ({fault.seconds:.0f} s)")


@dataclass
class _Going:
    """A trial under way."""

    what: str
    folder: Path
    child: Child
    started: float = field(default_factory=time.monotonic)

    def has_ended(self) -> bool:
        """Whether it has; one that hangs is killed."""
        if time.monotonic() - self.started > 3 * LIMIT:
            self.child.send(signal.SIGKILL)
        return self.child.poll() is not None

    def fault(self, group: str, how: str) -> Fault:
        """What it found."""
        judged = self.folder / "judged.json"
        seconds = round(time.monotonic() - self.started, 1)
        if not judged.exists():
            lost = f"the trial itself ends with {self.child.code}: {self.child.said()}"
            return Fault(group, self.what, how, lost, seconds)
        return Fault(group, self.what, how, seconds=seconds, **json.loads(judged.read_bytes()))


def epochs_in(output: Path) -> int:
    """Finished epochs of all runs in a folder."""
    return sum(len(read_curve(path)) for path in output.glob("simulated/*/metrics.jsonl"))


def seen(folder: Path, pattern: str, child: Child, times: int = 1) -> Iterator[Path]:
    """Look without pause until a file of a pattern has appeared so often, or the child has ended."""
    known: set[tuple[str, int]] = set()
    while child.poll() is None:
        for path in folder.glob(pattern):
            try:
                known.add((path.name, path.stat().st_ino))
            except OSError:
                known.add((path.name, 0))
            if len(known) >= times:
                yield path
                return


def summary(faults: Sequence[Fault]) -> dict[str, dict[str, int]]:
    """Counts by group and, after a space, by how its faults were placed."""
    names = [" ".join(filter(None, (fault.group, fault.how))) for fault in faults]
    return {
        name: _counts([fault for fault, of in zip(faults, names, strict=True) if of == name])
        for name in dict.fromkeys(names)
    } | {"all": _counts(faults)}


def _counts(faults: Sequence[Fault]) -> dict[str, int]:
    lost = sum(bool(fault.lost) for fault in faults)
    counts = {"injected": len(faults), "survived": len(faults) - lost, "lost": lost}
    early = [fault.epochs == 0 for fault in faults if fault.epochs is not None]
    return counts | ({"before_an_epoch": sum(early)} if early else {})


def save(faults: Sequence[Fault], path: Path, **facts: object) -> None:
    """Write all faults as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**facts, "summary": summary(faults), "faults": [asdict(fault) for fault in faults]}
    path.write_text(json.dumps(content, indent=1) + "\n")
