"""How figures look, and how a picture is written so that the same runs give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from ecg_transfer.files import write_atomically

Floats = NDArray[np.float64]

ARM_COLOURS = {"finetune": "#d55e00", "scratch": "#0072b2"}
"""Vermilion and blue of Okabe and Ito, told apart by readers of every colour vision, on white and on black."""

ARM_NAMES = {"finetune": "fine-tuned", "scratch": "from scratch"}
"""What the arms are called in legends."""

PALETTE = ("#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f", "#b09c00")
"""Okabe and Ito's other colours, for what is no arm."""

INK = "#1f2329"
"""Of text and axes; a page may put its own colour in its place."""

SIMULATED = "SIMULATED ECGs"
"""What every picture of simulated ECGs says."""

STYLE = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "figure.titlesize": 11.0,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#8c959f",
    "grid.alpha": 0.28,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "axes.unicode_minus": True,
    "svg.fonttype": "path",
    "svg.hashsalt": "ecg-transfer",
}
"""Matplotlib settings of every figure. Glyphs are drawn as paths, so that a picture looks the same everywhere."""


def distinct_colours(number: int) -> list[str]:
    """So many colours, all different: `PALETTE`, or where that ends equal steps through matplotlib's `turbo`."""
    if number <= len(PALETTE):
        return list(PALETTE[:number])
    return [to_hex(colour) for colour in colormaps["turbo"](np.linspace(0.05, 0.95, number))]


@contextmanager
def style() -> Iterator[None]:
    """Draw and write figures within this, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)  # type: ignore[arg-type]  # its stubs list every key as a literal
        yield


def new_figure(width: float, height: float, *, title: str = "", simulated: bool = False) -> Figure:
    """An empty figure with a title; one of simulated ECGs says so in the title and across itself.

    Args:
        width: Inches.
        height: Inches.
        title: Above the panels.
        simulated: Whether any ECGs behind it are.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    heading = "\n".join(part for part in (SIMULATED if simulated else "", title) if part)
    if heading:
        figure.suptitle(heading, fontweight="bold", linespacing=1.5)
    if simulated:
        size = min(8.0 * width, 60.0)
        figure.text(0.5, 0.45, "SIMULATED", fontsize=size, rotation=18, alpha=0.10, ha="center", va="center", zorder=9)
    return figure


def mean_band(values: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """The mean over seeds at each point, and its 95 % t interval; NaN limits with a single seed.

    Args:
        values: (S, P).

    Returns:
        Mean, lower and upper limits, (P,) each.
    """
    table = np.asarray(values, dtype=np.float64)
    mean = table.mean(axis=0)
    if len(table) < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    reach = stats.t.ppf(0.975, len(table) - 1) * table.std(axis=0, ddof=1) / np.sqrt(len(table))
    return mean, mean - reach, mean + reach


def whole_epochs(axis: Axes) -> None:
    """Put the ticks of an axis of epochs at whole ones alone, also where there is a single one."""
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def draw_arm(axis: Axes, curves: Sequence[Floats], arm: str, *, label: str | None = None, linestyle: str = "-") -> None:
    """Draw an arm's score over epochs: the mean of its seeds in its 95 % band, at the epochs that all of them have.

    Ticks stand at whole epochs alone.

    Args:
        axis: Where.
        curves: One array a seed, (2, E): epochs, from 1 and rising, and their scores.
        arm: `finetune` or `scratch`.
        label: In the legend.
        linestyle: Tells models apart that share a panel.
    """
    whole_epochs(axis)
    epochs = reduce(np.intersect1d, [curve[0] for curve in curves])
    mean, low, high = mean_band([curve[1, np.isin(curve[0], epochs)] for curve in curves])
    marker = "o" if len(epochs) == 1 else None
    axis.plot(epochs, mean, color=ARM_COLOURS[arm], label=label, linestyle=linestyle, marker=marker)
    if len(curves) > 1:
        axis.fill_between(epochs, low, high, color=ARM_COLOURS[arm], alpha=0.18, linewidth=0)


def seeds_text(counts: Sequence[int]) -> str:
    """`6 seeds`, `1 seed` or `2-6 seeds`."""
    few, many = min(counts, default=0), max(counts, default=0)
    return f"{few}–{many} seeds" if few != many else f"{many} seed{'s' * (many != 1)}"


def picture(figure: Figure, kind: str) -> bytes:
    """The figure as `png` or `svg`; equal figures give equal bytes. Call within `style`.

    Its panels are laid out once, by the first picture: most of the time goes there.
    """
    if figure.get_layout_engine() is not None:
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    stream = io.BytesIO()
    if kind == "svg":
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    else:
        figure.savefig(stream, format=kind, dpi=160, facecolor="white")
    return stream.getvalue()


def write_picture(figure: Figure, path: Path) -> None:
    """Write a figure; the suffix decides the format. Call within `style`."""
    with write_atomically(path) as stream:
        stream.write(picture(figure, path.suffix.lstrip(".") or "png"))
