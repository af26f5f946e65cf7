"""Upstreams against each other: the difference in what fine-tuning gains from them, by size."""

from __future__ import annotations

from ecg_transfer.drawing import new_figure, style
from ecg_transfer.study.arrangement import metric_name
from ecg_transfer.study.effects import Effect
from ecg_transfer.study.figures.exhibit import Exhibit, forest, seeds_of, several
from ecg_transfer.study.upstream_contests import Kind, UpstreamContests, against_of, title_of
from ecg_transfer.way_names import WAY_NAMES

MAX_KINDS = 24
"""Contests that are drawn; the table has all."""


def upstream_exhibits(found: UpstreamContests, metric: str) -> list[Exhibit]:
    """Draw each upstream's difference from the one it is held against, a column a size, the last one their mean.

    Args:
        found: What to show; a row is a pair of upstreams with their corpora, backbone and way.
        metric: The score's name.

    Returns:
        The figure; none where there is no contest.
    """
    if not found.contests:
        return []
    with style():
        return [_forest(found, metric)]


def _forest(found: UpstreamContests, metric: str) -> Exhibit:
    kinds = list(found.by_kind().items())[:MAX_KINDS]
    names = {kind: _name(kind) for kind, _ in kinds}
    columns: dict[str, dict[str, Effect]] = {}
    for size in sorted({one.cell.num_train for _, members in kinds for one, _ in members}):
        columns[f"n = {size:,}"] = {
            names[kind]: result.effect
            for kind, members in kinds
            for one, result in members
            if one.cell.num_train == size
        }
    if means := {names[kind]: effect for kind, effect in found.means.items() if kind in names}:
        columns["mean of sizes"] = means
    simulated = any(kind[-1] for kind in names)
    figure = new_figure(
        3.2 + 1.75 * len(columns),
        1.4 + 0.42 * len(names) + 0.3 * simulated,
        title="Upstreams against each other",
        simulated=simulated,
    )
    axes = figure.subplots(1, len(columns), squeeze=False, sharex=True)[0]
    for axis, (title, effects) in zip(axes, columns.items(), strict=True):
        forest(axis, list(names.values()), effects)
        axis.set_title(title)
        axis.set_xlabel("difference")
    axes[0].set_yticklabels(names.values())
    drawn = [result for _, members in kinds for _, result in members]
    return Exhibit(
        slug="upstreams",
        title="Upstreams",
        caption=f"What fine-tuning from one upstream scores above fine-tuning from another one (test "
        f"{metric_name(metric)}; right of 0 the first named is better), each at the learning rate that validation "
        f"chose, with 95 % intervals over test patients and seeds. {several(len(drawn))}, {seeds_of(drawn)} each.",
        alt="; ".join(
            f"{names[kind]}: ".replace("\n", " ")
            + ", ".join(f"{result.effect.estimate:+.3f} at {one.cell.num_train}" for one, result in members)
            for kind, members in kinds
        ),
        figure=figure,
    )


def _name(kind: Kind) -> str:
    """Two lines: upstream, corpora and backbone; what it is held against, and the way where it is not the usual one."""
    way = kind[-2]
    return f"{title_of(kind)}\nagainst {against_of(kind)}" + (f", {way}" if way != WAY_NAMES["full"] else "")
