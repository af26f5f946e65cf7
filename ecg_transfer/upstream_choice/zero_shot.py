"""How an upstream's own head does on the labels that it shares with a downstream, without any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_modules.datamodule import ECGDataModule
from data_modules.label_map import LabelMatch
from ecg_transfer.metrics import Evaluation
from ecg_transfer.study.bootstrap import draw_patients, interval
from ecg_transfer.upstream import Upstream
from ecg_transfer.upstream_choice.forward import embed, upstream_model

NUM_DRAWS = 1000
"""Draws of patients: enough for limits that are read to two digits."""


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """One shared label."""

    upstream: str
    downstream: str
    num_positives: int
    auroc: float
    """NaN without positives or without negatives."""
    auroc_limits: tuple[float, float]
    """95 %, over patients."""
    f1: float
    """At a threshold of 0.5."""
    f1_limits: tuple[float, float]


def zero_shot(
    upstream: Upstream,
    data: ECGDataModule,
    matches: Sequence[LabelMatch],
    *,
    part: str = "val",
    trust: bool = False,
    seed: int = 0,
) -> list[ZeroShot]:
    """Score an upstream's head on the labels that mean the same, one row a match.

    Args:
        upstream: A finished run, or an exported model.
        data: The downstream's, set up, prepared as the upstream's input.
        matches: As `match_labels` gives them; only those that are the same count.
        part: `val`, or `test` once nothing is chosen by it any more.
        trust: Whether to run the code of a model's own backbone, one of no name that is known here.
        seed: Of the draws.
    """
    same = [match for match in matches if match.relation == "same"]
    if not same:
        return []
    seen = embed(upstream_model(upstream, trust=trust), data, (part,))[part]
    theirs = [upstream.label_names.index(match.upstream) for match in same]
    ours = [data.label_names.index(match.downstream) for match in same]
    targets = seen.targets[:, ours]
    evaluation = Evaluation(seen.logits[:, theirs], targets)
    weights = draw_patients(data.groups[seen.rows], targets, num_draws=NUM_DRAWS, seed=seed).weights
    auroc, f1 = evaluation.auroc(), evaluation.f1()
    auroc_draws, f1_draws = evaluation.auroc(weights), evaluation.f1(weights)
    return [
        ZeroShot(
            upstream=match.upstream,
            downstream=match.downstream,
            num_positives=int(targets[:, place].sum()),
            auroc=float(auroc[place]),
            auroc_limits=_limits(auroc_draws[:, place]),
            f1=float(f1[place]),
            f1_limits=_limits(f1_draws[:, place]),
        )
        for place, match in enumerate(same)
    ]


def _limits(draws: NDArray[np.float64]) -> tuple[float, float]:
    return interval(draws)
