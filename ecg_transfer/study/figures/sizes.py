"""Figure 3 and learning curves: the improvement, and both arms' scores, against the number of training records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter
from numpy.typing import ArrayLike

from ecg_transfer.drawing import ARM_COLOURS, INK, PALETTE, new_figure
from ecg_transfer.study.arrangement import RESNETS, Setting, backbone_name, corpus_name, metric_name
from ecg_transfer.study.effects import CellEffect
from ecg_transfer.study.figures.bars import MARKERS
from ecg_transfer.study.figures.dots import arm_handles
from ecg_transfer.study.figures.exhibit import Exhibit, clipped, error_bar, seeds_of
from ecg_transfer.study.learning_curve import LearningCurve

MAX_PANELS = 12
"""Learning curves that are drawn; the table of effects has them all."""

LABEL_SHARE = 0.2
"""Of the width of a size axis, that a number takes."""


def improvement_by_size(setting: Setting, curves: Sequence[LearningCurve], metric: str) -> Exhibit | None:
    """Draw Figure 3: a panel a pair of corpora, a line a ResNet; without a sweep, a point a downstream corpus.

    Args:
        setting: What to show.
        curves: Its learning curves.
        metric: Its score's name.
    """
    resnets = [curve for curve in curves if curve.points[0].cell.backbone in RESNETS]
    panels: dict[str, list[Sequence[CellEffect]]] = defaultdict(list)
    for curve in resnets or curves:
        cell = curve.points[0].cell
        panels[f"{corpus_name(cell.upstream)} → {corpus_name(cell.downstream_name)}"].append(curve.points)
    is_sweep = bool(panels)
    if not is_sweep:
        panels = _across_corpora(setting)
    sizes = {effect.cell.num_train for lines in panels.values() for line in lines for effect in line}
    if len(sizes) < 2:
        return None
    backbones = [
        name for name in setting.backbones if any(name == line[0].cell.backbone for p in panels.values() for line in p)
    ]
    figure, axes = _row_of_panels(list(panels), "Improvement by downstream size", setting.simulated)
    for name, axis in axes.items():
        for points in panels[name]:
            place = backbones.index(points[0].cell.backbone)
            _draw_improvement(axis, points, place, len(backbones), joined=is_sweep)
        axis.axhline(0, color=INK, linewidth=0.8)
        _size_axis(axis, [point.cell.num_train for points in panels[name] for point in points])
    next(iter(axes.values())).set_ylabel(f"fine-tuned − scratch,\ntest {metric_name(metric)}")
    handles = [
        Line2D([], [], color=PALETTE[k % len(PALETTE)], marker=MARKERS[k % len(MARKERS)], markersize=4.5,
               linestyle="-" if is_sweep else "", label=backbone_name(name))
        for k, name in enumerate(backbones)
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 3))
    shown = [effect for lines in panels.values() for line in lines for effect in line]
    what = "subsets of one downstream corpus" if is_sweep else "whole downstream corpora (no sweep of subsets was run)"
    return Exhibit(
        slug="figure-3-size",
        title="Figure 3",
        caption=f"Gain of fine-tuning in test {metric_name(metric)} against the number of training records, over "
        f"{what}; lines are 95 % intervals over test patients and seeds. {seeds_of(shown)} a point.",
        alt="; ".join(
            f"{backbone_name(line[0].cell.backbone)}, {name}: "
            + ", ".join(f"{effect.effect.estimate:+.3f} at {effect.cell.num_train}" for effect in line)
            for name, lines in panels.items()
            for line in lines
        ),
        figure=figure,
    )


def learning_curve_figure(setting: Setting, curves: Sequence[LearningCurve], metric: str) -> Exhibit | None:
    """Draw both arms' scores against size, a panel a learning curve, with power laws where there are enough sizes.

    Args:
        setting: What to show.
        curves: Its learning curves.
        metric: Its score's name.
    """
    shown = curves[:MAX_PANELS]
    if not shown:
        return None
    names = [
        f"{corpus_name(cell.upstream)} → {corpus_name(cell.downstream_name)}\n{backbone_name(cell.backbone)}"
        for cell in (curve.points[0].cell for curve in shown)
    ]
    figure, axes = _row_of_panels(
        [f"{number}" for number in range(len(shown))], "Learning curves", setting.simulated, titles=names
    )
    for axis, curve in zip(axes.values(), shown, strict=True):
        _draw_learning_curve(axis, curve)
    next(iter(axes.values())).set_ylabel(f"test {metric_name(metric)}")
    figure.legend(handles=arm_handles(("o", "s")), loc="outside lower center", ncols=2)
    hidden = f" {len(curves) - len(shown)} more are in the table of effects." if len(curves) > len(shown) else ""
    return Exhibit(
        slug="figure-8-learning-curves",
        title="Learning curves",
        caption=f"Test {metric_name(metric)} against the number of training records: points with 95 % intervals over "
        "test patients and seeds; dashed lines are power laws fitted to them, with their 95 % bands, "
        "where there are at least four sizes. "
        f"{seeds_of([point for curve in shown for point in curve.points])} a point.{hidden}",
        alt=f"{len(shown)} learning curves; their values stand in the table of effects.",
        figure=figure,
    )


def _across_corpora(setting: Setting) -> dict[str, list[Sequence[CellEffect]]]:
    """Each upstream's improvements over its downstream corpora, a line a model."""
    wanted = [name for name in setting.backbones if name in RESNETS] or setting.backbones
    panels: dict[str, list[Sequence[CellEffect]]] = defaultdict(list)
    for upstream in setting.upstreams:
        for backbone in wanted:
            members = [setting.places.get((upstream, downstream, backbone)) for downstream in setting.downstreams]
            line = sorted((effect for effect in members if effect), key=lambda effect: effect.cell.num_train)
            if line:
                panels[f"from {corpus_name(upstream)}"].append(line)
    return panels


