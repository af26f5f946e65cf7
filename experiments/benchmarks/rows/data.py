"""What a training waits for its batches, as a share of its steps, for corpora of several sizes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from data_modules.datamodule import ECGDataModule
from experiments.benchmarks.noise_corpus import noise_data
from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row
from experiments.benchmarks.variants import make_variant, seconds_of

GOAL = 1.0
"""% of a step."""


def measure(block: str, options: Options) -> list[Row]:
    """Batches of 256 against ResNet1d-18's float32 step, which is the shortest one of the ResNets.

    Args:
        block: Records of the corpus.
        options: See there.
    """
    folder, num_records = Path(options.scratch), int(block)
    noise_data(folder, num_records)  # builds the cache
    step = make_variant("float32", "resnet1d18", 256)
    step.run()
    data = _from_disk(folder, num_records)
    first, steps = [], []
    for number, waited in enumerate(_waits(data)):
        first.append(waited)
        if number == (1 if options.quick else 7):
            break
        steps.append(seconds_of(step))  # as in a training, the disk has a step's time to read ahead
    middle = sorted(steps)[len(steps) // 2]
    list(_waits(data))
    later = [waited for _ in range(3) for waited in _waits(data)]
    note = f"{1e3 * sorted(later)[len(later) // 2]:.1f} ms a batch, a step takes {1e3 * middle:,.0f} ms"
    title = f"{num_records:,} records: a batch of 256 against a float32 step of ResNet1d-18"
    repeats = {
        "later epochs": [100 * waited / middle for waited in later],
        "first epoch, file not in memory": [100 * sum(first[1:]) / len(first[1:]) / middle] if first[1:] else [],
        "first batch, file not in memory": [100 * first[0] / middle],
    }
    return [
        Row(
            group="data",
            name=f"{title}, {when}",
            unit="%",
            repeats=tuple(values),
            goal=None if when.startswith("first batch") else GOAL,
            better="lower",
            note=note if when == "later epochs" else "",
        )
        for when, values in repeats.items()
        if values
    ]


def _from_disk(folder: Path, num_records: int) -> ECGDataModule:
    """A new data module whose cache file is not in the system's page cache, where that can be asked for."""
    (path,) = (folder / "cache").glob("*.h5")
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return noise_data(folder, num_records)


def _waits(data: ECGDataModule) -> Iterator[float]:
    """Seconds that each batch of an epoch lets one wait."""
    batches = iter(data.train_dataloader())
    while True:
        started = time.perf_counter()
        if next(batches, None) is None:
            return
        yield time.perf_counter() - started
