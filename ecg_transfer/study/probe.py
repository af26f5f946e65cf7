"""How many records a second this machine trains and evaluates, and how long a worker starts: measured once, and kept.

A measurement starts as many processes as there would be workers, each with its share of the cores, and lets all of
them step at the same time. So two workers of one thread can be compared with one of two.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import median
from typing import IO, TYPE_CHECKING, Literal, cast

from ecg_transfer.files import write_json
from ecg_transfer.loading import loading
from ecg_transfer.study.local import gpu_names, num_cores, visible_gpus, worker_environment
from ecg_transfer.study.mps import side_by_side

if TYPE_CHECKING:
    from data_modules.batches import Batch

PROBE_FILE = ".probe.json"
"""Beside the runs: machine -> what was measured -> speed."""
STEP_SECONDS = 1.5
"""A step that would take longer is probed with a smaller batch."""
MEASURE_SECONDS, MEASURE_SECONDS_ON_GPU = 3.0, 1.0
"""So long, at least, training and evaluation are measured each, their steps in turns; a GPU's are much shorter."""
MIN_CALLS = 3
"""Steps of each that are measured, at least."""
NUM_LABELS = 9


NO_MEMORY = "no memory\n"
"""What a process says in place of `ready`."""


class NoMemoryError(RuntimeError):
    """So many processes do not fit into the memory of the machine or of a GPU."""


@dataclass(frozen=True, order=True, kw_only=True)
class Work:
    """What a speed depends on besides the machine."""

    backbone: str
    precision: Literal[32, "bf16", 64]
    batch_size: int
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    num_samples: int = 1000
    compile: bool = False

    def key(self, num_workers: int, num_threads: int) -> str:
        """Its name in the file."""
        kind = ("" if self.accelerator == "auto" else f" on {self.accelerator}") + " compiled" * self.compile
        return (
            f"{self.backbone} {self.precision} batch {self.batch_size} x {self.num_samples}{kind}: "
            f"{num_workers} workers of {num_threads} threads"
        )


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Of one worker while all of them work."""

    train: float
    """Records a second."""
    evaluate: float
    """Records a second."""
    startup: float
    """Seconds from its start to its first step."""


SPEED_FIELDS = {field.name for field in fields(Speed)}


def threads_for(num_workers: int) -> int:
    """Cores of each of so many workers."""
    return max(1, num_cores() // num_workers)


def worker_choices() -> list[int]:
    """Numbers of workers worth comparing, in powers of two.

    On a CPU from one to one a core. On GPUs from one to eight on each, because a small network leaves most of a GPU
    idle while its kernels are launched; a worker launches from a core of its own.
    """
    cores = num_cores()
    if gpus := visible_gpus():
        return [len(gpus) * share for share in (1, 2, 4, 8) if share == 1 or len(gpus) * share <= cores]
    return sorted({min(2**power, cores) for power in range(cores.bit_length() + 1)})


def machine() -> str:
    """What this machine's speeds are filed under."""
    from importlib.metadata import version

    from ecg_transfer.provenance import _processor

    names = gpu_names()
    gpus = f", {len(visible_gpus())} GPUs ({', '.join(sorted(set(names)))})" if names and visible_gpus() else ""
    return f"{_processor()}, {num_cores()} cores{gpus}, torch {version('torch')}"


def speeds(
    works: Iterable[Work],
    num_workers: int,
    output: Path,
    *,
    measure: bool = True,
    report: Callable[[str], None] = lambda sentence: None,
) -> dict[Work, Speed]:
    """Speeds on this machine, from the file where they are known.

    Args:
        works: What to look up.
        num_workers: Workers at the same time.
        output: Where runs live; the file lies in it.
        measure: Whether to measure what is not known; it is missing from the result else.
        report: Is told what is being measured, and what is missing because so many workers have no memory for it or the
            machine does not compute in its precision.
    """
    file, here = output / PROBE_FILE, machine()
    found: dict[Work, Speed] = {}
    for work in sorted(set(works), key=str):
        name = work.key(num_workers, threads_for(num_workers))
        known = _read(file)
        entry = known.get(here, {}).get(name)
        if entry is not None and entry.keys() != SPEED_FIELDS:  # of another version
            entry = None
        if entry is None and measure:
            from ecg_transfer.precision import refusal

            if (why := refusal(work.precision, work.accelerator)) is not None:
                report(f"not measured: {name}: {why}")
                continue
            report(f"measuring {name}")
            try:
                entry = asdict(measure_speed(work, num_workers))
            except NoMemoryError as error:
                report(str(error))
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            known = _read(file)
            known.setdefault(here, {})[name] = entry
            write_json(file, known)
        if entry is not None:
            found[work] = Speed(**entry)
    return found


