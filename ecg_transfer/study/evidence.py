"""What claims are held against, what they are, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ecg_transfer.study.effects import CellEffect
from ecg_transfer.study.learning_curve import LearningCurve, learning_curves
from ecg_transfer.study.significance import MIN_SEEDS
from ecg_transfer.study.speed import Speed
from ecg_transfer.study.verdict import Finding, Verdict

MIN_SIZES, MIN_SPAN = 3, 4.0
"""Sizes of a learning curve, and the least ratio of its largest to its smallest, for a slope over size."""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a claim is held against: the cells of one setting with at least `MIN_SEEDS` paired seeds."""

    effects: list[CellEffect]
    speeds: list[Speed]
    num_too_few: int
    """Cells left out because they have fewer seeds."""

    @cached_property
    def curves(self) -> list[LearningCurve]:
        """Learning curves with enough sizes for a slope."""
        return [
            curve
            for curve in learning_curves(self.effects)
            if len(curve.points) >= MIN_SIZES and curve.sizes[-1] >= MIN_SPAN * curve.sizes[0]
        ]


@dataclass(frozen=True, kw_only=True)
class ClaimResult:
    """What became of a claim."""

    id: str
    text: str
    test: str
    quantity: str
    """What `estimate` is, with its unit."""
    estimate: float
    low: float
    high: float
    p: float | None
    """Of a sign-flip test over seeds; None where the cells do not share theirs."""
    p_holm: float | None = None
    """Adjusted for the four claims of the setting."""
    verdict: Verdict
    reason: str
    """A sentence."""
    num_cells: int
    num_seeds: int
    """Paired seeds of the cell with the fewest."""
    corpora: tuple[str, ...]
    """Downstream corpora used; the verdict tells of no others."""
    setting: str = ""
    """Recipe, learning rate and batch size."""
    simulated: bool = False
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim of the paper in our words, with its pre-declared test."""

    id: str
    text: str
    test: str
    quantity: str
    judge: Callable[[Claim, Evidence], ClaimResult]


def interval_text(found: Finding) -> str:
    """`+0.040 [+0.020, +0.060]`."""
    return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def says(found: Finding, verb: str) -> str:
    """`gains +0.040 [+0.020, +0.060]`, and what to think of it where that is not plain."""
    tail = {
        "supported": "",
        "not supported": f" (a margin of {found.margin:g} is excluded)",
        "inconclusive": " (which may be nothing)",
    }
    return f"{verb} {interval_text(found)}{tail[found.verdict]}"


def result_of(
    claim: Claim,
    evidence: Evidence,
    used: Sequence[CellEffect],
    found: Finding,
    verdict: Verdict,
    reason: str,
    p: float | None,
) -> ClaimResult:
    """A claim's result.

    Args:
        claim: Which.
        evidence: What it was held against; the reason tells of cells that do not count.
        used: The cells that did.
        found: The quantity to report.
        verdict: The verdict.
        reason: A sentence without its full stop.
        p: Of a test over seeds, if there is one.
    """
    left_out = (
        f"; {evidence.num_too_few} cells with fewer than {MIN_SEEDS} seeds do not count" if evidence.num_too_few else ""
    )
    return ClaimResult(
        id=claim.id,
        text=claim.text,
        test=claim.test,
        quantity=claim.quantity,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=p,
        verdict=verdict,
        reason=f"{reason}{left_out}.",
        num_cells=len(used),
        num_seeds=min((len(result.cell.units) for result in used), default=0),
        corpora=tuple(sorted({result.cell.downstream for result in used})),
    )


def nothing(claim: Claim, evidence: Evidence, missing: str) -> ClaimResult:
    """Too little to judge by."""
    nan = float("nan")
    found = Finding(estimate=nan, low=nan, high=nan, margin=nan)
    return result_of(
        claim,
        evidence,
        [],
        found,
        "inconclusive",
        f"There is {missing} among cells with {MIN_SEEDS} paired seeds",
        None,
    )
