"""Cold starts: whole processes, from the command to its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row

GOALS = {"help": 0.4, "finished": 1.5, "one epoch": 8.0}
"""Seconds."""
COMMAND = (sys.executable, "-m", "ecg_transfer")
RUN = ("scratch", "ptb", "--backbone", "lstm_last", "optim.max_epochs=1", "data.source=simulated")


def measure(block: str, options: Options) -> list[Row]:
    """Medians over whole processes.

    Args:
        block: `help` or `runs`.
        options: See there.
    """
    folder = Path(options.scratch)
    num_repeats = 3 if options.quick else 5
    if block == "help":
        return [_row("ecg-transfer --help", [run(folder, "--help") for _ in range(num_repeats)], GOALS["help"])]
    run(folder, *RUN)  # simulates the corpus and builds its cache
    finished = [run(folder, *RUN) for _ in range(num_repeats)]
    wholes = [run(folder, *RUN, "--seed", str(seed)) for seed in range(1, num_repeats + 1)]
    trained = [_train_seconds(folder, seed) for seed in range(1, num_repeats + 1)]
    overheads = [whole - train for whole, train in zip(wholes, trained, strict=True)]
    note = f"the steps took {sorted(trained)[num_repeats // 2]:.1f} s"
    return [
        _row("a finished run recognised", finished, GOALS["finished"]),
        _row("one epoch on cached data, less its training steps", overheads, GOALS["one epoch"], note),
    ]


def run(folder: Path, *arguments: str) -> float:
    """Seconds of a command.

    Raises:
        RuntimeError: It failed.
    """
    environment = os.environ | {"ECG_DATA_ROOT": str(folder / "data")}
    started = time.perf_counter()
    done = subprocess.run([*COMMAND, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"ecg-transfer {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
    return seconds


def epochs_of(run_folder: Path) -> list[dict[str, float]]:
    """The epochs' records of a run."""
    return [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def _train_seconds(folder: Path, seed: int) -> float:
    (found,) = (folder / "checkpoints" / "simulated").glob(f"*-s{seed}-*")
    return sum(epoch["train_seconds"] for epoch in epochs_of(found))


def _row(name: str, seconds: list[float], goal: float, note: str = "") -> Row:
    return Row(group="start", name=name, unit="s", repeats=tuple(seconds), goal=goal, better="lower", note=note)
