"""What stands in for a training in the engine's tests: it behaves as the run's seed says, and writes a finished run.

Every call and every finish is a line of an append-only log beside the runs.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ecg_transfer.config import RunConfig
from ecg_transfer.files import write_json
from ecg_transfer.memory import OutOfMemoryError
from ecg_transfer.resolve import resolve
from ecg_transfer.runs import Run, save_config

CRASH_ONCE, CRASH_ALWAYS, DIVERGE, HANG, EXIT, NO_ROOM, UNFINISHED = 101, 102, 103, 104, 105, 106, 107
NO_MEMORY = 108
"""Seeds that misbehave."""


class LossNotFiniteError(ArithmeticError):
    """Of the same name as the real one."""


def note(output: Path, line: str) -> None:
    with (output / "calls.log").open("a") as stream:
        stream.write(line + "\n")


def run_a_child_that_forks(config: RunConfig, output: Path) -> None:
    """Work in forked processes, as the reading of a corpus does; one of them outlives its crashing parent."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
    if config.seed == CRASH_ONCE and not (output / "crashed").exists():
        context.Process(target=time.sleep, args=(60,)).start()
        output.mkdir(exist_ok=True)
        (output / "crashed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    finish(resolve(config, output).run, config, output)


def run_fake(config: RunConfig, output: Path) -> None:
    """Do as the seed says."""
    run = resolve(config, output).run
    if run.is_done:
        return
    note(output, f"start {run.name} {os.getpid()}")
    os.write(1, f"this is {run.name}\n".encode())
    time.sleep(float(os.environ.get("FAKE_SECONDS", "0.0")))
    misbehave(config.seed, run, output)
    finish(run, config, output)
    note(output, f"finish {run.name} {os.getpid()}")


def misbehave(seed: int, run: Run, output: Path) -> None:
    first = (output / "calls.log").read_text().count(f"start {run.name} ") == 1
    if seed == CRASH_ALWAYS or (seed == CRASH_ONCE and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if seed == DIVERGE:
        raise LossNotFiniteError("the training loss is nan")
    if seed == NO_MEMORY:
        raise OutOfMemoryError("memory is not enough for resnet1d18 with optim.batch_size=128")
    if seed == HANG:
        time.sleep(60)
    if seed == EXIT:
        os._exit(7)
    if seed == NO_ROOM:
        raise OSError(28, "No space left on device")


def finish(run: Run, config: RunConfig, output: Path) -> None:
    run.path.mkdir(parents=True, exist_ok=True)
    resolved = resolve(config, output).config
    save_config(run.path / "config.yaml", resolved)
    write_json(run.path / "manifest.json", {"data": {"simulated": True}})
    if config.seed != UNFINISHED:
        size = (run.path / "manifest.json").stat().st_size
        write_json(run.path / "DONE", {"run": run.name, "files": {"manifest.json": {"bytes": size}}})
