"""ECGs on ECG paper: 25 mm/s, 10 mm/mV, drawn to scale without pyplot's global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from data_modules.corpus import LEAD_NAMES
from data_modules.masked import without_mask
from data_modules.quality import MAX_MILLIVOLTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MM_PER_SECOND = 25.0
MM_PER_MV = 10.0
MM_PER_INCH = 25.4
MARGIN_MM = 5.0
"""Paper on each side of the tracing."""
PULSE_MM = 10.0
"""Room left of each row for the calibration pulse: 1 mV, 0.2 s."""
HEADING_MM = 6.0
"""Height of a line above the paper."""
CHARACTER_MM = 2.1
"""Width of a character of that line, of the wider ones."""
SCALE = "25 mm/s, 10 mm/mV"
"""Printed below the tracing, as recorders do."""
ROW_MM = {"3x4": 27.0, "12x1": 20.0}
"""Distance between two rows' baselines."""
COLUMNS = (("I", "II", "III"), ("aVR", "aVL", "aVF"), ("V1", "V2", "V3"), ("V4", "V5", "V6"))

TYPICAL_LEADS = {
    "NORM": ("II", "V1", "V5"),
    "AF": ("II", "V1"),
    "AFLT": ("II", "aVF"),
    "SB": ("II", "V5"),
    "STACH": ("II", "V5"),
    "SARRH": ("II", "V5"),
    "IAVB": ("II", "V1"),
    "WPW": ("I", "V4"),
    "PAC": ("II", "V1"),
    "PVC": ("II", "V1"),
    "PACE": ("II", "V1"),
    "LBBB": ("I", "V1", "V6"),
    "RBBB": ("I", "V1", "V6"),
    "IRBBB": ("V1", "V6"),
    "LAD": ("I", "aVF"),
    "LAFB": ("aVL", "III"),
    "STD": ("II", "V5"),
    "STE": ("III", "V2", "V3"),
    "TINV": ("II", "aVF", "V5"),
    "TAB": ("II", "V5"),
    "LQT": ("II", "V5"),
    "AMI": ("V2", "V3"),
    "AMI_ACUTE": ("V2", "V3"),
    "IMI": ("III", "aVF"),
    "IMI_ACUTE": ("III", "aVL"),
    "LMI": ("I", "V6"),
    "LVH": ("V1", "V5"),
    "RVH": ("V1", "V6"),
    "LVOLT": ("II", "V5"),
    "LAE": ("II", "V1"),
}
"""Simulated condition -> the leads that show it, for `plot_conditions`."""


def plot_ecg(
    signal: ArrayLike,
    sampling_rate: float,
    *,
    title: str | None = None,
    findings: Mapping[str, float] | str | Sequence[str] | None = None,
    layout: Literal["3x4", "12x1"] = "3x4",
    ax: Axes | None = None,
) -> Figure:
    """Draw twelve leads as a cardiologist is used to see them.

    Args:
        signal: Millivolts, (12, samples), leads in the order of `LEAD_NAMES`; NaN becomes a gap.
        sampling_rate: Hertz.
        title: Printed above.
        findings: A name, names, or names with probabilities, printed below the title in as many lines as they need;
            the most probable first.
        layout: `3x4` shows a quarter of the time of each lead and lead II below in full; `12x1` all of each lead.
        ax: Where to draw. A new figure in true size by default; on a given one only the aspect is true.

    Returns:
        The figure: `.savefig(path)` writes it, a notebook shows it.

    Raises:
        ValueError: Not twelve leads, an empty signal, no millivolts, no rate, or an unknown layout.
    """
    array = without_mask(signal).astype(float, copy=False)
    if array.ndim != 2 or len(array) != len(LEAD_NAMES) or not array.shape[1]:
        raise ValueError(f"signal has shape {array.shape}, expected (12, samples)")
    if not 0 < sampling_rate < np.inf:
        raise ValueError(f"sampling_rate is {sampling_rate:g}, expected hertz above 0")
    if np.isinf(array).any():
        raise ValueError("signal holds infinite values; put NaN where a sample is missing")
    if (highest := float(np.nanmax(np.abs(array), initial=0.0))) > MAX_MILLIVOLTS:
        raise ValueError(f"signal holds {highest:.3g} mV, no ECG more than {MAX_MILLIVOLTS:g}: is it in millivolts?")
    if layout not in ROW_MM:
        raise ValueError(f"unknown layout {layout!r}; choose one of: {', '.join(ROW_MM)}")
    width = 2 * MARGIN_MM + PULSE_MM + array.shape[1] / sampling_rate * MM_PER_SECOND
    heading = [*([title] if title else []), *findings_lines(findings, int((width - 2 * MARGIN_MM) / CHARACTER_MM))]
    rows = rows_of(layout)
    above, below = overshoot(array, rows, ROW_MM[layout])
    height = 2 * MARGIN_MM + len(rows) * ROW_MM[layout] + above + below
    axes = ax if ax is not None else paper_axes(width, height, heading_mm=HEADING_MM * len(heading))
    draw_paper(axes, width, height)
    # names of files and labels are no formulas: two $ would make one of what stands between them, or end the drawing
    axes.set_title("\n".join(heading), loc="left", x=MARGIN_MM / width, fontsize=9, parse_math=False)
    for row, leads in enumerate(rows):
        baseline = height - MARGIN_MM - above - (row + 0.5) * ROW_MM[layout]
        draw_row(axes, array, sampling_rate, leads, baseline)
    axes.text(MARGIN_MM, 1.2, SCALE, fontsize=7, va="bottom")
    figure = axes.get_figure(root=True)
    if figure is None:
        raise ValueError("the axes given belong to no figure: make them with Figure.add_subplot")
    return figure


