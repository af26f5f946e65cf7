"""A figure with what a page needs beside it, and a grid of panels in the paper's rows and columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ecg_transfer.drawing import new_figure, seeds_text
from ecg_transfer.study.arrangement import DOWNSTREAMS, UPSTREAMS, corpus_name, in_order
from ecg_transfer.study.effects import CellEffect

Panel = tuple[str, str]
"""Upstream and downstream."""

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
    is_wide: bool = False
    """Whether it is wider than a phone can show: such a figure is scrolled, not shrunk."""


def panel_grid(
    present: Collection[Panel], *, width: float, height: float, title: str, simulated: bool, legend_rows: int = 1
) -> tuple[Figure, dict[Panel, Axes]]:
    """A figure with a panel for each pair of corpora: rows are upstreams, columns downstreams, as in the paper.

    Where most of that grid would be empty the panels follow each other instead.

    Args:
        present: Pairs with something to show.
        width: Inches a panel.
        height: Inches a panel.
        title: Of the figure.
        simulated: Whether any ECGs are.
        legend_rows: Lines kept free at the bottom.
    """
    rows = in_order({upstream for upstream, _ in present}, UPSTREAMS)
    columns = in_order({downstream for _, downstream in present}, DOWNSTREAMS)
    possible = sum(row != column for row in rows for column in columns)
    panels: list[Panel | None] = [(row, column) for row in rows for column in columns]
    num_columns = len(columns)
    if len(present) <= SPARSE * possible and possible > 3:
        panels = [panel for panel in panels if panel in present]
        num_columns = min(3, len(panels))
        panels += [None] * (-len(panels) % num_columns)
    num_rows = len(panels) // num_columns
    extra = 0.75 + 0.25 * legend_rows + (0.3 if simulated else 0)
    figure = new_figure(max(width * num_columns, 5.0), height * num_rows + extra, title=title, simulated=simulated)
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    named = {panel: axis for panel, axis in zip(panels, axes.flat, strict=True) if panel in present}
    for panel, axis in zip(panels, axes.flat, strict=True):
        if panel is not None and panel in present:
            axis.set_title(f"{corpus_name(panel[0])} → {corpus_name(panel[1])}")
        else:
            _leave_empty(axis, panel)
    return figure, named


def bottom_left(axes: dict[Panel, Axes]) -> Iterator[tuple[Axes, bool, bool]]:
    """Each panel, whether no panel lies below it, and whether it is the first of its row."""
    used = list(axes.values())
    spans = [axis.get_subplotspec() for axis in used]
    cells = {(spec.rowspan.start, spec.colspan.start) for spec in spans if spec is not None}
    for axis, spec in zip(used, spans, strict=True):
        assert spec is not None
        row, column = spec.rowspan.start, spec.colspan.start
        yield axis, not any(r > row and c == column for r, c in cells), not any(
            r == row and c < column for r, c in cells
        )


def seeds_of(effects: Collection[CellEffect]) -> str:
    """`6 seeds`, over some comparisons."""
    return seeds_text([effect.effect.num_seeds for effect in effects])


def error_bar(axis: Axes, at: tuple[float, float], limits: tuple[float, float], *, vertical: bool, colour: str) -> None:
    """An interval as a plain line; nothing where there is none."""
    if not np.isfinite(limits).all():
        return
    x, y = at
    if vertical:
        axis.vlines(x, *limits, color=colour, linewidth=1.2, zorder=3)
    else:
        axis.hlines(y, *limits, color=colour, linewidth=1.2, zorder=3)


def _leave_empty(axis: Axes, panel: Panel | None) -> None:
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
    if panel is None:
        return
    why = "same corpus" if panel[0] == panel[1] else f"{corpus_name(panel[0])} → {corpus_name(panel[1])}\nnot run"
    axis.text(0.5, 0.5, why, transform=axis.transAxes, ha="center", va="center", alpha=0.55, fontsize=8.5)
