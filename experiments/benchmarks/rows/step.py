"""A training step of each backbone against the paper's float64 loop, and against the matrix product's speed."""

from __future__ import annotations

from contextlib import ExitStack

from ecg_transfer.precision import cpu_has_bfloat16
from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row, ratios
from experiments.benchmarks.stepper import Order, Stepper, Timing, interleave

PRECISIONS = ("float32", "bf16", "float64")
RATIO_GOALS = {
    "resnet1d18": {"float32": 4.3, "bf16": 7.0},
    "resnet1d50": {"float32": 4.3, "bf16": 7.0},
    "resnet1d101": {"float32": 4.3, "bf16": 7.0},
    "lstm": {"float32": 2.7, "bf16": 4.5},
    "bilstm": {"float32": 2.7, "bf16": 4.5},
    "gru": {"float32": 2.0},
}
"""The project's goals, set on two Zen 4 cores."""
SHARE_GOAL = 80.0
"""% of the float32 matrix product, of the ResNets."""

Timings = dict[tuple[str, str], list[Timing]]


def measure(block: str, options: Options) -> list[Row]:
    """The rows of one backbone and batch size.

    Args:
        block: `resnet1d18 64`.
        options: See there.
    """
    backbone, batch_size = block.split()[0], int(block.split()[1])
    precisions = PRECISIONS if cpu_has_bfloat16() else tuple(name for name in PRECISIONS if name != "bf16")
    peaks = tuple(f"peak {precision}" for precision in precisions)
    yardsticks = ("paper", "authors") if options.reference else ("paper",)
    is_recurrent = not backbone.startswith("resnet")  # the ResNets' steps hardly depend on the set-up
    variants = {"ours": (*precisions, *peaks, *(("paper",) if is_recurrent else ())), "plain": yardsticks}
    with ExitStack() as stack:
        steppers = {}
        for name, held in variants.items():
            order = Order(
                variants=held,
                backbone=backbone,
                batch_size=batch_size,
                as_trained=name == "ours",
                reference=options.reference,
            )
            steppers[name] = stack.enter_context(Stepper(order))
        calls = [(name, variant) for name, held in variants.items() for variant in held]
        seconds, least, most = (6.0, 2, 5) if options.quick else (20.0, 3, 15)
        timings = interleave(steppers, calls, seconds=seconds, least=least, most=most)
    return _rows(f"{backbone}, batch {batch_size}", backbone, batch_size, timings)


def _rows(title: str, backbone: str, batch_size: int, timings: Timings) -> list[Row]:
    rows = []
    for precision in (name for name in PRECISIONS if ("ours", name) in timings):
        ours = timings["ours", precision]
        for (where, variant), theirs in timings.items():
            if variant not in ("paper", "authors"):
                continue
            name = "the paper's loop" if variant == "paper" else "the authors' code"
            name += ", set up as our training" if where == "ours" else ""
            rows.append(
                Row(
                    group="step",
                    name=f"{title}, {precision}: against {name}",
                    unit="x",
                    repeats=ratios(_seconds(theirs), _seconds(ours)),
                    goal=RATIO_GOALS[backbone].get(precision) if (where, variant) == ("plain", "paper") else None,
                    note=f"{batch_size / _middle(ours):,.0f} against {batch_size / _middle(theirs):,.0f} records/s",
                )
            )
        peak = timings["ours", f"peak {precision}"]
        shares = [100 * our.speed / top.speed for our, top in zip(ours, peak, strict=True)]
        rows.append(
            Row(
                group="step",
                name=f"{title}, {precision}: share of the matrix product's speed",
                unit="%",
                repeats=tuple(shares),
                goal=SHARE_GOAL if precision == "float32" and backbone.startswith("resnet") else None,
                note=f"of {peak[0].work / _middle(peak) / 1e9:,.0f} GFLOP/s",
            )
        )
    return rows


def _seconds(timings: list[Timing]) -> list[float]:
    return [timing.seconds for timing in timings]


def _middle(timings: list[Timing]) -> float:
    return sorted(_seconds(timings))[len(timings) // 2]