def rows_of(layout: str) -> tuple[tuple[str, ...], ...]:
    """The leads of each row from top to bottom; several leads in one row share its time."""
    if layout == "12x1":
        return tuple((name,) for name in LEAD_NAMES)
    return (*zip(*COLUMNS, strict=True), ("II",))


def overshoot(signal: NDArray[np.float64], rows: Sequence[Sequence[str]], row_mm: float) -> tuple[float, float]:
    """Paper to add above the first and below the last row so that no wave leaves it, in whole 5 mm squares."""
    top = MM_PER_MV * np.nanmax(signal[[LEAD_NAMES.index(lead) for lead in rows[0]]], initial=0.0) - row_mm / 2
    bottom = -MM_PER_MV * np.nanmin(signal[[LEAD_NAMES.index(lead) for lead in rows[-1]]], initial=0.0) - row_mm / 2
    return 5.0 * max(0.0, np.ceil(top / 5.0)), 5.0 * max(0.0, np.ceil(bottom / 5.0))


def findings_lines(findings: Mapping[str, float] | str | Sequence[str] | None, width: int) -> list[str]:
    """Findings as lines of text of at most `width` characters, the most probable first; one is never broken."""
    items = getattr(findings, "items", None)  # a pandas Series is no Mapping, and has them
    if items is not None:
        ordered = sorted(items(), key=lambda item: (-item[1], item[0]))
        entries = [f"{name} {probability:.2f}" for name, probability in ordered]
    else:
        entries = [findings] if isinstance(findings, str) else [] if findings is None else [*map(str, findings)]
    lines: list[str] = []
    for entry in entries:
        if lines and len(lines[-1]) + 3 + len(entry) <= width:
            lines[-1] += f"   {entry}"
        else:
            lines.append(entry)
    return lines


def paper_axes(width: float, height: float, *, heading_mm: float = 0.0) -> Axes:
    """Axes of a new figure in which one unit is one millimetre on paper."""
    from data_modules.figure import ShownFigure

    figure = ShownFigure(figsize=(width / MM_PER_INCH, (height + heading_mm) / MM_PER_INCH), dpi=120)
    return figure.add_axes((0.0, 0.0, 1.0, height / (height + heading_mm)))


