"""On a GPU: records a second, the share of its bf16 product's speed, and how long the paper's grid takes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ecg_transfer.study.estimate import EPOCH_SECONDS, RUN_SECONDS
from ecg_transfer.study.probe import Processes, Speed, Work
from experiments.benchmarks.options import BACKBONES, Options
from experiments.benchmarks.row import Row
from experiments.benchmarks.variants import make_variant, seconds_of

BATCH_SIZE = 256
MATRIX_SIZE = 8192
EPOCHS = 100
TRAIN_RECORDS = {"ptbxl": 17_418, "cpsc2018": 4_603, "georgia": 6_895, "ptb": 349, "ribeiro": 554}
"""Of the paper's splits; PTB-XL's folds 1 to 8."""
RECORDS = {"ptbxl": 21_837, "cpsc2018": 6_877, "georgia": 10_344, "ptb": 549, "ribeiro": 827}
"""With those that are evaluated after every epoch."""
UPSTREAMS = ("ptbxl", "cpsc2018", "georgia")
SWEEP = (2_000, 4_000, 6_000, 8_000, 10_000, 12_000)
"""Training records of PTB-XL in the size sweep, ResNet1d-18 alone."""
WORKERS = 4
"""Runs at the same time."""
GRID_GOAL = 1.0
"""Hours; set for an H200."""


def runs_of_grid(backbone: str) -> list[tuple[int, int]]:
    """Training and evaluated records of each of the paper's runs of one backbone; all backbones' together are 132.

    Each backbone is pre-trained on three upstreams, fine-tuned on every other corpus from each, and trained from
    scratch on all five: 3 + 12 + 5 runs; ResNet1d-18 also in both arms of the sweep: 6 x 2.
    """
    corpora = [*UPSTREAMS, *(name for up in UPSTREAMS for name in RECORDS if name != up), *RECORDS]
    runs = [(TRAIN_RECORDS[name], RECORDS[name] - TRAIN_RECORDS[name]) for name in corpora]
    swept = [(size, RECORDS["ptbxl"] - TRAIN_RECORDS["ptbxl"]) for size in SWEEP for _ in range(2)]
    return runs + (swept if backbone == "resnet1d18" else [])


def hours_of_grid(speeds: Mapping[str, Speed]) -> float:
    """Of all the paper's runs, shared out to `WORKERS` that are never idle: steps, evaluations and all that is around.

    Args:
        speeds: Of one worker while all of them work, by backbone.
    """
    seconds = max(speed.startup for speed in speeds.values())
    for backbone, speed in speeds.items():
        for train, evaluated in runs_of_grid(backbone):
            an_epoch = train / speed.train + evaluated / speed.evaluate + EPOCH_SECONDS
            seconds += (RUN_SECONDS + EPOCHS * an_epoch) / WORKERS
    return seconds / 3600


def measure(block: str, options: Options) -> list[Row]:
    """A backbone's step, or the whole grid, on the first GPU.

    Args:
        block: The backbone, or `grid`.
        options: See there.
    """
    return _grid() if block == "grid" else _steps(block, quick=options.quick)


def _steps(backbone: str, *, quick: bool) -> list[Row]:
    """Our step in bf16 and float32, and a bf16 product, round by round. The batch lies on the device already."""
    names = ("bf16", "float32", "bf16 unrecorded", "peak bf16")
    variants = {name: make_variant(name, backbone, BATCH_SIZE, device="cuda", size=MATRIX_SIZE) for name in names}
    for variant in variants.values():
        seconds_of(variant, 0.3)
    torch.cuda.synchronize()
    rounds, at_least = (3, 0.1) if quick else (5, 0.2)
    timings = [{name: seconds_of(each, at_least) for name, each in variants.items()} for _ in range(rounds)]
    peak = variants["peak bf16"]
    shares = tuple(100 * (variants["bf16"].work / each["bf16"]) / (peak.work / each["peak bf16"]) for each in timings)
    title = f"{backbone}, batch {BATCH_SIZE}"
    return [
        *(
            Row(
                group="gpu",
                name=f"{title}, {name}",
                unit="records/s",
                repeats=tuple(BATCH_SIZE / each[name] for each in timings),
            )
            for name in names[:2]
        ),
        Row(
            group="gpu",
            name=f"{title}, bf16: recorded as CUDA graphs against launched one by one",
            unit="x",
            repeats=tuple(each["bf16 unrecorded"] / each["bf16"] for each in timings),
        ),
        Row(group="gpu", name=f"{title}, bf16: share of the matrix product's speed", unit="%", repeats=shares),
    ]


def _grid() -> list[Row]:
    """The speeds of several runs that share the GPU, and what follows for the paper's grid."""
    with Processes(WORKERS) as processes:
        speeds = {
            backbone: processes.speed(Work(backbone=backbone, precision="bf16", batch_size=BATCH_SIZE))
            for backbone in BACKBONES
        }
    hours = hours_of_grid(speeds)
    num_runs = sum(len(runs_of_grid(backbone)) for backbone in speeds)
    together = [
        Row(
            group="gpu",
            name=f"{backbone}, batch {BATCH_SIZE}, bf16: {WORKERS} runs at once, {what}",
            unit="records/s",
            repeats=(WORKERS * rate,),
        )
        for backbone, speed in speeds.items()
        for what, rate in (("training", speed.train), ("evaluation in float32", speed.evaluate))
    ]
    return [
        *together,
        Row(
            group="gpu",
            name=f"the paper's grid of {num_runs} runs, {WORKERS} at once",
            unit="h",
            repeats=(hours,),
            goal=GRID_GOAL,
            better="lower",
            note=f"from the rates above: {num_runs / hours:.0f} runs an hour; a worker starts in "
            f"{max(speed.startup for speed in speeds.values()):.0f} s",
        ),
    ]
