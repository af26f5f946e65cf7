"""Which runs belong together: pairs that differ in the start alone, and cells of pairs that differ in seeds alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ecg_transfer.way_names import WAY_NAMES

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One comparison, repeated over seeds: all of a configuration but the start and the seeds."""

    upstream: str
    downstream: str
    backbone: str
    recipe: str
    lr: float
    batch_size: int
    num_train: int
    """Training records."""
    simulated: bool
    """Whether any of its ECGs are, upstream or downstream."""
    series: str
    """Equal for the cells that differ in the size of the subset alone: the points of one learning curve."""
    way: str
    """Of the fine-tuning, in words."""
    pretext: str
    """What its upstream learnt without labels, in words; `none` where it learnt labels."""
    setting: str
    """Equal for cells of one recipe, way, learning rate, budget: those that a claim may pool."""
    pairs: pd.DataFrame
    """One row a pair, sorted by seed: the columns of the results table, each with `_finetune` and `_scratch`."""

    @property
    def label_set(self) -> str:
        """The label set that was asked for; empty where it is the downstream's usual one."""
        asked = self.pairs["label_set_finetune"].iloc[0] if "label_set_finetune" in self.pairs else None
        return asked if isinstance(asked, str) else ""

    @property
    def downstream_name(self) -> str:
        """The downstream corpus, and its label set where one was asked for: `ptbxl, labels all`."""
        return self.downstream + f", labels {self.label_set}" * bool(self.label_set)

    @property
    def upstream_corpus(self) -> str:
        """The corpus of its upstream, whose name may tell more."""
        return self.upstream.partition(", ")[0]

    @property
    def upstream_kind(self) -> str:
        """How its upstream learnt; empty where that was by labels, in the recipe of the cell."""
        return self.upstream.partition(", ")[2]

    @property
    def upstream_mark(self) -> str:
        """What tells its upstream from another one of the same name; empty where there is none."""
        return str(self.pairs["upstream_mark_finetune"].iloc[0])

    @property
    def name(self) -> str:
        """Readable, and unique up to recipes of the same name."""
        kind = " SIMULATED" if self.simulated else ""
        way = "" if self.way == WAY_NAMES["full"] else f", {self.way}"
        models = f"{self.upstream}{self.upstream_mark} -> {self.downstream_name}, {self.backbone}"
        return f"{models}, {self.recipe}{way}, n={self.num_train}{kind}"

    @cached_property
    def repetitions(self) -> list[tuple[int, int]]:
        """The different (seed, subset seed), sorted."""
        columns = self.pairs[["seed_finetune", "subset_seed_finetune"]].drop_duplicates()
        return sorted((int(seed), int(subset)) for seed, subset in columns.itertuples(index=False))

    @cached_property
    def units(self) -> list[tuple[int, int]]:
        """What each repetition is beside those of other cells: its seed, and which of the seed's subsets it is, from 0.

        Subsets are drawn anew for each seed, and all records are no subset: their seeds are the same all the same.
        """
        counted: Counter[int] = Counter()
        found = []
        for seed, _ in self.repetitions:
            found.append((seed, counted[seed]))
            counted[seed] += 1
        return found

    def by_unit(self, column: str, arm: str) -> Floats:
        """A column's values (S,), one a unit in the order of `units`.

        Where a unit has several fine-tunings (from pre-trainings of several seeds) it gives their mean: they share the
        training from scratch and are no independent repetitions.

        Args:
            column: Of the results table.
            arm: `finetune` or `scratch`.
        """
        keys = ["seed_finetune", "subset_seed_finetune"]
        return self.pairs.groupby(keys, sort=True)[f"{column}_{arm}"].mean().to_numpy(dtype=np.float64)


def pair_runs(results: pd.DataFrame) -> pd.DataFrame:
    """Join each fine-tuning with the training from scratch that differs from it in nothing but the start.

    One join on `pair_key`, so that thousands of runs take milliseconds.

    Args:
        results: As `results_table` gives it.

    Returns:
        One row a pair; all columns twice, with `_finetune` and `_scratch`.
    """
    if results.empty:
        return pd.DataFrame()
    finetune, scratch = (results[results["phase"] == phase] for phase in ("finetune", "scratch"))
    keyed = finetune.add_suffix("_finetune").assign(pair_key=finetune["pair_key"])
    return keyed.merge(scratch.add_suffix("_scratch").assign(pair_key=scratch["pair_key"]), on="pair_key")


def find_cells(results: pd.DataFrame) -> list[Cell]:
    """The cells among finished runs, sorted by downstream, upstream, backbone, recipe and size.

    Args:
        results: As `results_table` gives it.
    """
    pairs = pair_runs(results)
    if pairs.empty:
        return []
    keys = ["cell_finetune", "upstream_finetune", "upstream_cell_finetune", "simulated_finetune"]
    order = ["seed_finetune", "subset_seed_finetune", "run_finetune"]
    cells = [cell_of(group.sort_values(order)) for _, group in pairs.groupby(keys, sort=True)]
    return sorted(cells, key=lambda cell: (cell.downstream, cell.upstream, cell.backbone, cell.recipe, cell.num_train))


def cell_of(pairs: pd.DataFrame) -> Cell:
    """The cell of some pairs, as `pair_runs` gives them, that differ in seeds alone."""
    first = pairs.iloc[0]
    return Cell(
        upstream=str(first["upstream_finetune"]),
        downstream=str(first["downstream_finetune"]),
        backbone=str(first["backbone_finetune"]),
        recipe=str(first["recipe_finetune"]),
        lr=float(first["lr_finetune"]),
        batch_size=int(first["batch_size_finetune"]),
        num_train=int(pairs["num_train_finetune"].median()),
        simulated=bool(first["simulated_finetune"]),
        series=f"{first['series_finetune']} {first['upstream_cell_finetune']}",
        way=str(first["way_finetune"]),
        pretext=str(first["pretext_finetune"]),
        setting=str(first["setting_finetune"]),
        pairs=pairs,
    )
