"""Figures 4 to 6 and the RNN one: test score over epochs, rows are upstreams, columns downstreams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.lines import Line2D

from ecg_transfer.drawing import INK, draw_arm
from ecg_transfer.study.arrangement import RESNETS, RNNS, Setting, backbone_name, metric_name
from ecg_transfer.study.effects import ARMS, CellEffect
from ecg_transfer.study.figures.dots import arm_handles
from ecg_transfer.study.figures.exhibit import Exhibit, name_axes, panel_grid, seeds_of
from ecg_transfer.study.speed import Curve

LINES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
"""Tell models of one figure apart."""

MAX_OTHERS = 6
"""Models beyond the paper's that get a figure of curves."""


def curve_figures(setting: Setting, curves: Mapping[str, Curve], metric: str) -> list[Exhibit]:
    """Draw Figures 4, 5, 6 for the ResNets, Figure 7 for the RNNs, and one for each further model.

    Args:
        setting: What to show.
        curves: Of each run by name, as `split_curves` gives them.
        metric: A score of the table of epochs.
    """
    wanted: list[tuple[str, str, tuple[str, ...]]] = [
        (f"figure-{number}-curves-{backbone}", f"Figure {number}", (backbone,))
        for number, backbone in zip((4, 5, 6), RESNETS, strict=True)
    ]
    wanted.append(("figure-7-curves-rnn", "Figure 7", tuple(name for name in RNNS if name in setting.backbones)))
    others = [name for name in setting.backbones if name not in (*RESNETS, *RNNS)]
    wanted += [
        (f"curves-{''.join(c if c.isalnum() else '-' for c in name)}", "Curves", (name,))
        for name in others[:MAX_OTHERS]
    ]
    drawn = [_curve_figure(setting, curves, metric, *parts) for parts in wanted]
    return [exhibit for exhibit in drawn if exhibit is not None]


def _curve_figure(
    setting: Setting, curves: Mapping[str, Curve], metric: str, slug: str, title: str, backbones: Sequence[str]
) -> Exhibit | None:
    placed = setting.placed(backbones)
    if not placed:
        return None
    names = ", ".join(backbone_name(name) for name in backbones)
    figure, axes = panel_grid(
        placed.keys(), width=2.45, height=1.75, title=f"Test score over epochs: {names}", simulated=setting.simulated,
    )  # fmt: skip
    lines = dict(zip(backbones, LINES, strict=False))
    lows = []
    for panel, axis in axes.items():
        for effect in placed[panel]:
            for arm in ARMS:
                found = arm_curves(effect, arm, curves, f"test/{metric}")
                if found:
                    draw_arm(axis, found, arm, linestyle=lines[effect.cell.backbone])
                    lows += [float(np.nanmin(scores)) for _, scores in found]
        axis.set_title(f"{axis.get_title()}, {seeds_of(placed[panel])}")
    floor = max(0.0, np.floor(10 * min(lows, default=0.0)) / 10)
    for axis in axes.values():
        axis.set_ylim(floor, 1)
        axis.set_xlim(left=0)
    name_axes(axes, x="epoch", y=f"test {metric_name(metric)}")
    handles = arm_handles()
    if len(backbones) > 1:
        handles += [Line2D([], [], color=INK, linestyle=lines[name], label=backbone_name(name)) for name in backbones]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return Exhibit(
        slug=slug,
        title=title,
        caption=f"Test {metric_name(metric)} over epochs, {names}: fine-tuning against training from scratch, mean "
        "over seeds with its 95 % t interval. Rows are upstream corpora, columns downstream ones. These are scores on "
        "the test set while training went on: nothing is selected by them.",
        alt=f"Curves of {names} for {len(placed)} pairs of corpora; final values stand in Table 2.",
        figure=figure,
    )


def arm_curves(effect: CellEffect, arm: str, curves: Mapping[str, Curve], score: str) -> list[np.ndarray]:
    """An arm's epochs and scores, (2, E) a run; a run that several pairs share counts once."""
    runs = dict.fromkeys(str(name) for name in effect.cell.pairs[f"run_{arm}"])
    known = [curves[name] for name in runs if name in curves]
    return [np.stack([curve["epoch"], curve[score]]) for curve in known if len(curve[score])]
