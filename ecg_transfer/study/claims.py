"""The paper's four claims, each with a test declared before any result, an effect and a verdict.

Rules that all of them share: the verdict follows from 95 % intervals over test patients and seeds (`verdict.Finding`),
not from p values; a cell with fewer than six paired seeds does not count; cells are pooled within one setting (recipe,
learning rate, budget) and never across real and simulated ECGs; each downstream corpus counts the same; p values are
adjusted by Holm over the four claims of a setting.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ecg_transfer.study.arrangement import metric_name, settings_of
from ecg_transfer.study.bootstrap import NUM_DRAWS, student_over_normal
from ecg_transfer.study.effects import CellEffect, cell_effects, equal_corpora, pooled, shared_units
from ecg_transfer.study.equivalence import crossover_sentence
from ecg_transfer.study.evidence import (
    MIN_SIZES,
    MIN_SPAN,
    Claim,
    ClaimResult,
    Evidence,
    interval_text,
    nothing,
    result_of,
    says,
)
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.results import Study
from ecg_transfer.study.significance import MIN_SEEDS, holm, sign_flip_p
from ecg_transfer.study.speed import Speed, cell_speeds
from ecg_transfer.study.verdict import MARGIN, Finding, Verdict, all_of, finding

Floats = NDArray[np.float64]

SMALL = 1000
"""Training records up to which a downstream set is small: PTB and Ribeiro of the paper's corpora."""

DECLARED = "val_selected/f1_weighted"
"""The score of the declared analysis: the paper's, of the epoch chosen on validation."""

MIN_CELLS = MIN_SEEDS
"""Cells that must all improve before a missing exception tells against C1: were every other cell an exception, as many
without one would be as rare as as many seeds of one sign."""

FASTER = 0.9
"""Ratio of updates to the target that is the least that matters: a tenth fewer."""

CNN, RNN, POOLED = "resnet1d", ("lstm", "bilstm", "gru"), ("_mean", "_last")
"""How the two families of backbones are told apart: CNNs by their prefix, the paper's RNNs by name, the RNNs whose
output is pooled over time by their suffix."""

SHOWN = 3
"""Crossovers that a reason tells."""


def judge(
    study: Study,
    *,
    effects: Sequence[CellEffect] | None = None,
    speeds: Sequence[Speed] | None = None,
    num_draws: int = NUM_DRAWS,
    seed: int = 0,
) -> list[ClaimResult]:
    """Hold all claims against a study: one list of four for each setting, in the order of `settings_of`.

    The paper fine-tuned all weights, and its upstreams learnt labels in the recipe of the fine-tunings; other settings
    take no part.

    Args:
        study: As `read_study` gives it.
        effects: As `cell_effects` gives them, where they are at hand; those of another score than the declared
            `val_selected/f1_weighted` make the verdicts exploratory, and a note says so.
        speeds: As `cell_speeds` gives them for the same cells, in updates.
        num_draws: B.
        seed: Of the draws.
    """
    if effects is None:
        effects = cell_effects(find_cells(study.results), num_draws=num_draws, seed=seed)
    if speeds is None:
        speeds = cell_speeds([result.cell for result in effects], study.curves, num_draws=num_draws, seed=seed)
    judged = []
    for setting in settings_of(effects):
        if not setting.is_papers:
            continue
        known = [result for result in setting.effects if len(result.cell.units) >= MIN_SEEDS]
        cells = {result.cell for result in known}
        evidence = Evidence(
            effects=known,
            speeds=[speed for speed in speeds if speed.cell in cells],
            num_too_few=len(setting.effects) - len(known),
        )
        metric = setting.effects[0].effect.metric
        notes = _notes(metric, simulated=setting.simulated)
        judged += [
            replace(
                found,
                simulated=setting.simulated,
                setting=setting.name,
                notes=notes,
                quantity=_quantity(found, metric),
            )
            for found in judge_evidence(evidence)
        ]
    return judged


def _quantity(result: ClaimResult, metric: str) -> str:
    """What a result's estimate is, of the score that it is about."""
    if metric == DECLARED:
        return result.quantity
    return result.quantity.replace("gain in F1", f"gain in {metric_name(metric.partition('/')[2])}")


def _notes(metric: str, *, simulated: bool) -> tuple[str, ...]:
    notes = ["p values are adjusted by Holm over the four claims; the verdicts rest on 95 % intervals"]
    if metric != DECLARED:
        notes.append(f"exploratory: {metric} is not the declared score, {DECLARED}")
    if simulated:
        notes.append("SIMULATED ECGs: this tells nothing of patients")
    return tuple(notes)


def judge_evidence(evidence: Evidence) -> list[ClaimResult]:
    """Hold all claims against the cells of one setting."""
    results = [claim.judge(claim, evidence) for claim in CLAIMS]
    adjusted = holm([result.p for result in results])
    return [replace(result, p_holm=p) for result, p in zip(results, adjusted, strict=True)]


