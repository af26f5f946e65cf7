"""Every way of fine-tuning against training from scratch, each at the learning rate that its validation scores chose.

`find_cells` compares runs of one learning rate. Here each side brings its own: of the rates that a side was tried at,
the one with the best mean validation score over the seeds is taken, for each size of the training set anew. No test
score takes part in it. Both sides should have been tried equally often; what they were tried at is kept, to be told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from ecg_transfer.study.conditions import conditions
from ecg_transfer.study.effects import CellEffect
from ecg_transfer.study.likeness import CONTEST
from ecg_transfer.study.pairs import Cell, cell_of

SCHEDULE = "schedule"

Family = tuple[str, str, str, str, str, str, bool]
"""Downstream, upstream, its mark, backbone, recipe, condition, simulated."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """How a side's learning rate was chosen."""

    tried: dict[float, float]
    """Mean validation score over the same seeds of each rate that was tried with all of them, by rate, rising."""
    incomplete: tuple[float, ...]
    """Rates that were left aside because seeds are missing."""
    runs: pd.DataFrame
    """The rows of the chosen rate."""

    @property
    def rate(self) -> float:
        """The chosen one: the best on validation, of equals the lowest."""
        return max(self.tried, key=lambda rate: (self.tried[rate], -rate))


@dataclass(frozen=True, kw_only=True, eq=False)
class Contest:
    """A way against scratch, both at their chosen rates, on one size of the training set."""

    cell: Cell
    """Its pairs; its `way` tells the schedule too where that is not scratch's usual one."""
    finetune: Choice
    scratch: Choice
    condition: str = ""
    """What tells it from other contests of its family and size: `optim.max_updates=200`; empty where nothing does."""

    @property
    def family(self) -> Family:
        """What contests are shown within, and compared."""
        cell = self.cell
        models = (cell.downstream, cell.upstream, cell.upstream_mark, cell.backbone, cell.recipe)
        return *models, self.condition, cell.simulated

    @property
    def is_even(self) -> bool:
        """Whether both sides were tried equally often."""
        return len(self.finetune.tried) == len(self.scratch.tried)


def find_contests(results: pd.DataFrame) -> list[Contest]:
    """The contests among finished runs, by corpora, backbone, size and way.

    A way is compared with scratch under the same schedule where scratch was trained under it, else under the one that
    scratch was trained under most.

    Args:
        results: As `results_table` gives it.
    """
    if results.empty:
        return []
    finetune, scratch = (results[results["phase"] == phase] for phase in ("finetune", "scratch"))
    keys = ["contest", "upstream", "upstream_cell", "simulated", "way", SCHEDULE]
    found = []
    for (key, *_, schedule), group in finetune.groupby(keys, sort=True):
        rivals = scratch[scratch["contest"] == key]
        if rivals.empty:
            continue
        usual = rivals[SCHEDULE].mode().iloc[0]
        shared = schedule if schedule in set(rivals[SCHEDULE]) else usual
        contest = contest_of(group, rivals[rivals[SCHEDULE] == shared])
        if contest is not None:
            way = contest.cell.way if schedule == usual else f"{contest.cell.way}, {schedule}"
            found.append(replace(contest, cell=replace(contest.cell, way=way)))
    return sorted(told_apart(found, CONTEST),
                  key=lambda one: (one.cell.downstream, one.cell.upstream, one.cell.backbone, one.cell.recipe,
                                   one.cell.num_train, one.cell.way, one.condition))  # fmt: skip


def told_apart(contests: Sequence[Contest], shared: Sequence[str]) -> list[Contest]:
    """The contests of each family, each with the fields in which not all of them are alike: budget, label set, dropout.

    Args:
        contests: Any.
        shared: Fields and sections that are told otherwise or not at all; neither is the subset, which is their size.
    """
    families: dict[Family, list[Contest]] = defaultdict(list)
    for one in contests:
        families[one.family].append(one)
    return [
        replace(one, condition=condition)
        for members in families.values()
        for one, condition in zip(
            members, conditions([one.cell for one in members], {*shared, "data.subset"}), strict=True
        )
    ]


def is_worth_telling(contests: Sequence[Contest]) -> bool:
    """Whether there is more than one way or rate: else `find_cells` tells it all."""
    return len({one.cell.way for one in contests}) > 1 or any(len(one.finetune.tried) > 1 for one in contests)


def choose_rate(runs: pd.DataFrame) -> Choice:
    """Choose among the rates that all seeds were tried at; where none was, among those with the most seeds.

    These are compared over the seeds that they share, or over all of each where they share none.

    Args:
        runs: Rows of the results table that differ in learning rate and seeds alone.
    """
    column = f"val_selected/val/{runs['monitor'].iloc[0]}"
    units = ["seed", "subset_seed"]
    rates = sorted(float(rate) for rate in runs["lr"].unique())
    of_units = {rate: runs[runs["lr"] == rate].groupby(units)[column].mean() for rate in rates}
    most = max(map(len, of_units.values()))
    complete = {rate: scores for rate, scores in of_units.items() if len(scores) == most}
    shared = pd.concat(complete, axis=1, join="inner")
    scores = pd.concat(complete, axis=1) if shared.empty else shared
    tried = {rate: float(scores[rate].mean()) for rate in complete}
    choice = Choice(tried=tried, incomplete=tuple(rate for rate in rates if rate not in tried), runs=runs)
    return replace(choice, runs=runs[runs["lr"] == choice.rate])


def contests_table(contests: Sequence[Contest], effects: Sequence[CellEffect]) -> pd.DataFrame:
    """One row a contest: the rates tried and chosen on either side with their validation scores, and the effect."""
    return pd.DataFrame(
        {
            "way": one.cell.way,
            "upstream": one.cell.upstream,
            "downstream": one.cell.downstream,
            "backbone": one.cell.backbone,
            "recipe": one.cell.recipe,
            "num_train": one.cell.num_train,
            "simulated": one.cell.simulated,
            "condition": one.condition,
            **{f"lr_{arm}": choice.rate for arm, choice in _sides(one)},
            **{f"tried_{arm}": _written(choice) for arm, choice in _sides(one)},
            **result.scores,
            **vars(result.effect),
        }
        for one, result in zip(contests, effects, strict=True)
    )


def _sides(contest: Contest) -> list[tuple[str, Choice]]:
    return [("finetune", contest.finetune), ("scratch", contest.scratch)]


def _written(choice: Choice) -> str:
    """`0.001: 0.6123, 0.003: 0.6345`, each rate with its mean validation score."""
    return ", ".join(f"{rate:g}: {score:.4f}" for rate, score in choice.tried.items())


def contest_of(finetune: pd.DataFrame, scratch: pd.DataFrame) -> Contest | None:
    """Both sides, rows of the results table, at their rates; None where no seed is on both."""
    ours, theirs = choose_rate(finetune), choose_rate(scratch)
    keys = ["data", "seed", "subset_seed"]
    named = [choice.runs.add_suffix(f"_{arm}") for arm, choice in (("finetune", ours), ("scratch", theirs))]
    left, right = ([f"{key}_{arm}" for key in keys] for arm in ("finetune", "scratch"))
    pairs = named[0].merge(named[1], left_on=left, right_on=right)
    if pairs.empty:
        return None
    order = ["seed_finetune", "subset_seed_finetune", "run_finetune", "run_scratch"]
    return Contest(cell=cell_of(pairs.sort_values(order)), finetune=ours, scratch=theirs)
