"""What the faults are let loose on: a tiny corpus, a tiny training, a tiny study; and how long each lives."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from commands import Child, command
from sameness import differences
from tiny_net import NAME

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


@dataclass(frozen=True)
class Fault:
    """One fault and what became of the data."""

    group: str
    what: str
    lost: str
    """What differs from a run that met with no fault; empty where nothing does."""
    seconds: float
    note: str = ""


@dataclass
class Life:
    """A workplace with an uninterrupted run in it, and what has been done to others."""

    folder: Path
    rng: random.Random
    say: Callable[[str], None]
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0
    """That an uninterrupted training takes."""
    note: str = ""
    """What the trial at hand has to say of itself."""
    _number: int = 0

    @property
    def data(self) -> Path:
        """The data root of all trainings."""
        return self.folder / "data"

    @property
    def whole(self) -> Run:
        """The training that was never interrupted."""
        return next(find_runs(self.folder / "whole"))

    def new(self, name: str = "run") -> Path:
        """A folder for the next trial."""
        self._number += 1
        path = self.folder / f"{self._number:03d}-{name}"
        path.mkdir(parents=True)
        return path

    def train(self, output: Path, *more: str, data: Path | None = None) -> Child:
        """Start the training; every epoch is saved unless `more` says otherwise."""
        fields = (f"data.root={data or self.data}", "trainer.checkpoint_seconds=0", *more)
        return command((*TRAIN, *fields, "--output", str(output)), output.parent / f"{output.name}.log")

    def go_on(self, output: Path, *, whole: Run | None = None, data: Path | None = None) -> list[str]:
        """Give the same command again; in what its run then differs from the uninterrupted one."""
        child = self.train(output, data=data)
        try:
            code = child.wait()
        except TimeoutError as error:
            return [str(error)]
        if code:
            return [f"it ends with {code}: {child.said()}"]
        return differences(next(find_runs(output)), whole or self.whole)

    def begin(self) -> None:
        """Train once without a fault."""
        output = self.folder / "whole"
        output.mkdir(parents=True)
        for number in range(2):  # the first one simulates and reads the corpus, too
            shutil.rmtree(output)
            output.mkdir()
            started = time.monotonic()
            child = self.train(output)
            if code := child.wait():
                raise RuntimeError(f"the undisturbed training ends with {code}: {child.said(2000)}")
            self.seconds = time.monotonic() - started
            self.say(f"an undisturbed training takes {self.seconds:.1f} s" + (", corpus and all" if not number else ""))

    def inject(self, group: str, what: str, trial: Callable[[], Sequence[str]]) -> None:
        """Do one trial, which gives what was lost, and write it down."""
        started, self.note = time.monotonic(), ""
        try:
            lost = "; ".join(trial())
        except Exception as error:  # a trial that cannot be judged is not survived
            lost = f"{type(error).__name__}: {error}"
        seconds = round(time.monotonic() - started, 1)
        self.faults.append(Fault(group, what, lost, seconds, self.note))
        note = f" [{self.note}]" if self.note else ""
        fate = f"LOST: {lost}" if lost else "survived"
        self.say(f"{len(self.faults):3d} {group}: {what}{note}: {fate} ({seconds:.0f} s)")

    def study_file(self, folder: Path) -> Path:
        """Write the study."""
        path = folder / "chaos.yaml"
        path.write_text(STUDY)
        return path


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


def save(faults: Sequence[Fault], path: Path, **facts: object) -> None:
    """Write all faults as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**facts, "faults": [vars(fault) for fault in faults]}
    path.write_text(json.dumps(content, indent=1) + "\n")
