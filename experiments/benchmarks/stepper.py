"""A process that makes one step whenever it is told to, so that steps of several processes can be interleaved.

A training keeps the memory that its steps free (`ecg_transfer.allocator`) and takes denormal numbers for zeros
(`ecg_transfer.denormals`), a plain loop does neither; these are settings of the whole process, so that the two cannot
share one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from ecg_transfer.training_settings import training_settings

SMALL_BATCH = 8
WARM_SECONDS = 2.0
"""A variant whose step takes longer is warmed by a small batch alone."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a stepper is to hold ready."""

    variants: tuple[str, ...]
    backbone: str
    batch_size: int
    as_trained: bool
    """Whether the process is set up as for a training of ours."""
    reference: str | None = None


@dataclass(frozen=True)
class Timing:
    """One call."""

    seconds: float
    work: float
    """Floating-point operations."""

    @property
    def speed(self) -> float:
        """Operations a second."""
        return self.work / self.seconds


class Stepper:
    """The process, seen from outside. A context manager.

    Args:
        order: What it holds ready.

    Raises:
        RuntimeError: It could not be made ready; its own message is on the error output.
    """

    def __init__(self, order: Order) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.benchmarks.stepper", json.dumps(asdict(order))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def __enter__(self) -> Stepper:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait()

    def step(self, variant: str) -> Timing:
        """Let it make one step, and wait for it."""
        print(variant, file=self._process.stdin, flush=True)
        return Timing(**self._read())

    def _read(self) -> dict[str, float]:
        line = cast(IO[str], self._process.stdout).readline()
        if not line:
            self._process.wait()
            raise RuntimeError("the process that makes the steps ended: see above")
        return cast(dict[str, float], json.loads(line))


def main() -> None:
    """Build and warm the variants, say so, then answer each line with a timing until the input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a model prints is no reply
    content = json.loads(sys.argv[1])
    order = Order(**content | {"variants": tuple(content["variants"])})
    with training_settings() if order.as_trained else nullcontext():
        _serve(order, replies)


def _serve(order: Order, replies: IO[str]) -> None:
    from experiments.benchmarks.variants import PEAK_SECONDS, make_variant, seconds_of

    reference = None if order.reference is None else Path(order.reference)
    variants = {}
    for name in order.variants:
        small = make_variant(name, order.backbone, SMALL_BATCH, reference=reference, size=256)
        small.run()
        expected = seconds_of(small) / SMALL_BATCH * order.batch_size
        variants[name] = make_variant(name, order.backbone, order.batch_size, reference=reference)
        if expected < WARM_SECONDS:
            variants[name].run()
    replies.write("{}\n")
    for line in sys.stdin:
        name = line.strip()
        seconds = seconds_of(variants[name], PEAK_SECONDS if name.startswith("peak ") else 0.0)
        replies.write(json.dumps(asdict(Timing(seconds, variants[name].work))) + "\n")


def interleave(
    steppers: Mapping[str, Stepper], calls: Sequence[tuple[str, str]], *, seconds: float, least: int, most: int
) -> dict[tuple[str, str], list[Timing]]:
    """Round by round, one step of each; the rounds begin in turn with another one.

    Args:
        steppers: By name.
        calls: Stepper's name, variant.
        seconds: After which no further round is begun.
        least: Rounds at least.
        most: Rounds at most.
    """
    timings: dict[tuple[str, str], list[Timing]] = {call: [] for call in calls}
    started, rounds = time.perf_counter(), 0
    while rounds < least or (rounds < most and time.perf_counter() - started < seconds):
        first = rounds % len(calls)
        for stepper, variant in (*calls[first:], *calls[:first]):
            timings[stepper, variant].append(steppers[stepper].step(variant))
        rounds += 1
    return timings


if __name__ == "__main__":
    main()
