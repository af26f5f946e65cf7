"""Figure 1: fine-tuning against training from scratch, a bar for the mean of the models, a symbol a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ecg_transfer.drawing import ARM_COLOURS, ARM_NAMES, INK, new_figure
from ecg_transfer.study.arrangement import Setting, backbone_name, corpus_name, is_same_corpus, metric_name, size_text
from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.effects import ARMS, CellEffect
from ecg_transfer.study.figures.exhibit import Exhibit, clipped, error_bar, seeds_of, several

MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*", "<", ">")
"""One a model, in their order; a study with more models repeats them."""

BAR = 0.38
"""Width of a bar; a group is 1 wide."""


def bar_chart(setting: Setting, metric: str) -> Exhibit | None:
    """Draw Figure 1, a panel for each upstream.

    Args:
        setting: What to show.
        metric: Its score's name.
    """
    upstreams, backbones = setting.upstreams, setting.backbones
    if not upstreams:
        return None
    placed = setting.placed(backbones)
    markers = {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(backbones)}
    groups = {
        upstream: [name for name in setting.downstreams if not is_same_corpus(upstream, name)] for upstream in upstreams
    }
    width = max(5.0, 1.1 + sum(0.9 * len(names) + 0.35 for names in groups.values()))
    figure = new_figure(
        width,
        3.9 + 0.3 * setting.simulated,
        title="Test score by downstream corpus, mean of the models",
        simulated=setting.simulated,
    )
    axes = figure.subplots(
        1, len(upstreams), sharey=True, squeeze=False, width_ratios=[len(groups[name]) for name in upstreams]
    )[0]
    for axis, upstream in zip(axes, upstreams, strict=True):
        for x, downstream in enumerate(groups[upstream]):
            _draw_group(axis, x, placed.get((upstream, downstream), []), markers)
        _label_groups(axis, groups[upstream], [placed.get((upstream, name), []) for name in groups[upstream]])
        axis.set_title(f"from {corpus_name(upstream)}", fontweight="bold")
        axis.set_ylim(0, 1)
        axis.grid(visible=False, axis="x")
    axes[0].set_ylabel(f"test {metric_name(metric)}")
    handles: list[Patch | Line2D] = [Patch(color=ARM_COLOURS[arm], alpha=0.55, label=ARM_NAMES[arm]) for arm in ARMS]
    handles += [
        Line2D([], [], marker=markers[name], color=INK, linestyle="", markersize=4.5, label=backbone_name(name))
        for name in backbones
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), max(3, int(width / 1.15))))
    return Exhibit(
        slug="figure-1-bars",
        title="Figure 1",
        caption=f"Mean test {metric_name(metric)} of the models after fine-tuning and after training from scratch, for "
        "each upstream and downstream corpus. A symbol is one model's mean over its seeds; the line on a bar is the "
        f"95 % interval of the bar over test patients and seeds. {_counted(setting)}",
        alt=_alt(setting, placed),
        figure=figure,
    )


def _draw_group(axis: Axes, x: float, effects: Sequence[CellEffect], markers: dict[str, str]) -> None:
    if not effects:
        axis.text(x, 0.02, "not run", rotation=90, ha="center", va="bottom", alpha=0.55, fontsize=8)
        return
    for arm, place in zip(ARMS, (x - 0.5 * BAR - 0.01, x + 0.5 * BAR + 0.01), strict=True):
        mean = float(np.mean([effect.scores[arm] for effect in effects]))
        axis.bar(place, mean, BAR, color=ARM_COLOURS[arm], alpha=0.45, linewidth=0)
        limits = clipped(interval(np.mean([effect.draws[arm] for effect in effects], axis=0)))
        if any(np.isfinite(effect.effect.low) for effect in effects):
            error_bar(axis, (place, mean), limits, vertical=True, colour=INK)
        spread = np.linspace(-0.32, 0.32, len(effects)) * BAR if len(effects) > 1 else [-0.25 * BAR]
        for shift, effect in zip(spread, effects, strict=True):
            axis.plot(
                place + shift, effect.scores[arm], marker=markers[effect.cell.backbone], markersize=4.2, linestyle="",
                color=ARM_COLOURS[arm], markeredgecolor=INK, markeredgewidth=0.5, zorder=4,
            )  # fmt: skip


def _label_groups(axis: Axes, downstreams: Sequence[str], groups: Sequence[Sequence[CellEffect]]) -> None:
    labels = []
    for name, effects in zip(downstreams, groups, strict=True):
        labels.append("\n".join([*corpus_name(name).split(", "), *([size_text(effects)] if effects else [])]))
    axis.set_xticks(range(len(downstreams)), labels)
    axis.set_xlim(-0.6, len(downstreams) - 0.4)
    axis.tick_params(axis="x", length=0)


def _counted(setting: Setting) -> str:
    shown = list(setting.places.values())
    return f"{several(len(shown))}, {seeds_of(shown)} each; n is the number of training records."


def _alt(setting: Setting, placed: dict[tuple[str, str], list[CellEffect]]) -> str:
    sentences = []
    for (upstream, downstream), effects in sorted(placed.items()):
        means = {arm: np.mean([effect.scores[arm] for effect in effects]) for arm in ARMS}
        sentences.append(
            f"{corpus_name(upstream)} to {corpus_name(downstream)}: fine-tuned {means['finetune']:.2f}, "
            f"from scratch {means['scratch']:.2f}"
        )
    kind = "Simulated ECGs. " if setting.simulated else ""
    return f"{kind}Bar chart. {'; '.join(sentences)}."
