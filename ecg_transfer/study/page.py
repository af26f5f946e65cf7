"""What a report's page is made of: tables of cells with links. All text is escaped by the template, none here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from ecg_transfer.study.pairs import Cell

MISSING = "–"
"""What stands where there is no number."""


@dataclass(frozen=True, kw_only=True)
class RunLink:
    """A run with its score."""

    name: str
    seed: int
    score: str
    link: str


@dataclass(frozen=True)
class Entry:
    """One cell of a table."""

    text: str
    link: str = ""
    """Where its number comes from: an anchor of the page, or a run directory."""
    detail: str = ""
    """A second, smaller line."""
    kind: str = ""
    """Classes of the style sheet: `number`, `up`, `down`, `missing`, `simulated`."""
    runs: tuple[RunLink, ...] = ()
    """Runs that it lists."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with its caption."""

    id: str
    title: str
    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    anchors: Sequence[str] = ()
    """An id a row, where other places link to its rows."""
    num_heading_columns: int = 1
    """Columns at the left that say what a row is about."""
    is_folded: bool = False
    """Whether it is shown when it is asked for."""
    file: str = ""
    """The CSV file with the same numbers."""
    notes: Sequence[str] = field(default=())

    @property
    def lines(self) -> list[tuple[str, Sequence[Entry]]]:
        """Each row with its id."""
        anchors = self.anchors or [""] * len(self.rows)
        return list(zip(anchors, self.rows, strict=True))


def number(value: float | None, digits: int = 3, *, link: str = "", detail: str = "", kind: str = "") -> Entry:
    """A number, or a dash where it is undefined."""
    if value is None or math.isnan(value):
        return Entry(MISSING, link, detail, "number missing")
    return Entry(plain(value, digits), link, detail, f"number {kind}".strip())


def plain(value: float, digits: int = 3) -> str:
    """`1,234.500`, and a dash or the sign for infinity where there is no such number."""
    if math.isnan(value):
        return MISSING
    return f"{value:,.{digits}f}".replace("-", "−").replace("inf", "∞")


def signed(value: float, digits: int = 3) -> str:
    """`+0.020` or `−0.020`."""
    return MISSING if math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−").replace("inf", "∞")


def limits(low: float, high: float, digits: int = 3, *, sign: bool = True) -> str:
    """`[+0.010, +0.030]`; empty where there is no interval."""
    if math.isnan(low) or math.isnan(high):
        return ""
    write = signed if sign else plain
    return f"[{write(low, digits)}, {write(high, digits)}]"


def with_interval(estimate: float, low: float, high: float, digits: int = 3, *, sign: bool = True) -> str:
    """`+0.020 [+0.010, +0.030]`."""
    write = signed if sign else plain
    return f"{write(estimate, digits)} {limits(low, high, digits, sign=sign)}".strip()


def direction(low: float, high: float, num_seeds: int = 2) -> str:
    """The class of an interval that excludes 0; none of a single seed's, which is over patients alone."""
    return "" if num_seeds < 2 else "up" if low > 0 else "down" if high < 0 else ""


def p_text(p: float | None) -> str:
    """`0.031`, `< 0.001`, or a dash where there is no test."""
    if p is None or math.isnan(p):
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def run_link(path: str | Path, folder: Path) -> str:
    """The address of a run's directory, relative to the page."""
    relative = os.path.relpath(Path(path).resolve(), folder.resolve())
    return quote(Path(relative).as_posix()) + "/"


class Anchors:
    """Ids of the rows that list the runs of a comparison."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self._ids = {id(cell): f"runs-{number}" for number, cell in enumerate(cells, start=1)}

    def __getitem__(self, cell: Cell) -> str:
        return self._ids[id(cell)]

    def link(self, cell: Cell) -> str:
        """The address of its row."""
        return f"#{self[cell]}"