def judge_small_sets(claim: Claim, evidence: Evidence) -> ClaimResult:
    """C1: the mean effect of the small sets, and whether a cell shows no improvement, or enough cells show one each."""
    small = [result for result in evidence.effects if result.cell.num_train <= SMALL]
    if not small:
        return nothing(claim, evidence, f"no cell with at most {SMALL} training records")
    effect, draws = pooled(small, name="val_selected")
    found = finding(effect.estimate, draws)
    num_cells = len(evidence.effects)
    exceptions = [result for result in evidence.effects if _is_excluded(result, num_cells)]
    always = all(result.effect.low > 0 for result in evidence.effects)
    second: Verdict = "inconclusive"
    if exceptions:
        second = "supported"
        middle = f"{len(exceptions)} of {num_cells} cells exclude a gain of {MARGIN}: it does not always improve"
    elif not always:
        middle = f"but no cell of {num_cells} excludes a gain of {MARGIN}, nor do all improve"
    elif num_cells < MIN_CELLS:
        middle = f"but it improves every one of {num_cells} cells, and fewer than {MIN_CELLS} tell of no exceptions"
    else:
        second = "not supported"
        middle = f"but it improves every one of {num_cells} cells, so the exceptions are missing"
    reason = f"On small sets fine-tuning {says(found, 'gains')}; {middle}"
    return result_of(claim, evidence, small, found, all_of(found.verdict, second), reason, effect.p)


def judge_decline(claim: Claim, evidence: Evidence) -> ClaimResult:
    """C2: the slope of the effect over the logarithm of the size, where there is an effect at the smallest size."""
    curves = evidence.curves
    points = [point for curve in curves for point in curve.points]
    if not curves:
        reason = f"no learning curve with {MIN_SIZES} sizes that span a factor of {MIN_SPAN:g}"
        return nothing(claim, evidence, reason)
    corpora = equal_corpora([curve.points[0] for curve in curves])
    slopes = [_slope_weights(curve.sizes) for curve in curves]
    declines = [-(slope @ curve.difference) for slope, curve in zip(slopes, curves, strict=True)]
    draws = np.stack([-(slope @ curve.difference_draws) for slope, curve in zip(slopes, curves, strict=True)])
    decline = finding(float(corpora @ declines), corpora @ draws)
    start_effect, start_draws = pooled([curve.points[0] for curve in curves])
    start = finding(start_effect.estimate, start_draws)
    p = None
    if shared_units(points):
        by_seed = [
            -(slope @ [point.differences for point in curve.points])
            for slope, curve in zip(slopes, curves, strict=True)
        ]
        p = sign_flip_p(corpora @ np.stack(by_seed))
    sentences = "; ".join(f"{curve.name}: {crossover_sentence(curve)}" for curve in curves[:SHOWN])
    reason = (
        f"At the smallest size fine-tuning {says(start, 'gains')}; the gain {says(decline, 'declines by')} with "
        f"ten times the records. Catching up, at these budgets: {sentences}"
    )
    return result_of(claim, evidence, points, decline, all_of(start.verdict, decline.verdict), reason, p)


def judge_speed(claim: Claim, evidence: Evidence) -> ClaimResult:
    """C3: the ratio of updates to the target, pooled as a geometric mean."""
    speeds = [speed for speed in evidence.speeds if len(speed.log_ratios) >= MIN_SEEDS]
    effects = {result.cell: result for result in evidence.effects}
    used = [effects[speed.cell] for speed in speeds]
    if not speeds:
        return nothing(claim, evidence, "no cell whose trainings from scratch set a target")
    corpora = equal_corpora(used)
    gain = float(-(corpora @ [speed.log_ratios.mean() for speed in speeds]))
    found = finding(gain, -(corpora @ np.stack([speed.log_ratio_draws for speed in speeds])), -np.log(FASTER))
    p = None
    if shared_units(used) and all(len(speed.log_ratios) == len(speed.cell.units) for speed in speeds):
        p = sign_flip_p(corpora @ np.stack([speed.log_ratios for speed in speeds]))
    ratio = Finding(
        estimate=float(np.exp(-gain)), low=float(np.exp(-found.high)), high=float(np.exp(-found.low)), margin=FASTER
    )
    censored = {arm: sum(speed.num_censored[arm] for speed in speeds) for arm in ("finetune", "scratch")}
    meaning = {
        "supported": "is faster",
        "not supported": f"is not a tenth faster (a ratio of {FASTER} is excluded)",
        "inconclusive": "may be faster or not",
    }[found.verdict]
    reason = (
        f"Fine-tuning needs {ratio.estimate:.2f} [{ratio.low:.2f}, {ratio.high:.2f}] times scratch's updates to the "
        f"target and {meaning}; {censored['finetune']} fine-tunings never reach it"
    )
    return result_of(claim, evidence, used, ratio, found.verdict, reason, p)


