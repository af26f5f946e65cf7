"""Fine-tunings from one upstream against those from another of the same corpus and backbone.

An upstream that learnt without labels is held against the one that learnt them and differs in nothing else; one that
learnt another label set, or by another recipe than the fine-tunings', against the usual one. Both sides of a contest
are fine-tuned in the same way, each at the learning rate that its validation scores chose, and paired by seed: see
`ecg_transfer.study.contests`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ecg_transfer.study.arrangement import backbone_name, corpus_name, metric_name
from ecg_transfer.study.contests import SCHEDULE, Contest, contest_of, contests_table, told_apart
from ecg_transfer.study.effects import CellEffect, Effect, cell_effects, pooled
from ecg_transfer.study.likeness import CONTEST
from ecg_transfer.study.page import Entry, Table, number, p_text
from ecg_transfer.study.significance import holm
from ecg_transfer.study.way_tables import difference_entry, rate_entry, without_repeats

Kind = tuple[str, str, str, str, str, str, str, str, str, bool]
"""Downstream, upstream, its mark, the one it is held against, that one's mark, backbone, recipe, condition, way,
simulated: a contest but for its size."""

SHARED = tuple(name for name in CONTEST if name not in ("optim.schedule", "optim.warmup"))
"""Fields that tell nothing of two upstreams: both are fine-tuned under one schedule, each at its own rate."""


@dataclass(frozen=True, kw_only=True)
class UpstreamContests:
    """The contests of a study with their effects in the same order, and the means over sizes."""

    contests: Sequence[Contest]
    """`finetune` is the side of the upstream, `scratch` that of the one it is held against."""
    effects: Sequence[CellEffect]
    means: dict[Kind, Effect]
    """Of contests at several sizes, p adjusted over all of them."""

    def frame(self) -> pd.DataFrame:
        """One row a contest, for a program: `own` is the side of `upstream`, `other` that of `against`."""
        table = contests_table(self.contests, self.effects)
        table = table.rename(columns=lambda name: name.replace("finetune", "own").replace("scratch", "other"))
        if len(table):
            table.insert(2, "against", [_against(one) for one in self.contests])
        return table

    def by_kind(self) -> dict[Kind, list[tuple[Contest, CellEffect]]]:
        """The contests that differ in size alone, by rising size."""
        found: dict[Kind, list[tuple[Contest, CellEffect]]] = {}
        for one, result in zip(self.contests, self.effects, strict=True):
            found.setdefault(_kind(one), []).append((one, result))
        return found


def find_upstream_contests(results: pd.DataFrame) -> list[Contest]:
    """The contests among finished runs, by corpora, backbone, size and way.

    Args:
        results: As `results_table` gives it, with the pre-trainings: theirs are the configurations that must be alike.
    """
    if results.empty:
        return []
    tuned = results[results["phase"] == "finetune"]
    found = []
    for _, group in tuned.groupby(["contest", "upstream_rivals", "simulated", "way", SCHEDULE], sort=True):
        supervised = group[group["pretext"] == "none"]
        for _, ours in group.groupby("upstream_cell", sort=True):
            first = ours.iloc[0]
            if first["pretext"] != "none":
                rivals = supervised[supervised["upstream_kin"] == first["upstream_kin"]]
            elif first["upstream_kind"]:
                rivals = supervised[supervised["upstream_kind"] == ""]
            else:
                continue
            sides = [contest_of(ours, theirs) for _, theirs in rivals.groupby("upstream_cell", sort=True)]
            found += [contest for contest in sides if contest is not None]
    return sorted(told_apart(found, SHARED), key=lambda one: (_kind(one), one.cell.num_train))


def read_upstream_contests(results: pd.DataFrame, metric: str, num_draws: int) -> UpstreamContests:
    """Find the contests of a study and their effects; p is adjusted by Holm over all of them.

    Args:
        results: As `results_table` gives it.
        metric: A test score of `results.METRICS`.
        num_draws: Of the bootstrap.
    """
    contests = find_upstream_contests(results)
    effects = cell_effects([one.cell for one in contests], metric, num_draws=num_draws)
    found = UpstreamContests(contests=contests, effects=effects, means={})
    by_size = {kind: members for kind, members in found.by_kind().items() if _has_sizes(members)}
    means = {kind: pooled([one for _, one in members], name="mean over sizes")[0] for kind, members in by_size.items()}
    adjusted = holm([effect.p for effect in means.values()])
    means = {kind: replace(effect, p_holm=p) for (kind, effect), p in zip(means.items(), adjusted, strict=True)}
    return replace(found, means=means)


def _has_sizes(members: Sequence[tuple[Contest, CellEffect]]) -> bool:
    """Whether there are several sizes, and none of them twice: a mean over them counts each once."""
    sizes = [one.cell.num_train for one, _ in members]
    return len(set(sizes)) == len(sizes) > 1


def upstream_table(found: UpstreamContests, metric: str) -> Table:
    """Upstreams against each other, a row a size, then the mean over the sizes.

    Args:
        found: What to show.
        metric: The score's name.
    """
    rows: list[list[Entry]] = []
    for kind, members in found.by_kind().items():
        rows += [_row(one, result) for one, result in members]
        if kind in found.means:
            rows.append(_mean_row(kind, found.means[kind]))
    return Table(
        id="upstream-kinds",
        title="Upstreams against each other",
        caption=f"Test {metric_name(metric)} after fine-tuning from an upstream, and from another one of the same "
        "corpus and network: one that learnt without labels against the one that differs from it in the labels alone, "
        "one of another label set or recipe against the usual one; both at the learning rate with the best mean "
        "validation score over the seeds, below it the rates that were tried. The difference (above 0 the first one is "
        "better) has its 95 % interval over test patients and seeds; ▲ or ▼: it excludes 0. It is about these "
        "pre-trainings: their own seeds are not in it. p: exact sign-flip test over seeds, adjusted by Holm over all "
        "rows with a size, and over the means.",
        headers=["upstream, corpora, model", "against", "way", "n", "pairs", "its rate", "the other's rate",
                 "its score", "the other's score", "difference", "p (Holm)"],
        rows=without_repeats(rows, 3),
        num_heading_columns=3,
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
    way, simulated = kind[-2:]
    return [Entry(title_of(kind), kind="simulated" if simulated else ""), Entry(against_of(kind)), Entry(way)]


def title_of(kind: Kind) -> str:
    """`PTB-XL, contrastive → CPSC2018, ResNet1d-18`, and the condition where there are several."""
    downstream, upstream, mark, _, _, backbone, _, condition, *_ = kind
    models = f"{corpus_name(upstream)}{mark} → {corpus_name(downstream)}, {backbone_name(backbone)}"
    return models + f", {condition}" * bool(condition)


def against_of(kind: Kind) -> str:
    """`PTB-XL`: the upstream that it is held against."""
    _, _, _, against, mark, *_ = kind
    return f"{corpus_name(against)}{mark}"


def _kind(one: Contest) -> Kind:
    cell = one.cell
    return (
        cell.downstream,
        cell.upstream,
        cell.upstream_mark,
        _against(one),
        str(cell.pairs["upstream_mark_scratch"].iloc[0]),
        cell.backbone,
        cell.recipe,
        one.condition,
        cell.way,
        cell.simulated,
    )


def _against(one: Contest) -> str:
    return str(one.cell.pairs["upstream_scratch"].iloc[0])