def measure_speed(work: Work, num_workers: int) -> Speed:
    """Let so many processes start and step at the same time; the means of what they measured.

    Raises:
        NoMemoryError: The machine, or a GPU that they share, has no memory for so many.
        RuntimeError: The backbone cannot be trained here; the message is the process's own.
    """
    gpus = visible_gpus() if work.accelerator != "cpu" else []
    with side_by_side(num_workers, gpus):
        processes = [_start(work, slot, num_workers, gpus) for slot in range(num_workers)]
        try:
            for process in processes:
                said = cast(IO[str], process.stdout).readline()
                if said == NO_MEMORY or (not said and process.wait() == -signal.SIGKILL):
                    raise NoMemoryError(f"there is no memory for {num_workers} x {work.backbone} at the same time")
                if said != "ready\n":
                    raise RuntimeError(f"no step of {work} could be made: see above")
            for process in processes:
                print("go", file=process.stdin, flush=True)
            measured = [json.loads(cast(IO[str], process.stdout).readline()) for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.communicate()
    return Speed(**{name: round(sum(one[name] for one in measured) / num_workers, 2) for name in measured[0]})


def _start(work: Work, slot: int, num_workers: int, gpus: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ecg_transfer.study.probe", json.dumps(asdict(work)), str(time.time())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=worker_environment(os.environ, slot, num_workers, threads_for(num_workers), gpus),
    )


def _read(file: Path) -> dict[str, dict[str, dict[str, float]]]:
    try:
        return cast(dict[str, dict[str, dict[str, float]]], json.loads(file.read_bytes()))
    except (OSError, ValueError):
        return {}


def main() -> None:
    """Measure in this process: say `ready` after a warm step, wait for a line, print the speeds."""
    from ecg_transfer.training_settings import training_settings

    work, started = Work(**json.loads(sys.argv[1])), float(sys.argv[2])
    with training_settings():
        try:
            with loading():
                import ecg_transfer.training  # noqa: F401 - what a worker loads

            startup = time.time() - started
            train, evaluate, batch_size, on_gpu = _steps(work)
        except Exception as error:
            from ecg_transfer.memory import means_too_little_memory

            if not means_too_little_memory(error):
                raise
            sys.stdout.write(NO_MEMORY)
            return
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        seconds = _seconds_a_call(
            {"train": train, "evaluate": evaluate}, MEASURE_SECONDS_ON_GPU if on_gpu else MEASURE_SECONDS
        )
        rates = {name: batch_size / value for name, value in seconds.items()} | {"startup": startup}
    sys.stdout.write(json.dumps(rates) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


def _steps(work: Work) -> tuple[Callable[[], None], Callable[[], None], int, bool]:
    """A training step and an evaluation step, both warm; how many records they take; whether they are on a GPU."""
    import torch

    from ecg_transfer.classifier import ECGClassifier
    from ecg_transfer.compilation import compile_backbone
    from ecg_transfer.config import OptimConfig
    from ecg_transfer.cuda_graphs import RecordedForward
    from ecg_transfer.optim import configure

    device = torch.device("cuda" if torch.cuda.is_available() and work.accelerator != "cpu" else "cpu")
    dtype = torch.float64 if work.precision == 64 else torch.float32
    labels = [str(number) for number in range(NUM_LABELS)]
    classifier = ECGClassifier(work.backbone, labels, num_samples=work.num_samples).to(device, dtype)
    if work.compile:
        compile_backbone(classifier.backbone, device)
    elif device.type == "cuda":
        classifier.backbone.forward = RecordedForward(classifier.backbone)  # type: ignore[method-assign]
    optimizer = configure(classifier.parameters(), OptimConfig(lr=1e-3), 1)["optimizer"]
    classifier.on_train_epoch_start()

    def batch_of(size: int) -> Batch:
        signal = torch.randn(size, work.num_samples, 12, device=device, dtype=dtype).transpose(1, 2)
        label = torch.ones(size, NUM_LABELS, device=device, dtype=dtype)
        return {"signal": signal, "label": label, "index": torch.arange(size, device=device)}

    def train(batch_size: int) -> None:
        batch = batch_of(batch_size)
        classifier.train()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=work.precision == "bf16"):
            loss = classifier.training_step(batch, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    def evaluate(batch_size: int) -> None:
        batch = batch_of(batch_size)
        classifier.eval()
        with torch.inference_mode():
            float(classifier.evaluated_output(batch["signal"]).sum())

    smallest = min(8, work.batch_size)
    train(smallest)
    started = time.perf_counter()
    train(smallest)
    seconds_a_record = (time.perf_counter() - started) / smallest
    batch_size = max(smallest, min(work.batch_size, int(STEP_SECONDS / seconds_a_record)))
    train(batch_size)
    return lambda: train(batch_size), lambda: evaluate(batch_size), batch_size, device.type == "cuda"


def _seconds_a_call(steps: Mapping[str, Callable[[], None]], at_least: float = MEASURE_SECONDS) -> dict[str, float]:
    """The median of each step's calls, in turns: a moment in which the machine does something else counts for one."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    while min(map(len, seconds.values())) < MIN_CALLS or min(map(sum, seconds.values())) < at_least:
        for name, step in steps.items():
            if len(seconds[name]) >= MIN_CALLS and sum(seconds[name]) >= at_least:
                continue
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
