"""On a GPU: records a second, the share of its bf16 product's speed, and the paper's grid an hour."""

from __future__ import annotations

import torch

from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row
from experiments.benchmarks.variants import make_variant, seconds_of

BATCH_SIZE = 256
MATRIX_SIZE = 8192
EPOCHS = 100
TRAIN_RECORDS = {"ptbxl": 17_418, "cpsc2018": 4_603, "georgia": 6_895, "ptb": 349, "ribeiro": 554}
"""Of the paper's splits; PTB-XL's folds 1 to 8."""
UPSTREAMS = ("ptbxl", "cpsc2018", "georgia")
SWEEP = (2_000, 4_000, 6_000, 8_000, 10_000, 12_000)
"""Training records of PTB-XL in the size sweep, ResNet1d-18 alone."""


def records_of_grid(backbone: str) -> int:
    """Training records that the paper's 132 runs pass through one backbone, all epochs together.

    Each backbone is pre-trained on three upstreams, fine-tuned on every other corpus from each, and trained from
    scratch on all five: 3 + 12 + 5 runs; ResNet1d-18 also in both arms of the sweep: 6 x 2.
    """
    pretrain = sum(TRAIN_RECORDS[name] for name in UPSTREAMS)
    finetune = sum(count for up in UPSTREAMS for name, count in TRAIN_RECORDS.items() if name != up)
    sweep = 2 * sum(SWEEP) if backbone == "resnet1d18" else 0
    return EPOCHS * (pretrain + finetune + sum(TRAIN_RECORDS.values()) + sweep)


def measure(block: str, options: Options) -> list[Row]:
    """Our step in bf16 and float32 and a bf16 product, round by round, on the first GPU.

    The batch lies on the device already. Evaluation and start-up of runs are not in the hours.

    Args:
        block: The backbone.
        options: See there.
    """
    names = ("bf16", "float32", "peak bf16")
    variants = {name: make_variant(name, block, BATCH_SIZE, device="cuda", size=MATRIX_SIZE) for name in names}
    for variant in variants.values():
        seconds_of(variant, 1.0)
    torch.cuda.synchronize()
    rounds = range(3 if options.quick else 9)
    timings = [{name: seconds_of(variant, 0.5) for name, variant in variants.items()} for _ in rounds]
    rates = {name: tuple(BATCH_SIZE / each[name] for each in timings) for name in names[:2]}
    peak = variants["peak bf16"]
    shares = tuple(100 * (variants["bf16"].work / each["bf16"]) / (peak.work / each["peak bf16"]) for each in timings)
    title = f"{block}, batch {BATCH_SIZE}"
    hours = tuple(records_of_grid(block) / rate / 3600 for rate in rates["bf16"])
    return [
        *(Row(group="gpu", name=f"{title}, {name}", unit="records/s", repeats=rate) for name, rate in rates.items()),
        Row(group="gpu", name=f"{title}, bf16: share of the matrix product's speed", unit="%", repeats=shares),
        Row(
            group="gpu",
            name=f"{title}, bf16: this backbone's share of the paper's grid",
            unit="h",
            repeats=hours,
            better="lower",
            note="one run after the other, training steps alone",
        ),
    ]
