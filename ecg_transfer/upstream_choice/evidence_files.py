"""What `ecg-transfer transferability --evidence` leaves: two tables, a figure, and what they say in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ecg_transfer.drawing import INK, distinct_colours, new_figure, style, write_picture
from ecg_transfer.runs import Run
from ecg_transfer.study.results import write_results
from ecg_transfer.upstream_choice.evidence import MIN_CELLS, MIN_MODELS, SCOPES, correlations, evidence_table
from ecg_transfer.upstream_choice.scores import MEASURES

CELLS, CORRELATIONS = "transferability.csv", "transferability_correlations.csv"
MARKERS = "osD^vP*X<>hd"


def write_evidence(
    runs: Iterable[Run],
    folder: Path,
    *,
    output: Path,
    metric: str = "f1_weighted",
    trust: bool = False,
    report: Callable[[str], None] = lambda sentence: None,
) -> list[str]:
    """Write the cells, their correlations and the scatter figures of every setting with enough cells.

    Real and simulated ECGs, recipes, budgets and ways are never pooled: each combination is a setting of its own.

    Args:
        runs: See `evidence_table`.
        folder: Where; `transferability.csv`, `transferability_correlations.csv`, `transferability[-N].png`.
        output: Where the runs live.
        metric: Of gain and probes.
        trust: Whether to run the code of a model's own backbone.
        report: Is told what is being done.

    Returns:
        Lines for a terminal.
    """
    table = evidence_table(runs, output=output, metric=metric, trust=trust, report=report)
    if table.empty:
        pair = "a finished fine-tuning and its training from scratch, the upstream still there"
        return [f"no pair of {pair}, in {output}: nothing to correlate"]
    groups = [group for _, group in table.groupby(["simulated", "setting", "way"], sort=True)]
    groups.sort(key=lambda group: (bool(group["simulated"].iloc[0]), -len(group)))
    found, lines = [], []
    for number, group in enumerate(groups):
        result = correlations(group).assign(**{name: group[name].iloc[0] for name in ("simulated", "setting", "way")})
        found.append(result)
        lines += sentences(group, result)
        if len(group) >= MIN_CELLS:
            path = folder / f"transferability{f'-{number + 1}' if number else ''}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with style():
                write_picture(scatter(group, result, metric), path)
            lines.append(f"figure: {path}")
    write_results(table.drop(columns="upstream_cell"), folder / CELLS)
    write_results(pd.concat(found, ignore_index=True), folder / CORRELATIONS)
    return [*lines, f"tables: {folder / CELLS}, {folder / CORRELATIONS}"]


def sentences(group: pd.DataFrame, result: pd.DataFrame) -> list[str]:
    """What the correlations of one setting say."""
    first = group.iloc[0]
    kind = "SIMULATED" if first["simulated"] else "real"
    lines = [
        f"{first['recipe']} recipe, lr {first['lr']:g}, {first['way']} fine-tuning, {kind} ECGs: {len(group)} cells"
    ]
    if len(group) < MIN_CELLS:
        return [f"{lines[0]}: too few to tell how the scores go with the gain (at least {MIN_CELLS})"]
    for scope in SCOPES:
        lines.append(f"  rank correlation with the measured gain, {scope} (above 0 the score helps):")
        for name, measure in MEASURES.items():
            tau, rho, note = _told(result, name, scope)
            known = int(result.loc[result["measure"] == name, "num_cells"].iloc[0])
            over = f"   over the {known} cells that have it" if known < len(group) and not note else ""
            lines.append(f"    {measure.title:8} {note or f'tau_w {tau}   Spearman {rho}'}{over}")
    num_models = int(result["num_models"].max())
    if num_models < MIN_MODELS:
        lines.append(f"  only {num_models} pre-trained models: this tells of them, not of models in general")
    return lines


def _told(result: pd.DataFrame, measure: str, scope: str) -> tuple[str, str, str]:
    """Weighted tau and Spearman's rho with their intervals, if there are any; and why there are no numbers at all."""
    rows = result[(result["measure"] == measure) & (result["scope"] == scope)].to_dict("records")
    texts = {}
    for row in rows:
        limits = f" [{row['low']:+.2f}, {row['high']:+.2f}]" if np.isfinite(row["low"]) else ""
        texts[row["statistic"]] = f"{row['estimate']:+.2f}{limits}"
    return texts["tau_w"], texts["rho"], "" if np.isfinite(rows[0]["estimate"]) else str(rows[0]["note"])


def scatter(group: pd.DataFrame, result: pd.DataFrame, metric: str) -> Figure:
    """A panel a measure: measured gain against the score; colours are upstreams, shapes backbones, sizes records."""
    simulated = bool(group["simulated"].iloc[0])
    title = f"Does it tell the gain beforehand? {len(group)} cells, {group['recipe'].iloc[0]}"
    figure = new_figure(10.5, 6.8, title=title, simulated=simulated)
    axes = figure.subplots(2, 3, sharey=True)
    colours = _by_value(group["upstream"], distinct_colours(group["upstream"].nunique()))
    markers = _by_value(group["backbone"], MARKERS)
    area = _areas(group["num_train"].to_numpy(np.float64))
    for axis, (name, measure) in zip(axes.flat, MEASURES.items(), strict=True):
        for (_, row), size in zip(group.iterrows(), area, strict=True):
            reach = [[max(row["gain"] - row["low"], 0)], [max(row["high"] - row["gain"], 0)]]
            colour = colours[row["upstream"]]
            if np.isfinite(reach).all():
                axis.errorbar(row[name], row["gain"], yerr=reach, color=colour, alpha=0.3, linewidth=0.8, fmt="none")
            axis.scatter(row[name], row["gain"], s=size, color=colour, marker=markers[row["backbone"]], linewidths=0)
        axis.xaxis.set_major_locator(MaxNLocator(5))
        axis.axhline(0, color=INK, linewidth=0.7)
        hint = " (lower promises more)" if measure.sign < 0 else ""
        axis.set_xlabel({"size": "training records of the upstream"}.get(name, measure.title) + hint)
        tau, _, note = _told(result, name, SCOPES[0])
        axis.set_title("cannot be told" if note else f"tau_w {tau}")
    for axis in axes[:, 0]:
        axis.set_ylabel(f"gain in test {metric.replace('_', ' ')}")
    handles = [axes[0, 0].scatter([], [], color=colour, label=name) for name, colour in colours.items()]
    handles += [axes[0, 0].scatter([], [], color=INK, marker=m, label=name) for name, m in markers.items()]
    few, many = int(group["num_train"].min()), int(group["num_train"].max())
    sizes = f"{few:,}" if few == many else f"{few:,} (small marks) to {many:,} (large)"
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=6,
        title=f"{sizes} downstream training records; tau_w: weighted Kendall rank correlation",
    )
    return figure


def _by_value(column: pd.Series, looks: Sequence[str]) -> dict[str, str]:
    return {str(value): looks[number % len(looks)] for number, value in enumerate(sorted(column.unique()))}


def _areas(sizes: NDArray[np.float64]) -> list[float]:
    """Areas of marks, from the logarithm of the sizes."""
    logs = np.log(sizes)
    share = (logs - logs.min()) / max(float(np.ptp(logs)), 1e-9)
    return [float(area) for area in 28 + 60 * share]