def _draw_improvement(axis: Axes, points: Sequence[CellEffect], place: int, num_models: int, *, joined: bool) -> None:
    sizes = np.array([point.cell.num_train for point in points]) * 1.03 ** (place - (num_models - 1) / 2)
    colour, marker = PALETTE[place % len(PALETTE)], MARKERS[place % len(MARKERS)]
    for size, point in zip(sizes, points, strict=True):
        limits = (point.effect.low, point.effect.high)
        error_bar(axis, (size, point.effect.estimate), limits, vertical=True, colour=colour)
    estimates = [point.effect.estimate for point in points]
    axis.plot(sizes, estimates, color=colour, marker=marker, markersize=4.5, linestyle="-" if joined else "", zorder=4)


def _draw_learning_curve(axis: Axes, curve: LearningCurve) -> None:
    for arm, marker, shift in (("finetune", "o", 0.985), ("scratch", "s", 1.015)):
        colour = ARM_COLOURS[arm]
        fit = curve.fit(arm) if (curve.scores(arm) < 1).all() else None  # no power law reaches an error of 0
        if fit is not None:
            dense = np.geomspace(curve.sizes[0], curve.sizes[-1], 40)
            band = curve.fit_band(arm, dense)
            axis.plot(dense, fit.score(dense), color=colour, linestyle="--", linewidth=1, alpha=0.7)
            axis.fill_between(dense, band[:, 0], band[:, 1], color=colour, alpha=0.12, linewidth=0)
        scores = curve.scores(arm)
        axis.plot(curve.sizes * shift, scores, color=colour, marker=marker, markersize=4, linestyle="" if fit else "-")
        if any(np.isfinite(point.effect.low) for point in curve.points):
            for size, score, limits in zip(curve.sizes * shift, scores, curve.bands(arm), strict=True):
                error_bar(axis, (size, score), clipped((limits[0], limits[1])), vertical=True, colour=colour)
    _size_axis(axis, curve.sizes)


def _row_of_panels(
    names: Sequence[str], title: str, simulated: bool, titles: Sequence[str] | None = None
) -> tuple[Figure, dict[str, Axes]]:
    num_columns = min(len(names), 3)
    num_rows = -(-len(names) // num_columns)
    figure = new_figure(
        max(5.0, 2.9 * num_columns), 2.5 * num_rows + 1.1 + 0.3 * simulated, title=title, simulated=simulated
    )
    axes = figure.subplots(num_rows, num_columns, squeeze=False, sharey=True)
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, heading in zip(axes.flat, titles or names, strict=False):
        axis.set_title(heading)
        axis.set_xlabel("training records")
    return figure, dict(zip(names, axes.flat, strict=False))


def _size_axis(axis: Axes, sizes: ArrayLike) -> None:
    """A logarithmic axis with a tick at each measured size, and its number where there is room for it."""
    measured = np.unique(np.asarray(sizes, dtype=np.float64))
    room = (measured[-1] / measured[0]) ** LABEL_SHARE
    named = [float(measured[-1])]
    for size in measured[-2::-1]:
        if named[-1] / size >= room:
            named.append(float(size))
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(named))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axis.xaxis.set_minor_locator(FixedLocator(measured.tolist()))
    axis.xaxis.set_minor_formatter(NullFormatter())
