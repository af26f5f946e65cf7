"""Fine-tunings from an upstream that learnt without labels against those from one that learnt them.

Both upstreams saw the same corpus, in the same recipe and budget; both sides of a contest are fine-tuned in the same
way, each at the learning rate that its validation scores chose, and paired by seed: see `ecg_transfer.study.contests`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ecg_transfer.study.arrangement import backbone_name, corpus_name, metric_name
from ecg_transfer.study.contests import SCHEDULE, Contest, contest_of, contests_table
from ecg_transfer.study.effects import CellEffect, Effect, cell_effects, pooled, shared_units
from ecg_transfer.study.page import Entry, Table, number, p_text
from ecg_transfer.study.significance import holm
from ecg_transfer.study.way_tables import difference_entry, rate_entry, without_repeats

Kind = tuple[str, str, str, str, str, bool]
"""Downstream, upstream with its pretext, backbone, recipe, way, simulated: a contest but for its size."""


@dataclass(frozen=True, kw_only=True)
class UpstreamContests:
    """The contests of a study with their effects in the same order, and the means over sizes."""

    contests: Sequence[Contest]
    """`finetune` is the side without labels, `scratch` the side with them."""
    effects: Sequence[CellEffect]
    means: dict[Kind, Effect]
    """Of contests at several sizes, p adjusted over all of them."""

    def frame(self) -> pd.DataFrame:
        """One row a contest, for a program."""
        table = contests_table(self.contests, self.effects)
        return table.rename(
            columns=lambda name: name.replace("finetune", "unsupervised").replace("scratch", "supervised")
        )


def find_upstream_contests(results: pd.DataFrame) -> list[Contest]:
    """The contests among finished runs, by corpora, backbone, size and way.

    Args:
        results: As `results_table` gives it, with the pre-trainings: theirs are the configurations that must be alike.
    """
    if results.empty:
        return []
    tuned = results[results["phase"] == "finetune"]
    found = []
    for _, group in tuned.groupby(["contest", "upstream_kin", "simulated", "way", SCHEDULE], sort=True):
        supervised = group["pretext"] == "none"
        for _, ours in group[~supervised].groupby("upstream_cell", sort=True):
            rivals = [theirs for _, theirs in group[supervised].groupby("upstream_cell", sort=True)]
            found += [contest for theirs in rivals if (contest := contest_of(ours, theirs)) is not None]
    return sorted(found, key=lambda one: (_kind(one), one.cell.num_train))


def read_upstream_contests(results: pd.DataFrame, metric: str, num_draws: int) -> UpstreamContests:
    """Find the contests of a study and their effects; p is adjusted by Holm over all of them.

    Args:
        results: As `results_table` gives it.
        metric: A test score of `results.METRICS`.
        num_draws: Of the bootstrap.
    """
    contests = find_upstream_contests(results)
    effects = cell_effects([one.cell for one in contests], metric, num_draws=num_draws)
    by_kind: dict[Kind, list[CellEffect]] = {}
    for one, result in zip(contests, effects, strict=True):
        by_kind.setdefault(_kind(one), []).append(result)
    means = {
        kind: pooled(members, name="mean over sizes")[0]
        for kind, members in by_kind.items()
        if len(members) > 1 and shared_units(members)
    }
    adjusted = holm([effect.p for effect in means.values()])
    means = {kind: replace(effect, p_holm=p) for (kind, effect), p in zip(means.items(), adjusted, strict=True)}
    return UpstreamContests(contests=contests, effects=effects, means=means)


def upstream_table(found: UpstreamContests, metric: str) -> Table:
    """Self-supervised against supervised upstream, a row a size, then the mean over the sizes.

    Args:
        found: What to show.
        metric: The score's name.
    """
    rows: list[list[Entry]] = []
    entries = list(zip(found.contests, found.effects, strict=True))
    for place, (one, result) in enumerate(entries):
        kind = _kind(one)
        rows.append(_row(one, result))
        is_last = place + 1 == len(entries) or _kind(entries[place + 1][0]) != kind
        if is_last and kind in found.means:
            rows.append(_mean_row(kind, found.means[kind]))
    return Table(
        id="upstream-kinds",
        title="Self-supervised against supervised upstream",
        caption=f"Test {metric_name(metric)} after fine-tuning from an upstream that learnt without labels, and from "
        "one of the same corpus, network, recipe and budget that learnt them; both at the learning rate with the best "
        "mean validation score over the seeds, below it the rates that were tried. The difference (above 0 the "
        "upstream without labels is better) has its 95 % interval over test patients and seeds; ▲ or ▼: it excludes "
        "0. p: exact sign-flip test over seeds, adjusted by Holm over all rows with a size, and over the means.",
        headers=["corpora, model", "way", "n", "pairs", "its rate", "the other's rate", "without labels",
                 "with labels", "difference", "p (Holm)"],
        rows=without_repeats(rows),
        num_heading_columns=2,
        file="upstreams.csv",
    )  # fmt: skip


def _row(one: Contest, result: CellEffect) -> list[Entry]:
    effect = result.effect
    return [
        *_heading(_kind(one)),
        number(one.cell.num_train, 0),
        number(effect.num_seeds, 0),
        rate_entry(one.finetune),
        rate_entry(one.scratch),
        *(number(result.scores[arm]) for arm in ("finetune", "scratch")),
        difference_entry(effect, ""),
        Entry(p_text(effect.p_holm), kind="number"),
    ]


def _mean_row(kind: Kind, effect: Effect) -> list[Entry]:
    return [
        *_heading(kind),
        Entry("mean of sizes", kind="number"),
        number(effect.num_seeds, 0),
        *([Entry("", kind="number")] * 4),
        difference_entry(effect, ""),
        Entry(p_text(effect.p_holm), kind="number"),
    ]


def _heading(kind: Kind) -> list[Entry]:
    downstream, upstream, backbone, _, way, simulated = kind
    title = f"{corpus_name(upstream)} → {corpus_name(downstream)}, {backbone_name(backbone)}"
    return [Entry(title, kind="simulated" if simulated else ""), Entry(way)]


def _kind(one: Contest) -> Kind:
    cell = one.cell
    return cell.downstream, cell.upstream, cell.backbone, cell.recipe, cell.way, cell.simulated
