"""What a report says in words: the answer, the counts at its top, whose ECGs, what is left out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from ecg_transfer.drawing import seeds_text
from ecg_transfer.runs import Run
from ecg_transfer.study.arrangement import DOWNSTREAMS, UPSTREAMS, Setting, corpus_name, in_order, metric_name
from ecg_transfer.study.benchmark import Measured
from ecg_transfer.study.effects import CellEffect, pooled
from ecg_transfer.study.figures.exhibit import several
from ecg_transfer.study.page import with_interval
from ecg_transfer.study.results import Study
from ecg_transfer.study.significance import MIN_SEEDS
from ecg_transfer.study.way_tables import WaysOf


def answer(settings: Sequence[Setting], benchmark: Sequence[Measured]) -> str:
    """The study's question, answered in a sentence."""
    if not settings:
        return (
            "There is no pair of a finished fine-tuning and its training from scratch yet, so there is no answer yet."
            + " What trainings on PTB-XL reach stands beside the published numbers below." * bool(benchmark)
        )
    setting = settings[0]
    shown = list(setting.places.values())
    effect, _ = pooled(shown)
    low, high = effect.low, effect.high
    found = (
        f"over {several(len(shown))} it changes the test {metric_name(_effect_metric(shown))} by "
        f"{with_interval(effect.estimate, low, high)} against training from scratch, each downstream corpus counting "
        "the same."
    )
    kind = "on SIMULATED ECGs, " if setting.simulated else ""
    kind = f"with {setting.name}, {kind}" if len(settings) > 1 else kind
    undefined = sum(math.isnan(result.effect.estimate) for result in shown)
    if undefined:
        score = f"the test {metric_name(_effect_metric(shown))} is undefined in {undefined:,} of {several(len(shown))}"
        sentence = f"{kind}it cannot be told whether fine-tuning helps: {score}."
    elif effect.num_seeds < MIN_SEEDS:
        few = f"with {several(effect.num_seeds, 'seed')}, where a verdict needs {MIN_SEEDS}"
        sentence = f"{kind}it is too early to tell whether fine-tuning helps: {few}, {found}"
    else:
        does = "helps" if low > 0 else "hurts" if high < 0 else "makes no difference that these runs can tell"
        sentence = f"{kind}fine-tuning {does}: {found}"
    better = sum(result.effect.low > 0 for result in shown)
    worse = sum(result.effect.high < 0 for result in shown)
    singly = f"Taken one at a time, the 95 % interval lies above 0 in {better} of them and below 0 in {worse}."
    return f"{sentence[0].upper()}{sentence[1:]} {singly * (len(shown) > 1)}".strip()


def ways_answer(families: Sequence[WaysOf]) -> str:
    """Which of several ways helps, in two sentences on the family that has the most; empty where none has several."""
    several_ways = [each for each in families if len(each.by_way) > 1]
    if not several_ways:
        return ""
    each = max(several_ways, key=lambda family: len(family.by_way))
    effects = dict(each.means) or {
        way: members[-1][1].effect
        for way, members in each.by_way.items()
        if members[-1][0].cell.num_train == each.sizes[-1]
    }
    others = [way for way in each.by_way if way not in effects]
    missing = (
        f" Not run at {'every one' if each.means else 'this one'} of the sizes, and so left out: {', '.join(others)}."
    )
    sizes = [f"{size:,}" for size in each.sizes]
    where = (
        f"on the mean of {', '.join(sizes[:-1])} and {sizes[-1]} records" if each.means else f"on {sizes[-1]} records"
    )
    better = sum(effect.low > 0 for effect in effects.values())
    worse = sum(effect.high < 0 for effect in effects.values())
    sentence = (
        f"{each.title}{', SIMULATED' * each.simulated}: {better} of {several(len(effects), 'way')} of fine-tuning "
        f"{'gains' if better == 1 else 'gain'} over training from scratch and {worse} "
        f"{'loses' if worse == 1 else 'lose'}, {where}, each side at the learning rate that validation chose."
    )
    best = max(effects, key=lambda way: effects[way].estimate)
    effect = effects[best]
    gain = f"{best} {with_interval(effect.estimate, effect.low, effect.high)}"
    largest = f"The largest difference: {gain} (the best of {len(effects)}, and so a little flattered)."
    return f"{sentence} {largest}{missing * bool(others)}"


def _effect_metric(effects: Sequence[CellEffect]) -> str:
    """The score that effects are about, without which epoch it was taken at."""
    return effects[0].effect.metric.partition("/")[2]


def counts(runs: Sequence[Run], study: Study, effects: Sequence[CellEffect]) -> list[tuple[str, str]]:
    """What the page counts at its top: (name, value)."""
    results = study.results
    if not len(results):
        return [("runs", f"0 finished of {len(runs)}")]
    downstream = in_order(set(results[results["phase"] != "pretrain"]["downstream"]), DOWNSTREAMS)
    upstream = in_order({effect.cell.upstream for effect in effects}, UPSTREAMS)
    return [
        ("runs", f"{len(results):,} finished" + (f" of {len(runs):,}" if len(runs) > len(results) else "")),
        ("comparisons", f"{len(effects):,}"),
        ("seeds each", seeds_text([effect.effect.num_seeds for effect in effects]).partition(" ")[0]),
        ("upstream", ", ".join(map(corpus_name, upstream)) or "none"),
        ("downstream", ", ".join(map(corpus_name, downstream)) or "none"),
    ]


def simulated_text(study: Study) -> str:
    """What the banner says; empty when all ECGs are real."""
    if not len(study.results) or not study.results["simulated"].any():
        return ""
    share = study.results["simulated"].sum()
    return (
        f"{share:,} of {len(study.results):,} runs are on simulated ECGs. They show that the method works; they tell "
        "nothing of patients. Real and simulated ECGs are never pooled."
    )


def one_draw(study: Study) -> list[str]:
    """A sentence where several seeds were trained on the same part of the records; else none."""
    parts = study.results[study.results["subset"].notna()] if len(study.results) else study.results
    if not len(parts):
        return []
    repeated = [group for _, group in parts.groupby("cell") if group["seed"].nunique() > 1]
    alike = [group for group in repeated if group["subset_seed"].nunique() == 1]
    if not alike:
        return []
    which = "all" if len(alike) == len(repeated) else f"in {len(alike):,} of {len(repeated):,} cases"
    return [
        f"Trainings on part of the records {which} have the same draw of them (one data.subset_seed): the intervals "
        f"{'at these sizes' if which == 'all' else 'there'} leave out what another draw would bring."
    ]


def one_seed(effects: Sequence[CellEffect]) -> list[str]:
    """A sentence where a comparison has a single seed, whose interval is narrower than several seeds' would be."""
    single = sum(effect.effect.num_seeds == 1 for effect in effects)
    if not single:
        return []
    return [
        f"{single} of {several(len(effects), 'comparison')} {'has' if single == 1 else 'have'} one seed: what is given "
        "as an interval there is over test patients alone, says nothing of other trainings, and has no ▲ or ▼."
    ]


def left_out(runs: Sequence[Run], num_hidden: int) -> list[str]:
    """Sentences on what the page does not show: unfinished runs, and so many settings without figures."""
    notes = []
    unfinished = [run for run in runs if not run.is_done]
    if unfinished:
        states = pd.Series([run.status for run in unfinished]).value_counts()
        notes.append(
            "Not in this report: "
            + ", ".join(several(count, f"{state} run") for state, count in sorted(states.items()))
            + "."
        )
    if num_hidden:
        notes.append(
            f"{num_hidden} more settings have no figures here; the tables of all comparisons and verdicts have them."
        )
    return notes
