"""Time an epoch by the number of records, memory over epochs, two processes against one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytorch_lightning as pl
from scipy.stats import linregress

from experiments.benchmarks.fitting import SMALL, fit
from experiments.benchmarks.noise_corpus import noise_data
from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row, ratios
from experiments.benchmarks.rows.start import epochs_of, run

SIZES = (500, 1_000, 2_000, 5_000, 10_000, 20_000)
DEVIATION_GOAL = 10.0
"""% of the line's value."""
GROWTH_GOAL = 5.0
"""MB over the epochs measured."""


def measure(block: str, options: Options) -> list[Row]:
    """The rows of one block.

    Args:
        block: `records`, `memory` or `processes`.
        options: See there.
    """
    measured = {"records": _records, "memory": _memory, "processes": _processes}[block]
    return measured(Path(options.scratch), options)


def _records(folder: Path, options: Options) -> list[Row]:
    sizes = SIZES[:4] if options.quick else SIZES
    num_records = round(sizes[-1] / 0.9) + 10
    num_repeats = 2 if options.quick else 5  # of three, one slow moment bends the line by a tenth
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    for repeat in range(num_repeats):
        for size in sizes:
            data = noise_data(folder, num_records, subset=size, val_fraction=0.05, test_fraction=0.05)
            finished = fit(folder / f"run-{size}-{repeat}", data, SMALL, 3, evaluate_every=3)
            seconds[size].append(epochs_of(finished.path)[-1]["train_seconds"])
    lines = [linregress(sizes, [seconds[size][repeat] for size in sizes]) for repeat in range(num_repeats)]
    middle = np.array([np.median(seconds[size]) for size in sizes])
    line = linregress(sizes, middle)
    deviations = np.abs(middle / (line.intercept + line.slope * np.array(sizes)) - 1)
    title = f"a small network, {sizes[0]:,} to {sizes[-1]:,} records"
    shown = ", ".join(f"{size:,}: {value:.2f} s" for size, value in zip(sizes, middle, strict=True))
    return [
        Row(
            group="scaling",
            name=f"{title}: R2 of a line through the epochs' seconds",
            unit="%",
            repeats=tuple(100 * found.rvalue**2 for found in lines),
            goal=99.0,
            note=shown,
        ),
        Row(
            group="scaling",
            name=f"{title}: largest deviation from that line",
            unit="%",
            repeats=(100 * float(deviations[1:].max()),),
            goal=DEVIATION_GOAL,
            better="lower",
            note=f"without {sizes[0]:,} records; {1e6 * line.slope:.0f} us a record + {line.intercept:.3f} s an epoch",
        ),
    ]


class _Memory(pl.Callback):
    """Notes the process's memory after every epoch."""

    def __init__(self) -> None:
        self.megabytes: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read it."""
        self.megabytes.append(resident_megabytes())


def resident_megabytes() -> float:
    """Memory of this process without the pages of files, which the system takes back as it likes; Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def _memory(folder: Path, options: Options) -> list[Row]:
    warm, num_epochs = (5, 15) if options.quick else (10, 60)
    memory = _Memory()
    fit(folder / "run", noise_data(folder, 1_000), SMALL, num_epochs, first=[memory])
    grown = memory.megabytes[-1] - memory.megabytes[warm - 1]
    return [
        Row(
            group="scaling",
            name=f"memory gained from epoch {warm} to {num_epochs}",
            unit="MB",
            repeats=(grown,),
            goal=GROWTH_GOAL,
            better="lower",
            note=f"{memory.megabytes[warm - 1]:,.0f} MB at epoch {warm}",
        )
    ]


def _processes(folder: Path, options: Options) -> list[Row]:
    overrides = ("data.source=simulated", "optim.max_epochs=5", "optim.batch_size=64", "trainer.accelerator=cpu")
    seconds = {}
    for devices in (1, 2):
        run(folder, "scratch", "ptb", *overrides, f"trainer.devices={devices}", "--output", f"on-{devices}")
        (found,) = (folder / f"on-{devices}" / "simulated").glob("*")
        seconds[devices] = [epoch["train_seconds"] for epoch in epochs_of(found)[1:]]
    return [
        Row(
            group="scaling",
            name="ResNet1d-18, batch 64: two processes (DDP) that share the cores against one that has them all",
            unit="x",
            repeats=ratios(seconds[1], seconds[2]),
            note="on one machine's CPU nothing can be gained but by less waiting; not interleaved",
        )
    ]
