"""The table of ways against scratch, and what stands in it: the contests of each way, and their mean over the sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ecg_transfer.study.arrangement import backbone_name, corpus_name, metric_name
from ecg_transfer.study.contests import Choice, Contest, Family
from ecg_transfer.study.effects import CellEffect, Effect, pooled
from ecg_transfer.study.page import (
    MISSING,
    Anchors,
    Entry,
    Table,
    direction,
    limits,
    number,
    p_text,
    plain,
    signed,
    with_interval,
)
from ecg_transfer.study.significance import MIN_SEEDS, holm, p_floor
from ecg_transfer.study.speed import Speed
from ecg_transfer.way_names import ways_in_order


@dataclass(frozen=True, kw_only=True)
class WaysOf:
    """All ways within one family, each by size."""

    family: Family
    by_way: Mapping[str, Sequence[tuple[Contest, CellEffect]]]
    """Contests by rising size, ways in the order of tables."""
    means: Mapping[str, Effect]
    """Of each way that was run at all of several sizes, the mean effect, p adjusted over the ways of all families."""

    @property
    def sizes(self) -> list[int]:
        """Training records, rising."""
        return sorted({one.cell.num_train for members in self.by_way.values() for one, _ in members})

    @property
    def title(self) -> str:
        """`PTB-XL → CPSC2018, ResNet1d-18`, and the condition where there are several."""
        downstream, upstream, mark, backbone, _, condition, _ = self.family
        models = f"{corpus_name(upstream)}{mark} → {corpus_name(downstream)}, {backbone_name(backbone)}"
        return models + f", {condition}" * bool(condition)

    @property
    def simulated(self) -> bool:
        """Whether any of its ECGs are."""
        return self.family[-1]


def ways_of(contests: Sequence[Contest], effects: Sequence[CellEffect]) -> list[WaysOf]:
    """Arrange contests, with their effects in the same order, by family, way and size."""
    families: dict[Family, dict[str, list[tuple[Contest, CellEffect]]]] = {}
    for one, result in zip(contests, effects, strict=True):
        families.setdefault(one.family, {}).setdefault(one.cell.way, []).append((one, result))
    found = [
        WaysOf(family=family, by_way={way: members[way] for way in ways_in_order(members)}, means=_means(members))
        for family, members in sorted(families.items())
    ]
    adjusted = iter(holm([effect.p for each in found for effect in each.means.values()]))
    return [
        replace(each, means={way: replace(effect, p_holm=next(adjusted)) for way, effect in each.means.items()})
        for each in found
    ]


def _means(members: Mapping[str, Sequence[tuple[Contest, CellEffect]]]) -> dict[str, Effect]:
    sizes_of = {way: sorted(one.cell.num_train for one, _ in members[way]) for way in ways_in_order(members)}
    sizes = sorted({size for found in sizes_of.values() for size in found})
    return {
        way: pooled([result for _, result in members[way]], name="mean over sizes")[0]
        for way, found in sizes_of.items()
        if found == sizes and len(sizes) > 1
    }


def way_table(families: Sequence[WaysOf], speeds: Sequence[Speed], anchors: Anchors, metric: str) -> Table:
    """Ways against scratch, one a row for each size of the training set, and the mean over the sizes.

    Args:
        families: What to show.
        speeds: Of the contests' cells.
        anchors: Of the runs behind them.
        metric: The score's name.
    """
    speed_of = {id(speed.cell): speed for speed in speeds}
    rows = []
    for each in families:
        for way, members in each.by_way.items():
            rows += [_row(each, one, result, speed_of.get(id(one.cell)), anchors) for one, result in members]
            if way in each.means:
                rows.append(_mean_row(each, way, each.means[way]))
    rows = without_repeats(rows)
    return Table(
        id="ways",
        title="Ways against scratch",
        caption=f"Test {metric_name(metric)} of each way of fine-tuning and of training from scratch, each at the "
        "learning rate with the best mean validation score over the seeds, chosen for each size anew; below it the "
        "rates that were tried. No test score took part in the choice. The difference has its 95 % interval over test "
        "patients and seeds; ▲ or ▼: it excludes 0. p: exact sign-flip test over seeds, adjusted by Holm over all rows "
        "with a size, and over the means. Updates: to 95 % of scratch's final validation score, over those of scratch.",
        headers=["corpora, model", "way", "n", "pairs", "its rate", "scratch's rate", "fine-tuned", "scratch",
                 "difference", "p (Holm)", "updates"],
        rows=rows,
        num_heading_columns=2,
        file="ways.csv",
        notes=_notes(families),
    )  # fmt: skip


def _row(each: WaysOf, one: Contest, result: CellEffect, speed: Speed | None, anchors: Anchors) -> list[Entry]:
    effect, link = result.effect, anchors.link(one.cell)
    ratio = "" if speed is None else with_interval(speed.ratio, *speed.ratio_interval, 2, sign=False)
    return [
        Entry(each.title, kind="simulated" if each.simulated else ""),
        Entry(one.cell.way),
        number(one.cell.num_train, 0),
        number(effect.num_seeds, 0),
        rate_entry(one.finetune),
        rate_entry(one.scratch),
        *(number(result.scores[arm]) for arm in ("finetune", "scratch")),
        difference_entry(effect, link),
        Entry(p_text(effect.p_holm), kind="number"),
        Entry(ratio or MISSING, kind="number"),
    ]


def _mean_row(each: WaysOf, way: str, effect: Effect) -> list[Entry]:
    nothing = Entry("", kind="number")
    return [
        Entry(each.title, kind="simulated" if each.simulated else ""),
        Entry(way),
        Entry("mean of sizes", kind="number"),
        number(effect.num_seeds, 0),
        *([nothing] * 4),
        difference_entry(effect, ""),
        Entry(p_text(effect.p_holm), kind="number"),
        nothing,
    ]


def without_repeats(rows: Sequence[list[Entry]], num_columns: int = 2) -> list[list[Entry]]:
    """The rows; what stands in the row above, too, is marked as such, in the first columns up to the first change."""
    marked = [list(row) for row in rows]
    for above, row in pairwise(marked):
        for column in range(num_columns):
            if row[column].text != above[column].text:
                break
            row[column] = replace(row[column], kind=f"{row[column].kind} repeat".strip())
    return marked


def difference_entry(effect: Effect, link: str) -> Entry:
    """A difference over its interval, marked where that excludes 0."""
    kind = f"number {direction(effect.low, effect.high, effect.num_seeds)}".strip()
    return Entry(signed(effect.estimate), link, limits(effect.low, effect.high), kind)


def rate_entry(choice: Choice) -> Entry:
    """The rate that was chosen over those that were tried."""
    tried = ", ".join(f"{rate:g}" for rate in choice.tried)
    return Entry(f"{choice.rate:g}", detail=f"of {tried}", kind="number")


def _notes(families: Sequence[WaysOf]) -> list[str]:
    contests = [one for each in families for members in each.by_way.values() for one, _ in members]
    notes = []
    uneven = sorted({one.cell.way for one in contests if not one.is_even})
    if uneven:
        notes.append(f"NOT tried as often as scratch: {', '.join(uneven)}; the side with more rates has an advantage.")
    if any(one.finetune.incomplete or one.scratch.incomplete for one in contests):
        notes.append("Rates whose seeds are not all done were left aside.")
    seeds = max((len(one.cell.units) for one in contests), default=0)
    smallest = min(1.0, p_floor(seeds) * len(contests)) if seeds >= MIN_SEEDS else 1.0
    if seeds >= MIN_SEEDS and smallest > 0.05:
        notes.append(
            f"With {seeds} seeds no p of a single size can fall below {p_floor(seeds):.3f}, nor its smallest adjusted "
            f"one, of {len(contests)} rows, below {plain(smallest)}: go by the intervals."
        )
    return notes