def judge_families(claim: Claim, evidence: Evidence) -> ClaimResult:
    """C4: the mean effect of CNNs minus that of RNNs, within each pair of corpora and size."""
    main = _family_difference(evidence.effects, lambda name: name in RNN)
    if main is None:
        return nothing(claim, evidence, "no pair of corpora and size with both a CNN and an RNN")
    found, used, p = main
    verdict = found.verdict
    caveat = "the heads of the paper's RNNs hold most parameters and never transfer"
    other = _family_difference(evidence.effects, lambda name: name.startswith(RNN) and name.endswith(POOLED))
    if other is None:
        caveat += ", and no RNN with pooled output was run to tell this apart"
    else:
        pooled_rnn = other[0]
        caveat += f"; against RNNs with pooled output the difference is {interval_text(pooled_rnn)}"
        if (verdict, pooled_rnn.verdict) == ("supported", "not supported"):
            verdict = "inconclusive"
            caveat += ", so the head may be the cause, not the architecture"
    reason = f"CNNs {says(found, 'gain more by')} than RNNs; {caveat}"
    return result_of(claim, evidence, used, found, verdict, reason, p)


def _family_difference(
    effects: Sequence[CellEffect], is_rnn: Callable[[str], bool]
) -> tuple[Finding, list[CellEffect], float | None] | None:
    strata: dict[tuple[str, str, int], dict[bool, list[CellEffect]]] = defaultdict(lambda: {True: [], False: []})
    for result in effects:
        cell = result.cell
        if cell.backbone.startswith(CNN) or is_rnn(cell.backbone):
            strata[cell.downstream_name, cell.upstream, cell.num_train][cell.backbone.startswith(CNN)].append(result)
    both = [arms for _, arms in sorted(strata.items()) if arms[True] and arms[False]]
    if not both:
        return None
    corpora = equal_corpora([arms[True][0] for arms in both])
    used = [result for arms in both for results in arms.values() for result in results]

    def contrast(value: Callable[[CellEffect], Floats]) -> Floats:
        means = [
            {is_cnn: np.mean([value(result) for result in results], axis=0) for is_cnn, results in arms.items()}
            for arms in both
        ]
        return np.asarray(corpora @ np.stack([mean[True] - mean[False] for mean in means]))

    estimate = contrast(lambda result: np.array([result.effect.estimate]))
    found = finding(float(estimate[0]), contrast(lambda result: result.difference_draws))
    p = sign_flip_p(contrast(lambda result: result.differences)) if shared_units(used) else None
    return found, used, p


def _is_excluded(result: CellEffect, num_cells: int) -> bool:
    """Whether a cell surely gains less than the margin, one-sided at 5 % over all cells (Bonferroni).

    Draws are as wide as Student's t at 95 %; so far out as 5 % over many cells is, t is wider still.
    """
    num_seeds = result.effect.num_seeds
    standard_error = result.difference_draws.std() / student_over_normal(num_seeds)
    bound = stats.t.ppf(1 - 0.05 / num_cells, num_seeds - 1) * standard_error
    return bool(result.effect.estimate + bound < MARGIN)


def _slope_weights(sizes: NDArray[np.int64]) -> Floats:
    """Weights (K,) whose product with K values is their least-squares slope over log10 of the size."""
    centred = np.log10(sizes) - np.log10(sizes).mean()
    return np.asarray(centred / (centred @ centred))


CLAIMS = (
    Claim(
        id="C1",
        text="Fine-tuning is preferable for small downstream sets, but does not always improve.",
        test=f"The mean effect over cells with at most {SMALL} training records is above 0, and at least one cell of "
        f"any size excludes a gain of {MARGIN} (one-sided 5 % over all cells); that none does tells against the claim "
        f"where all of at least {MIN_CELLS} cells improve.",
        quantity="mean gain in F1 on small sets",
        judge=judge_small_sets,
    ),
    Claim(
        id="C2",
        text="The improvement declines as the downstream set grows.",
        test=f"Over nested subsets (at least {MIN_SIZES} sizes, spanning a factor of {MIN_SPAN:g}) the effect is "
        "above 0 at the smallest size, and its least-squares slope over log10 of the size is below 0.",
        quantity="decline of the gain in F1 with ten times the records",
        judge=judge_decline,
    ),
    Claim(
        id="C3",
        text="Fine-tuning converges faster.",
        test="The geometric mean ratio of updates to 95 % of scratch's final validation score, fine-tuning over "
        "scratch, is below 1; a run that never reaches it counts as reaching it at the end of the longer training.",
        quantity="ratio of updates to the target",
        judge=judge_speed,
    ),
    Claim(
        id="C4",
        text="Fine-tuning helps CNNs more than RNNs.",
        test="Within each pair of corpora and size, the mean effect of the CNNs minus that of the paper's RNNs is "
        "above 0; RNNs with pooled output, whose heads are small, must not contradict it.",
        quantity="gain in F1 of CNNs minus that of RNNs",
        judge=judge_families,
    ),
)
"""The paper's claims (arXiv 2402.02021), in our words."""