def draw_paper(ax: Axes, width: float, height: float) -> None:
    """Lines each millimetre, heavier ones each five; axes in millimetres with true aspect."""
    for step, colour, weight in ((1.0, "#f8dcdc", 0.35), (5.0, "#eeaaaa", 0.6)):
        ax.vlines(np.arange(0, width + 1e-6, step), 0, height, colors=colour, linewidths=weight, zorder=0)
        ax.hlines(np.arange(0, height + 1e-6, step), 0, width, colors=colour, linewidths=weight, zorder=0)
    ax.set(xlim=(0, width), ylim=(0, height), aspect="equal", xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_row(
    ax: Axes, signal: NDArray[np.float64], sampling_rate: float, leads: Sequence[str], baseline: float
) -> None:
    """One row: the calibration pulse, then each lead for its share of the time, at its own time."""
    left = MARGIN_MM + PULSE_MM
    pulse = np.array([[0, 0], [1.5, 0], [1.5, 10], [6.5, 10], [6.5, 0], [8, 0]])
    ax.plot(MARGIN_MM + pulse[:, 0], baseline + pulse[:, 1], color="black", linewidth=0.7)
    bounds = np.linspace(0, signal.shape[1], len(leads) + 1).round().astype(int)
    for lead, start, stop in zip(leads, bounds[:-1], bounds[1:], strict=True):
        x = left + np.arange(start, stop) / sampling_rate * MM_PER_SECOND
        y = baseline + MM_PER_MV * signal[LEAD_NAMES.index(lead), start:stop]
        ax.plot(x, y, color="black", linewidth=0.7, solid_joinstyle="round")
        edge = left + start / sampling_rate * MM_PER_SECOND
        if start:
            ax.vlines(edge, baseline - 4, baseline + 4, colors="black", linewidths=0.5)
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
        ax.text(edge + 1, baseline + 7, lead, fontsize=8, va="bottom", fontweight="bold", bbox=behind, zorder=5)


def plot_conditions(
    path: Path,
    *,
    conditions: Sequence[str] = tuple(TYPICAL_LEADS),
    seed: int = 334,
    seconds: float = 3.6,
    num_columns: int = 5,
    dpi: int = 85,
) -> Path:
    """Draw one simulated ECG for each condition, in the leads that show it, as one page.

    Args:
        path: Where to write the page (PNG, PDF or SVG by its ending).
        conditions: Names out of `data_modules.simulation.CONDITIONS`; others than `TYPICAL_LEADS` show II, V1, V5.
        seed: Which person; the same for all. The default one has an ordinary axis and voltage.
        seconds: Shown of each ECG.
        num_columns: Panels side by side.
        dpi: Resolution of a PNG.

    Returns:
        The path.
    """
    from matplotlib.figure import Figure

    from data_modules.simulation import CONDITIONS

    width, height = 2.0 + seconds * MM_PER_SECOND, 66.0
    num_rows = -(-len(conditions) // num_columns)
    figure = Figure(figsize=(num_columns * (width + 4) / MM_PER_INCH, num_rows * (height + 9) / MM_PER_INCH), dpi=dpi)
    for index, name in enumerate(conditions):
        ax = figure.add_subplot(num_rows, num_columns, index + 1)
        draw_paper(ax, width, height)
        ax.set_title(f"{name}: {CONDITIONS[name].description}", fontsize=7, loc="left", pad=2)
        draw_leads(ax, one_condition(name, seed), TYPICAL_LEADS.get(name, ("II", "V1", "V5")), seconds, height)
    figure.subplots_adjust(left=0.005, right=0.995, bottom=0.005, top=0.985, wspace=0.03, hspace=0.12)
    figure.savefig(path)
    return path


def one_condition(name: str, seed: int) -> NDArray[np.float64]:
    """Ten seconds at 500 Hz of an otherwise healthy person with one condition, little noise: mV, (12, 5000)."""
    from data_modules.simulation.noise import NoiseLevel
    from data_modules.simulation.person import draw_person
    from data_modules.simulation.recording import simulate_recording

    rng = np.random.default_rng(seed)
    recording = simulate_recording(draw_person(seed), [name], rng, noise=NoiseLevel().scaled(0.25))
    return recording.leads.astype(np.float64)


def draw_leads(
    ax: Axes, signal: NDArray[np.float64], leads: Sequence[str], seconds: float, height: float, rate: int = 500
) -> None:
    """A few leads below each other, all over the same time, from the third second on."""
    start = 3 * rate
    for row, lead in enumerate(leads):
        wave = signal[LEAD_NAMES.index(lead), start : start + int(seconds * rate)]
        baseline = height * (1 - (row + 0.55) / len(leads))
        x = 1.0 + np.arange(len(wave)) / rate * MM_PER_SECOND
        ax.plot(x, baseline + MM_PER_MV * (wave - np.median(wave)), color="black", linewidth=0.7)
        ax.text(1.5, baseline + 5, lead, fontsize=7, fontweight="bold")
