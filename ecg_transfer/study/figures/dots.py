"""Figure 2: the score of every model in both arms, with intervals; and, in the same arrangement, how soon."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ecg_transfer.drawing import ARM_COLOURS, ARM_NAMES, INK, seeds_text
from ecg_transfer.study.arrangement import Setting, backbone_name, metric_name
from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.effects import ARMS
from ecg_transfer.study.figures.exhibit import (
    Exhibit,
    Panel,
    clipped,
    error_bar,
    name_axes,
    panel_grid,
    seeds_of,
    several,
)
from ecg_transfer.study.speed import Speed


def score_dots(setting: Setting, metric: str) -> Exhibit | None:
    """Draw Figure 2: rows are upstreams, columns downstreams, a line a model.

    Args:
        setting: What to show.
        metric: Its score's name.
    """
    placed = setting.placed(setting.backbones)
    if not placed:
        return None
    figure, axes = _model_grid(setting, placed.keys(), "Test score of every model", f"test {metric_name(metric)}")
    for panel, axis in axes.items():
        for effect in placed[panel]:
            y = setting.backbones.index(effect.cell.backbone)
            means = [effect.scores[arm] for arm in ARMS]
            axis.plot(means, [y - 0.14, y + 0.14], color=INK, alpha=0.3, linewidth=1, zorder=2)
            for arm, mean, shift in zip(ARMS, means, (-0.14, 0.14), strict=True):
                limits = clipped(interval(effect.draws[arm])) if np.isfinite(effect.effect.low) else (np.nan, np.nan)
                error_bar(axis, (mean, y + shift), limits, vertical=False, colour=ARM_COLOURS[arm])
                marker = "o" if arm == "finetune" else "s"
                axis.plot(mean, y + shift, marker=marker, color=ARM_COLOURS[arm], markersize=4, zorder=4)
    figure.legend(handles=arm_handles(("o", "s")), loc="outside lower center", ncols=2)
    shown = list(setting.places.values())
    return Exhibit(
        slug="figure-2-scores",
        title="Figure 2",
        caption=f"Test {metric_name(metric)} of every model, fine-tuned (circle) and from scratch (square), mean over "
        f"seeds with its 95 % interval over test patients and seeds. {several(len(shown))}, {seeds_of(shown)} each. "
        "Each downstream corpus has its own scale.",
        alt=f"Dot plot of the scores in Table 2: {several(len(placed), 'pair')} of corpora, "
        f"{several(len(setting.backbones), 'model')}.",
        figure=figure,
    )


def speed_dots(setting: Setting, speeds: Sequence[Speed]) -> Exhibit | None:
    """Draw how soon fine-tuning reaches scratch's level, in the same rows and columns, on a logarithmic axis.

    Args:
        setting: What to show.
        speeds: Of its cells.
    """
    by_cell = {id(speed.cell): speed for speed in speeds}
    kept = {place: by_cell[id(effect.cell)] for place, effect in setting.places.items() if id(effect.cell) in by_cell}
    if not kept:
        return None
    figure, axes = _model_grid(
        setting,
        {place[:2] for place in kept},
        "Updates to scratch's level: fine-tuned over scratch",
        "ratio of updates",
    )
    for (upstream, downstream, backbone), speed in kept.items():
        axis, y = axes[upstream, downstream], setting.backbones.index(backbone)
        error_bar(axis, (speed.ratio, y), speed.ratio_interval, vertical=False, colour=ARM_COLOURS["finetune"])
        axis.plot(speed.ratio, y, marker="o", color=ARM_COLOURS["finetune"], markersize=4, zorder=4)
    low = min(0.5, *(np.nanmin([speed.ratio, speed.ratio_interval[0]]) for speed in kept.values()))
    high = max(2.0, *(np.nanmax([speed.ratio, speed.ratio_interval[1]]) for speed in kept.values()))
    for axis in axes.values():
        axis.axvline(1, color=INK, linewidth=0.8)
        axis.set_xscale("log", base=2)
        axis.set_xlim(low / 1.1, high * 1.1)
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return Exhibit(
        slug="figure-9-speed",
        title="Convergence",
        caption="Updates that fine-tuning needs to 95 % of scratch's final validation score, over those of scratch: "
        "left of 1, fine-tuning is faster. Geometric mean over seeds with its 95 % interval. Runs that never get there "
        f"count as getting there at the end of the longer training. {several(len(kept))}, "
        f"{seeds_text([len(speed.log_ratios) for speed in kept.values()])} each.",
        alt="Ratios with intervals; the numbers stand in the table of convergence.",
        figure=figure,
    )


def _model_grid(setting: Setting, panels: Collection[Panel], title: str, name: str) -> tuple[Figure, dict[Panel, Axes]]:
    """Panels by upstream and downstream with a line a model."""
    backbones = setting.backbones
    figure, axes = panel_grid(
        panels, width=2.5, height=0.75 + 0.22 * len(backbones), title=title, simulated=setting.simulated,
        share_columns=True,
    )  # fmt: skip
    for axis in axes.values():
        axis.set_ylim(len(backbones) - 0.5, -0.5)
        axis.set_yticks(range(len(backbones)), [])
        axis.tick_params(axis="y", length=0)
    for axis in name_axes(axes, x=name):
        axis.set_yticklabels([backbone_name(backbone) for backbone in backbones])
    return figure, axes


def arm_handles(markers: tuple[str, str] = ("", "")) -> list[Line2D]:
    """Legend entries of both arms."""
    return [
        Line2D([], [], color=ARM_COLOURS[arm], marker=marker, markersize=4, label=ARM_NAMES[arm])
        for arm, marker in zip(ARMS, markers, strict=True)
    ]
