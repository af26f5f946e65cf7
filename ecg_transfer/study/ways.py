"""What a report has to say of the ways of fine-tuning; nothing where there is one way at one learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ecg_transfer.drawing import style
from ecg_transfer.study.contests import Contest, find_contests, is_worth_telling
from ecg_transfer.study.effects import CellEffect, cell_effects
from ecg_transfer.study.figures.exhibit import Exhibit
from ecg_transfer.study.figures.ways import movement_figures, way_forest
from ecg_transfer.study.pairs import Cell
from ecg_transfer.study.results import Study
from ecg_transfer.study.speed import Speed, cell_speeds
from ecg_transfer.study.way_tables import WaysOf, ways_of


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The contests of a study, with their effects in the same order."""

    contests: Sequence[Contest]
    effects: Sequence[CellEffect]
    speeds: Sequence[Speed]

    @property
    def cells(self) -> list[Cell]:
        """Of the contests."""
        return [one.cell for one in self.contests]

    @cached_property
    def families(self) -> list[WaysOf]:
        """The contests by family, way and size."""
        return ways_of(self.contests, self.effects)

    def exhibits(self, metric: str) -> list[Exhibit]:
        """The figures: gains, and how far the backbones moved."""
        with style():
            forest = way_forest(self.families, metric)
            return [*([forest] if forest else []), *movement_figures(self.families)]


def read_ways(study: Study, metric: str, num_draws: int) -> Ways:
    """Find the contests of a study and their effects; p is adjusted by Holm over all of them.

    Args:
        study: Its tables.
        metric: A test score of `results.METRICS`.
        num_draws: Of the bootstrap.
    """
    contests = find_contests(study.results)
    if not is_worth_telling(contests):
        return Ways(contests=(), effects=(), speeds=())
    cells = [one.cell for one in contests]
    return Ways(
        contests=contests,
        effects=cell_effects(cells, metric, num_draws=num_draws),
        speeds=cell_speeds(cells, study.curves, num_draws=num_draws),
    )
