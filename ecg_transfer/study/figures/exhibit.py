"""A figure with what a page needs beside it, and a grid of panels in the paper's rows and columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecg_transfer.drawing import ARM_COLOURS, INK, new_figure, seeds_text
from ecg_transfer.study.arrangement import DOWNSTREAMS, UPSTREAMS, corpus_name, in_order, is_same_corpus
from ecg_transfer.study.effects import CellEffect, Effect

Panel = tuple[str, str]
"""Upstream and downstream."""

PIXELS = 110
"""CSS pixels an inch of a figure takes."""

SPARSE = 0.5
"""Share of a grid's panels below which it is not drawn as a grid: a list of its panels is easier to read."""


@dataclass(frozen=True, kw_only=True)
class Exhibit:
    """A figure, its caption and what a reader without eyes is told."""

    slug: str
    """Its file's name."""
    title: str
    """`Figure 1`, or what it is where the paper has none."""
    caption: str
    alt: str
    figure: Figure

    @property
    def width(self) -> float:
        """CSS pixels on a page, a little more than its inches: its text is then as large as the page's notes."""
        return PIXELS * float(self.figure.get_figwidth())


def panel_grid(
    present: Collection[Panel], *, width: float, height: float, title: str, simulated: bool, share_columns: bool = False
) -> tuple[Figure, dict[Panel, Axes]]:
    """A figure with a panel for each pair of corpora: rows are upstreams, columns downstreams, as in the paper.

    Where most of that grid would be empty the panels follow each other instead.

    Args:
        present: Pairs with something to show.
        width: Inches a panel.
        height: Inches a panel.
        title: Of the figure.
        simulated: Whether any ECGs are.
        share_columns: Whether the panels of a column have one scale.
    """
    rows = in_order({upstream for upstream, _ in present}, UPSTREAMS)
    columns = in_order({downstream for _, downstream in present}, DOWNSTREAMS)
    possible = sum(not is_same_corpus(row, column) for row in rows for column in columns)
    panels: list[Panel | None] = [(row, column) for row in rows for column in columns]
    num_columns = len(columns)
    if len(present) <= SPARSE * possible and possible > 3:
        panels = [panel for panel in panels if panel in present]
        num_columns = min(3, len(panels))
        panels += [None] * (-len(panels) % num_columns)
    num_rows = len(panels) // num_columns
    extra = 1.1 + 0.3 * simulated
    is_grid = num_columns == len(columns)
    figure = new_figure(max(width * num_columns, 5.0), height * num_rows + extra, title=title, simulated=simulated)
    axes = figure.subplots(num_rows, num_columns, squeeze=False, sharex="col" if share_columns and is_grid else False)
    for axis in axes.flat:
        axis.xaxis.set_tick_params(labelbottom=True)
    named = {
        panel: axis for panel, axis in zip(panels, axes.flat, strict=True) if panel is not None and panel in present
    }
    for panel, axis in zip(panels, axes.flat, strict=True):
        if panel is not None and panel in present:
            axis.set_title(f"{corpus_name(panel[0])} → {corpus_name(panel[1])}")
        else:
            _leave_empty(axis, panel)
    return figure, named


def name_axes(axes: dict[Panel, Axes], *, x: str, y: str = "") -> list[Axes]:
    """Name the x axes of the last row and the y axes of each row's first panel; give those first panels."""
    places = {}
    for axis in axes.values():
        spec = axis.get_subplotspec()
        assert spec is not None
        places[spec.rowspan.start, spec.colspan.start] = axis
    last = max(row for row, _ in places)
    firsts = [places[row, min(c for r, c in places if r == row)] for row in sorted({row for row, _ in places})]
    for (row, _), axis in places.items():
        if row == last:
            axis.set_xlabel(x)
    for axis in firsts:
        axis.set_ylabel(y)
    return firsts


def seeds_of(effects: Collection[CellEffect]) -> str:
    """`6 seeds`, over some comparisons."""
    return seeds_text([effect.effect.num_seeds for effect in effects])


def several(count: int, noun: str = "comparison") -> str:
    """`1 comparison`, `60 comparisons`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def clipped(limits: tuple[float, float]) -> tuple[float, float]:
    """Limits of a score, which cannot leave 0 to 1 where its interval, wide with few seeds, does."""
    low, high = np.clip(limits, 0.0, 1.0)
    return float(low), float(high)


def error_bar(axis: Axes, at: tuple[float, float], limits: tuple[float, float], *, vertical: bool, colour: str) -> None:
    """An interval as a plain line; nothing where there is none."""
    if not np.isfinite(limits).all():
        return
    x, y = at
    if vertical:
        axis.vlines(x, *limits, color=colour, linewidth=1.2, zorder=3)
    else:
        axis.hlines(y, *limits, color=colour, linewidth=1.2, zorder=3)


def forest(axis: Axes, names: Sequence[str], effects: Mapping[str, Effect]) -> None:
    """Draw effects with their intervals beside the line of no effect, from the top in the order of all names."""
    axis.axvline(0, color=INK, linewidth=0.8)
    for name, effect in effects.items():
        y = names.index(name)
        error_bar(axis, (effect.estimate, y), (effect.low, effect.high), vertical=False, colour=ARM_COLOURS["finetune"])
        axis.plot(effect.estimate, y, marker="o", color=ARM_COLOURS["finetune"], markersize=4, zorder=4)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.set_yticks(range(len(names)), [])
    axis.tick_params(axis="y", length=0)


def _leave_empty(axis: Axes, panel: Panel | None) -> None:
    axis.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
    axis.grid(visible=False)
    for spine in axis.spines.values():
        spine.set_visible(False)
    if panel is None:
        return
    why = "same corpus" if is_same_corpus(*panel) else f"{corpus_name(panel[0])} → {corpus_name(panel[1])}\nnot run"
    axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", va="center", alpha=0.55, fontsize=8.5)
