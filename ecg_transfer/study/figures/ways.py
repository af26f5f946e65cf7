"""Ways of fine-tuning: each one's gain over scratch by size, and how far the backbone moved on each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ecg_transfer.curve import read_curve
from ecg_transfer.drawing import PALETTE, new_figure, whole_epochs
from ecg_transfer.runs import Run
from ecg_transfer.study.arrangement import metric_name
from ecg_transfer.study.effects import CellEffect, Effect
from ecg_transfer.study.figures.exhibit import Exhibit, forest, seeds_of, several
from ecg_transfer.study.way_tables import WaysOf

Floats = NDArray[np.float64]

MAX_FAMILIES = 4
"""Pairs of corpora and backbones that get a row of panels; the table has all."""

MOVEMENTS = {"distance": ("Distance from the pre-trained weights", "|w − w₀| / |w₀|"),
             "cka": ("Likeness to the pre-trained backbone", "linear CKA")}  # fmt: skip
"""What is drawn of `movement`, with a figure's title and its axis'."""


def way_forest(families: Sequence[WaysOf], metric: str) -> Exhibit | None:
    """Draw each way's difference from scratch with its interval, a column a size, the last one their mean.

    Args:
        families: What to show; each is a row.
        metric: The score's name.
    """
    shown = families[:MAX_FAMILIES]
    if not shown:
        return None
    num_columns = max(len(each.sizes) + bool(each.means) for each in shown)
    num_ways = max(len(each.by_way) for each in shown)
    simulated = any(each.simulated for each in shown)
    figure = new_figure(
        1.9 + 1.75 * num_columns,
        (0.75 + 0.24 * num_ways) * len(shown) + 0.7 + 0.3 * simulated,
        title="Ways of fine-tuning against training from scratch",
        simulated=simulated,
    )
    axes = figure.subplots(len(shown), num_columns, squeeze=False, sharex=True)
    for row, each in zip(axes, shown, strict=True):
        ways = list(each.by_way)
        columns = [(f"n = {size:,}", _at(each, size)) for size in each.sizes]
        columns += [("mean of sizes", dict(each.means))] if each.means else []
        for axis in row[len(columns) :]:
            axis.set_visible(False)
        for axis, (title, effects) in zip(row, columns, strict=False):
            forest(axis, ways, effects)
            axis.set_title(title)
        row[0].set_yticklabels(ways)
        if len(shown) > 1:
            row[0].set_ylabel(each.title, fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("difference")
    effects_shown = [result for each in shown for members in each.by_way.values() for _, result in members]
    return Exhibit(
        slug="ways",
        title="Ways",
        caption=f"Gain of each way over training from scratch in test {metric_name(metric)}, {_titles(shown)}, each "
        "side at the learning rate that validation chose, with 95 % intervals over test patients and seeds. "
        f"{several(len(effects_shown))}, {seeds_of(effects_shown)} each.",
        alt="; ".join(
            f"{way}: " + ", ".join(f"{result.effect.estimate:+.3f} at {one.cell.num_train}" for one, result in members)
            for each in shown
            for way, members in each.by_way.items()
        ),
        figure=figure,
    )


def movement_figures(families: Sequence[WaysOf]) -> list[Exhibit]:
    """Draw, for the largest size of the first family, how far each stage moved over the epochs of each way."""
    if not families:
        return []
    each = families[0]
    size = each.sizes[-1]
    found = {
        way: _movements(result)
        for way, members in each.by_way.items()
        for one, result in members
        if one.cell.num_train == size
    }
    drawn = [
        _movement(each, {way: of[kind] for way, of in found.items() if of[kind]}, kind, size) for kind in MOVEMENTS
    ]
    return [exhibit for exhibit in drawn if exhibit is not None]


def _movement(each: WaysOf, by_way: dict[str, dict[str, Floats]], kind: str, size: int) -> Exhibit | None:
    if not by_way:
        return None
    num_columns = min(4, len(by_way))
    num_rows = -(-len(by_way) // num_columns)
    title, name = MOVEMENTS[kind]
    figure = new_figure(
        2.0 * num_columns + 0.8, 1.85 * num_rows + 1.3, title=f"{title}, n = {size:,}", simulated=each.simulated
    )
    axes = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    stages = list(dict.fromkeys(stage for of in by_way.values() for stage in of))
    for axis in axes.flat[len(by_way) :]:
        axis.set_visible(False)
    for axis, (way, curves) in zip(axes.flat, by_way.items(), strict=False):
        for stage, values in curves.items():
            colour = PALETTE[stages.index(stage) % len(PALETTE)]
            axis.plot(values[0], values[1], color=colour, linewidth=1.2)
        axis.set_title(fill(way, 24))
        axis.set_xlabel("epoch")
        axis.set_xlim(left=0)
        whole_epochs(axis)
    for row in axes:
        row[0].set_ylabel(name)
    axes[0, 0].set_ylim((0, None) if kind == "distance" else (min(0.0, _lowest(by_way)), 1.02))
    handles = [Line2D([], [], color=PALETTE[k % len(PALETTE)], label=stage) for k, stage in enumerate(stages)]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 7))
    meaning = {
        "distance": "Relative distance of each stage's weights from the pre-trained ones: 0 is where it started, 1 is "
        "as far as zero is",
        "cka": "Likeness of what each stage gives out for a fixed batch of validation records to what it gave out "
        "before fine-tuning: 1 is the same but for a rotation, 0 is nothing in common (arXiv 1905.00414)",
    }
    return Exhibit(
        slug=f"ways-{kind}",
        title="Movement",
        caption=f"{meaning[kind]}. {each.title}, n = {size:,}, at the rate that validation chose, mean over seeds.",
        alt="; ".join(
            f"{way}: " + ", ".join(f"{stage} ends at {values[1][-1]:.2f}" for stage, values in curves.items())
            for way, curves in by_way.items()
        ),
        figure=figure,
    )


def _lowest(by_way: dict[str, dict[str, Floats]]) -> float:
    return min(float(values[1].min()) for curves in by_way.values() for values in curves.values())


def _movements(result: CellEffect) -> dict[str, dict[str, Floats]]:
    """For each kind and stage the epochs, from 1, and the mean over runs (2, E); runs of before movement have none."""
    paths = dict.fromkeys(str(path) for path in result.cell.pairs["path_finetune"])
    curves = [read_curve(Run(Path(path)).checked("metrics.jsonl")) for path in paths]
    curves = [curve for curve in curves if curve and all("movement" in record for record in curve)]
    found: dict[str, dict[str, Floats]] = {kind: {} for kind in MOVEMENTS}
    if not curves:
        return found
    shared = sorted(set.intersection(*({record["epoch"] for record in curve} for curve in curves)))
    by_epoch = [{record["epoch"]: record["movement"] for record in curve} for curve in curves]
    for kind, of in found.items():
        for stage in by_epoch[0][shared[0]][kind] if shared else ():
            values = [[run[epoch][kind].get(stage, np.nan) for epoch in shared] for run in by_epoch]
            of[stage] = np.stack([np.array(shared) + 1.0, np.mean(values, axis=0)])
    return found


def _at(each: WaysOf, size: int) -> dict[str, Effect]:
    return {
        way: result.effect
        for way, members in each.by_way.items()
        for one, result in members
        if one.cell.num_train == size
    }


def _titles(families: Sequence[WaysOf]) -> str:
    return "; ".join(each.title for each in families)
