"""Figure 2: the score of every model in both arms, with intervals; and effects as a list with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.lines import Line2D

from ecg_transfer.drawing import ARM_COLOURS, ARM_NAMES, INK, new_figure
from ecg_transfer.study.arrangement import Setting, backbone_name, corpus_name, metric_name
from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.effects import ARMS
from ecg_transfer.study.figures.exhibit import Exhibit, bottom_left, error_bar, panel_grid, seeds_of
from ecg_transfer.study.speed import Speed


def score_dots(setting: Setting, metric: str) -> Exhibit | None:
    """Draw Figure 2: rows are upstreams, columns downstreams, a line a model.

    Args:
        setting: What to show.
        metric: Its score's name.
    """
    backbones = setting.backbones
    placed = setting.placed(backbones)
    if not placed:
        return None
    figure, axes = panel_grid(
        placed.keys(), width=2.5, height=0.75 + 0.22 * len(backbones), title="Test score of every model",
        simulated=setting.simulated,
    )  # fmt: skip
    for panel, axis in axes.items():
        for effect in placed[panel]:
            y = backbones.index(effect.cell.backbone)
            means = [effect.scores[arm] for arm in ARMS]
            axis.plot(means, [y - 0.14, y + 0.14], color=INK, alpha=0.3, linewidth=1, zorder=2)
            for arm, mean, shift in zip(ARMS, means, (-0.14, 0.14), strict=True):
                limits = interval(effect.draws[arm]) if np.isfinite(effect.effect.low) else (np.nan, np.nan)
                error_bar(axis, (mean, y + shift), limits, vertical=False, colour=ARM_COLOURS[arm])
                marker = "o" if arm == "finetune" else "s"
                axis.plot(mean, y + shift, marker=marker, color=ARM_COLOURS[arm], markersize=4, zorder=4)
        axis.set_ylim(len(backbones) - 0.5, -0.5)
        axis.set_yticks(range(len(backbones)), [])
        axis.tick_params(axis="y", length=0)
    for axis, is_lowest, is_first in bottom_left(axes):
        if is_lowest:
            axis.set_xlabel(f"test {metric_name(metric)}")
        if is_first:
            axis.set_yticklabels([backbone_name(name) for name in backbones])
    figure.legend(handles=arm_handles(("o", "s")), loc="outside lower center", ncols=2)
    shown = list(setting.places.values())
    return Exhibit(
        slug="figure-2-scores",
        title="Figure 2",
        caption=f"Test {metric_name(metric)} of every model, fine-tuned (circle) and from scratch (square), mean over "
        f"seeds with its 95 % interval over test patients and seeds. {len(shown)} comparisons, {seeds_of(shown)} each. "
        "Each panel has its own scale.",
        alt=f"Dot plot of the scores in Table 2, {len(placed)} pairs of corpora, {len(backbones)} models.",
        figure=figure,
        is_wide=True,
    )


@dataclass(frozen=True, kw_only=True)
class _Line:
    name: str
    value: float
    low: float
    high: float


def speed_list(setting: Setting, speeds: Sequence[Speed]) -> Exhibit | None:
    """Draw how soon fine-tuning reaches scratch's level, one line a comparison, on a logarithmic axis.

    Args:
        setting: What to show.
        speeds: Of its cells.
    """
    shown = {id(effect.cell) for effect in setting.places.values()}
    kept = [speed for speed in speeds if id(speed.cell) in shown]
    if not kept:
        return None
    lines = [
        _Line(
            name=f"{corpus_name(speed.cell.upstream)} → {corpus_name(speed.cell.downstream)}, "
            f"{backbone_name(speed.cell.backbone)}",
            value=speed.ratio,
            low=speed.ratio_interval[0],
            high=speed.ratio_interval[1],
        )
        for speed in kept
    ]
    figure = new_figure(
        6.6, 1.1 + 0.19 * len(lines) + 0.3 * setting.simulated, title="Updates to scratch's level",
        simulated=setting.simulated,
    )  # fmt: skip
    axis = figure.subplots()
    for y, line in enumerate(lines):
        error_bar(axis, (line.value, y), (line.low, line.high), vertical=False, colour=INK)
        axis.plot(line.value, y, marker="o", color=ARM_COLOURS["finetune"], markersize=4, zorder=4)
    axis.axvline(1, color=INK, linewidth=0.8)
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_yticks(range(len(lines)), [line.name for line in lines])
    axis.set_ylim(len(lines) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.set_xlabel("updates of fine-tuning over updates from scratch (left of 1: fine-tuning is faster)")
    return Exhibit(
        slug="figure-9-speed",
        title="Convergence",
        caption="Updates that fine-tuning needs to 95 % of scratch's final validation score, over those of scratch: "
        "geometric mean over seeds with its 95 % interval. Runs that never get there count as getting there at their "
        f"end. {len(lines)} comparisons.",
        alt="List of ratios with intervals; the numbers stand in the table of convergence.",
        figure=figure,
        is_wide=True,
    )


def arm_handles(markers: tuple[str, str] = ("", "")) -> list[Line2D]:
    """Legend entries of both arms."""
    return [
        Line2D([], [], color=ARM_COLOURS[arm], marker=marker, markersize=4, label=ARM_NAMES[arm])
        for arm, marker in zip(ARMS, markers, strict=True)
    ]
