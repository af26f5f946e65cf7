"""The scores of the PhysioNet/CinC Challenge 2020 and of CPSC2018, as their organisers define them.

Shape legend: `N` records, `L` labels of a model, `S` the labels among them that the challenge scores.

Challenge 2020: Perez Alday et al. 2020, doi 10.1088/1361-6579/abc960; definitions and weights as in the organisers'
`evaluation-2020` repository (BSD-2-Clause). CPSC2018: Liu et al. 2018, doi 10.1166/jmihi.2018.2442, and the organisers'
scoring script. Both were run beside this file on random cases when it was written: see its tests.

Example:
    >>> challenge2020([[1, 0], [0, 1]], [[1, 0], [0, 1]], ["426783006", "164889003"])["challenge_metric"]
    1.0
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from ecg_transfer.metrics import AGGREGATES, Evaluation
from ecg_transfer.ranking import divide

Floats = NDArray[np.float64]

SAME_DIAGNOSIS = {"59118001": "713427006", "63593006": "284470004", "17338001": "427172004"}
"""Codes that the challenge scores as another one: RBBB as complete RBBB, SVPB as PAC, VPB as PVC."""

NORMAL = "426783006"
"""Sinus rhythm, the answer of the challenge's inactive model, which scores 0."""

PLACE = {
    "426783006": 0.0,
    "164947007": 0.05,
    "270492004": 0.05,
    "426177001": 0.05,
    "426627000": 0.05,
    "427393009": 0.05,
    "713426002": 0.05,
    "284470004": 0.0875,
    "39732003": 0.1,
    "445118002": 0.1,
    "47665007": 0.1,
    "698252002": 0.1,
    "10370003": 0.125,
    "427084000": 0.125,
    "427172004": 0.125,
    "713427006": 0.15,
    "251146004": 0.175,
    "111975006": 0.2,
    "164909002": 0.225,
    "164889003": 0.25,
    "164890007": 0.25,
    "164934002": 0.25,
    "59931005": 0.25,
    "164917005": 0.35,
}
"""The 24 scored diagnoses (27 SNOMED CT codes, three of them another's equal) on a line: the challenge's weight of one
diagnosis given for another is 0.5 less their distance. That is its table `weights.csv` to the last digit."""

CPSC2018_LABELS = ("NORM", "AF", "IAVB", "LBBB", "RBBB", "PAC", "VEB", "STD", "STE")
"""CPSC2018's nine types in its own order."""

_CPSC2018_GROUPS = {"f1_af": (1,), "f1_block": (2, 3, 4), "f1_pc": (5, 6), "f1_st": (7, 8)}


def weights2020(codes: Sequence[str]) -> Floats:
    """The challenge's table for these scored codes, (S, S): rows are true diagnoses, columns given ones."""
    place = np.array([PLACE[code] for code in codes])
    table: Floats = 0.5 - np.abs(place[:, None] - place)
    np.fill_diagonal(table, 1.0)
    return table


def challenge2020(
    logits: ArrayLike, targets: ArrayLike, codes: Sequence[str | None], thresholds: float | ArrayLike = 0.5
) -> dict[str, float]:
    """Score as the PhysioNet/CinC Challenge 2020 does, over the labels that it scores and the model knows.

    Labels that the challenge does not score, or the model does not know, count as neither true nor given. Its own
    ranking was over all 24 and hidden records: numbers compare with it only so far.

    Args:
        logits: (N, L); positive where `sigmoid(logit) > threshold`.
        targets: (N, L), zeros and ones.
        codes: For each label its SNOMED CT code, or None.
        thresholds: As `Evaluation` takes them.

    Returns:
        `challenge_metric`: credit by `weights2020`, shared among the true and given diagnoses of a record, 0 for always
        answering `NORMAL` and 1 for all right; `f_beta`, `g_beta`: the means over labels of
        5 TP / (5 TP + FP + 4 FN) and TP / (TP + FP + 2 FN), each record counting 1 / its number of diagnoses;
        `f_measure`, `auroc`, `auprc`: means over labels, `auprc` step-wise; `accuracy`: share of records with all
        diagnoses right. Labels where a measure is 0/0 are left out of its mean; NaN where none is left.

    Raises:
        ValueError: None of the labels is scored, or what `Evaluation` raises.
    """
    columns, scored = _scored(codes)
    limits = np.asarray(thresholds, dtype=np.float64)
    logits, targets = np.asarray(logits, np.float64), np.asarray(targets, np.float64)
    evaluation = Evaluation(
        _joined(logits, columns, "mean"),
        _joined(targets, columns, "max"),
        0.5 if limits.ndim else limits,
    )
    true = evaluation.targets
    given = _joined((expit(logits) > limits).astype(np.float64), columns, "max")
    share = 1 / np.maximum(true.sum(axis=1), 1)
    tp, fp, fn = (share @ table for table in (true * given, (1 - true) * given, true * (1 - given)))
    counts = given * true, given + true
    return {
        "challenge_metric": _challenge_metric(true, given, scored),
        "f_beta": _mean(divide(5 * tp, 5 * tp + fp + 4 * fn, empty=np.nan)),
        "g_beta": _mean(divide(tp, tp + fp + 2 * fn, empty=np.nan)),
        "f_measure": _mean(divide(2 * counts[0].sum(axis=0), counts[1].sum(axis=0), empty=np.nan)),
        "auroc": float(AGGREGATES["auroc_macro"](evaluation, None)),
        "auprc": float(AGGREGATES["ap_macro"](evaluation, None)),
        "accuracy": float((true == given).all(axis=1).mean()),
    }


