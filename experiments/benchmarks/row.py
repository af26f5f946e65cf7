"""One line of the table: a number that was measured several times, and what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

Unit = Literal["x", "%", "s", "ms", "MB", "records/s", "h"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measure."""

    group: str
    """`step`, `fit`, ...: what `--only` names."""
    name: str
    """Unique within the group."""
    unit: Unit
    """`x` is the other one's time over ours, so that 4 means four times as fast."""
    repeats: tuple[float, ...]
    """In the order they were measured; interleaved with whatever they are compared with."""
    goal: float | None = None
    better: Literal["higher", "lower"] = "higher"
    note: str = ""

    @property
    def median(self) -> float:
        """The row's value."""
        return median(self.repeats)

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest repeat."""
        return min(self.repeats), max(self.repeats)

    @property
    def meets_goal(self) -> bool | None:
        """Whether the median is at least (or, where lower is better, at most) the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.median >= self.goal if self.better == "higher" else self.median <= self.goal

    def as_dict(self) -> dict[str, Any]:
        """Plain values; the median stands beside the repeats for whoever reads the file."""
        return asdict(self) | {"median": self.median}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Row:
        """What `as_dict` gave."""
        fields = {name: value for name, value in content.items() if name != "median"}
        return cls(**fields | {"repeats": tuple(fields["repeats"])})


def ratios(others: Sequence[float], ours: Sequence[float]) -> tuple[float, ...]:
    """Round by round, the other's time over ours: what disturbs a whole round cancels.

    Raises:
        ValueError: The two were not measured in the same rounds.
    """
    return tuple(other / our for other, our in zip(others, ours, strict=True))


def change(new: Row, old: Row) -> str:
    """In what a row differs from an older one beyond the spread of both; empty where it does not.

    Two ranges of repeats that do not overlap are called a change. Among equals that happens by chance once in ten times
    with three repeats each, once in 126 with five.
    """
    (new_low, new_high), (old_low, old_high) = new.spread, old.spread
    if new_low <= old_high and old_low <= new_high:
        return ""
    went_up = new.median > old.median
    verdict = "better" if went_up == (new.better == "higher") else "worse"
    return f"{verdict}: {number(old)} -> {number(new)}"


def number(row: Row) -> str:
    """The median with its unit, three digits."""
    digits = f"{row.median:,.0f}" if abs(row.median) >= 100 else f"{row.median:.3g}"
    return f"{digits}{'' if row.unit in ('x', '%') else ' '}{row.unit}"
