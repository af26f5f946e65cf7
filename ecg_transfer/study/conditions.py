"""In which fields comparisons differ that go by one name: budget, dropout, label set."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ecg_transfer.config import PLACES, by_place
from ecg_transfer.runs import Run
from ecg_transfer.study.pairs import Cell
from ecg_transfer.study.saved_config import saved_config


def conditions(cells: Sequence[Cell], left_out: Collection[str]) -> list[str]:
    """What tells each cell from the others, as overrides are written: `optim.max_updates=200, model.dropout=0.5`.

    Args:
        cells: That have one name; a single one has nothing to be told from.
        left_out: Fields and sections that are told otherwise or not at all. `PLACES` never are.

    Returns:
        One a cell; empty where they differ in nothing else.
    """
    if len(cells) < 2:
        return [""] * len(cells)
    hidden = {*left_out, *map(".".join, PLACES)}
    found = [_fields(cell, hidden) for cell in cells]
    differing = [name for name in found[0] if any(fields[name] != found[0][name] for fields in found)]
    return [", ".join(f"{name}={'null' if fields[name] is None else fields[name]}" for name in differing)
            for fields in found]  # fmt: skip


def _fields(cell: Cell, hidden: Collection[str]) -> Mapping[str, object]:
    """The dotted fields of a cell's fine-tunings."""
    values = by_place(saved_config(Run(Path(cell.pairs["path_finetune"].iloc[0]))))
    told = {".".join(filter(None, place)): value for place, value in values.items() if place[0] not in hidden}
    return {name: value for name, value in told.items() if name not in hidden}