def _scored(codes: Sequence[str | None]) -> tuple[list[list[int]], list[str]]:
    """For each scored diagnosis the columns that mean it, and its code."""
    columns: dict[str, list[int]] = {}
    for column, code in enumerate(codes):
        code = SAME_DIAGNOSIS.get(code or "", code)
        if code in PLACE:
            columns.setdefault(code, []).append(column)
    if not columns:
        raise ValueError("none of the labels is one that the PhysioNet/CinC Challenge 2020 scores")
    return list(columns.values()), list(columns)


def _joined(values: Floats, columns: list[list[int]], how: str) -> Floats:
    """One column a diagnosis, (N, S): of equal diagnoses the mean score, and any positive."""
    joined = [values[:, group].mean(axis=1) if how == "mean" else values[:, group].max(axis=1) for group in columns]
    return np.stack(joined, axis=1)


def _challenge_metric(true: Floats, given: Floats, codes: Sequence[str]) -> float:
    if NORMAL not in codes:  # the inactive model's answer, which this model cannot give
        true, given = (np.hstack([table, np.zeros((len(table), 1))]) for table in (true, given))
        codes = [*codes, NORMAL]
    weights = weights2020(codes)
    inactive = np.zeros_like(true)
    inactive[:, codes.index(NORMAL)] = 1

    def credit(answer: Floats) -> float:
        shared = true / np.maximum(np.maximum(true, answer).sum(axis=1, keepdims=True), 1)
        return float((weights * (shared.T @ answer)).sum())

    zero, best = credit(inactive), credit(true)
    return (credit(given) - zero) / (best - zero) if best != zero else 0.0


def cpsc2018(logits: ArrayLike, targets: ArrayLike) -> dict[str, float]:
    """Score as the China Physiological Signal Challenge 2018 does: one answer a record, the label of the largest logit.

    An answer that is among a record's labels is right; a wrong one is counted against the record's first label. The
    challenge-2020 layout does not say which label CPSC2018 listed first: here it is the first in `CPSC2018_LABELS`,
    which can change the score of wrong answers on the 7 % of records with several labels.

    Args:
        logits: (N, 9), columns as `CPSC2018_LABELS`.
        targets: (N, 9), zeros and ones, at least one 1 a record.

    Returns:
        `f1`: the mean of the nine types' 2 N_ii / (N_i. + N_.i); `f1_af`, `f1_block` (IAVB, LBBB, RBBB), `f1_pc` (PAC,
        VEB) and `f1_st` (STD, STE), of the types pooled. A type that is neither there nor answered has no F1, and with
        it `f1` is NaN, as in the organisers' script.

    Raises:
        ValueError: Other than nine labels, a record without a label, or what `Evaluation` raises.
    """
    evaluation = Evaluation(logits, targets)
    if evaluation.num_labels != len(CPSC2018_LABELS) or not evaluation.targets.any(axis=1).all():
        raise ValueError(f"expected the {len(CPSC2018_LABELS)} labels of CPSC2018 and at least one of them a record")
    answer = evaluation.logits.argmax(axis=1)
    right = evaluation.targets[np.arange(len(answer)), answer] == 1
    table = np.zeros((9, 9))
    np.add.at(table, (np.where(right, answer, evaluation.targets.argmax(axis=1)), answer), 1)
    diagonal, margins = np.diag(table), table.sum(axis=1) + table.sum(axis=0)
    scores = {"f1": float(divide(2 * diagonal, margins, empty=np.nan).mean())}
    for name, types in _CPSC2018_GROUPS.items():
        scores[name] = float(divide(2 * diagonal[list(types)].sum(), margins[list(types)].sum(), empty=np.nan))
    return scores


def _mean(values: Floats) -> float:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if defined.size else float("nan")
