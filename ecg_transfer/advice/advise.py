"""`advise()`: a page in plain words on which upstream, backbone and way, what to expect, at what cost, how sure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_modules.sources import will_simulate
from ecg_transfer.advice.nearest import Choice, Gain, Nearest, expected_gain, measured, nearest
from ecg_transfer.advice.proposal import FIRST_SEEDS, Proposal, as_dict, propose
from ecg_transfer.config_reading import Overrides, data_config
from ecg_transfer.leaks import leak_sentences
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, find_runs
from ecg_transfer.study.equivalence import equivalence_sentences
from ecg_transfer.study.quantities import duration
from ecg_transfer.study.results import TUNED
from ecg_transfer.study.significance import MIN_SEEDS
from ecg_transfer.study.sizes import part_sizes

MAX_CHOICES = 8
"""Choices that are listed."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading with its sentences, and lines that are commands."""

    title: str
    sentences: tuple[str, ...]
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Advice:
    """What the runs on disk say about a corpus."""

    downstream: str
    num_train: int
    simulated: bool
    """Whether all of it is about simulated ECGs; the two kinds are never mixed."""
    sections: tuple[Section, ...]
    values: dict[str, Any] = field(default_factory=dict)
    """The same as numbers, for JSON: None where there is none."""

    @property
    def title(self) -> str:
        """Its heading."""
        kind = "SIMULATED ECGs" if self.simulated else "real ECGs"
        return f"{self.downstream}, {self.num_train:,} training records [{kind}]"

    def text(self) -> str:
        """For a terminal."""
        lines = [self.title, ""]
        for section in self.sections:
            lines += [section.title, *(f"  {sentence}" for sentence in section.sentences)]
            lines += [*(f"      {command}" for command in section.commands), ""]
        return "\n".join(lines)

    __str__ = text


def advise(
    downstream: str,
    *,
    subset: float | None = None,
    metric: str = "f1_weighted",
    overrides: Overrides = (),
    output: str | Path = DEFAULT_OUTPUT,
    measure: bool = False,
    report: Callable[[str], None] = lambda sentence: None,
) -> Advice:
    """Say what finished runs tell about a corpus that is to be trained on; no signal is read.

    The upstream, backbone and way are chosen by validation scores, what they gain is told by test scores. Evidence on
    the corpus itself comes before that from others, a similar size before another; real and simulated ECGs never mix.

    Args:
        downstream: Name of the corpus, published or own.
        subset: Training records there will be; all of them by default.
        metric: `f1_weighted` or `f1_macro`.
        overrides: Fields of the `data` section.
        output: Where runs live; the file of a study that would tell more goes into its folder `advice`.
        measure: Whether to measure this machine's speed for the estimate of that study.
        report: Is told what is measured.

    Raises:
        ValueError: An unknown corpus or metric, or a subset of no record.
    """
    if metric not in TUNED:
        raise ValueError(f"metric is {metric!r}, expected one of {', '.join(TUNED)}")
    data = data_config(downstream, overrides)
    if subset is not None:
        data.subset = float(subset)
        if data.num_wanted(available := part_sizes(data).train) < 1:
            raise ValueError(
                f"subset={subset:g} takes none of the {available} training records of {downstream}; expected a number "
                "of them, or a share up to 1"
            )
    output = Path(output)
    simulated = will_simulate(data.corpus, data.root, data.source)
    num_train = part_sizes(data).within(data).train
    effects = measured(find_runs(output), simulated=simulated, metric=metric, downstream=data.corpus)
    found = nearest(effects, data.corpus, num_train)

    def offer(sizes: list[object], seeds: int, choice: Choice | None) -> Proposal | str:
        like = choice.config if choice else None
        return propose(
            data, output=output, sizes=sizes, seeds=seeds, like=like, measure=measure, report=report,
            upstream=choice.upstream_corpus if choice else None, pretext=choice.pretext if choice else "none",
            pretrainings=choice.upstream_runs if choice else (),
        )  # fmt: skip

    whole: object = "all" if data.subset is None else int(data.subset) if data.subset > 1 else data.subset
    if found is None:
        proposal = offer([whole], FIRST_SEEDS, None)
        return Advice(
            downstream=data.corpus,
            num_train=num_train,
            simulated=simulated,
            sections=(_nothing(simulated), _offered(proposal, "What would tell")),
            values={"evidence": None, "proposal": _plain(proposal)},
        )
    best = found.choices[0]
    gain = expected_gain(best, found, num_train)
    more = _study_of_more(found, best, num_train, whole, offer)
    sections = (
        _what(found, best),
        _expected(found, best, gain, metric),
        _labels(found, num_train),
        _cost(best, num_train),
        _how_sure(found, best),
        *([_offered(more, "What would tell more")] if more else []),
        *_others(found, num_train),
    )
    values = {
        "evidence": found.where,
        "choice": best.name,
        "gain": {name: _finite(value) for name, value in vars(gain).items()},
        "num_pairs": best.num_pairs,
        "num_seeds": best.num_seeds,
        "proposal": _plain(more) if more else None,
    }
    return Advice(downstream=data.corpus, num_train=num_train, simulated=simulated, sections=sections, values=values)


def gain_text(gain: Gain) -> str:
    """`+0.051 [-0.134, +0.225]`, or the number and that there are no limits."""
    if not math.isfinite(gain.low):
        return f"{gain.estimate:+.3f} (no interval)"
    return f"{gain.estimate:+.3f} [{_limit(gain.low)}, {_limit(gain.high)}]"


def _limit(value: float) -> str:
    """Three decimals, and more where only they tell on which side of 0 a limit lies."""
    return f"{value:+.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:+.1g}"


def _what(found: Nearest, best: Choice) -> Section:
    few = " It is the only one that was tried." if len(found.choices) == 1 else ""
    where = "at the nearest size" if found.is_same_corpus else "on as many corpora"
    runs = ", ".join(best.upstream_runs)
    others = f"of {len(found.choices)}, the best validation score {where}" if not few else "from what is known"
    return Section(
        title="Which upstream, backbone and way",
        sentences=(
            f"{best.backbone}, pre-trained on {best.upstream}{best.upstream_mark}; {best.way} fine-tuning with the "
            f"{best.recipe} recipe, lr {best.lr:g} ({others}).{few}",
            *([f"Several models of that name were tried; this one is {runs}."] if best.upstream_mark else []),
            f"Known {found.where}.",
        ),
    )


def _expected(found: Nearest, best: Choice, gain: Gain, metric: str) -> Section:
    if not math.isfinite(gain.low):
        verdict = "That is too little to expect anything by."
    elif best.num_seeds < MIN_SEEDS:
        verdict = (
            f"No verdict: it needs {MIN_SEEDS} paired seeds and has {best.num_seeds}. So few say nothing of other "
            "trainings, wherever the interval lies."
        )
    elif gain.low > 0:
        verdict = "Pre-training helps: an interval like this leaves out no gain at all."
    elif gain.high < 0:
        verdict = "Pre-training harms here: train from scratch."
    else:
        verdict = "That may be nothing, or harm: no gain at all lies within the interval."
    scores = best.effects[0].scores
    beside = (
        f"Test {metric}: {scores['finetune']:.3f} fine-tuned, {scores['scratch']:.3f} from scratch."
        if found.is_same_corpus
        else f"Tried on {', '.join(best.downstreams)}."
    )
    return Section(
        title="What to expect over training from scratch",
        sentences=(f"{gain_text(gain)} in test {metric}: {gain.meaning}.", verdict, beside),
    )


def _labels(found: Nearest, num_train: int) -> Section:
    sentences: tuple[str, ...]
    if found.curves:
        sentences = tuple(f"{sentence} records." for sentence in equivalence_sentences(found.curves[0]))
    else:
        sentences = (
            "Not known: that needs scratch at several sizes of this corpus. The study below has them."
            if num_train >= 40
            else "Not known, and there are too few records to train on parts of them.",
        )
    return Section(title="How many labels scratch would need for the same", sentences=sentences)


def _cost(best: Choice, num_train: int) -> Section:
    optim = best.config.optim
    per_epoch = math.ceil(num_train / optim.batch_size)
    updates = optim.num_epochs(per_epoch) * per_epoch
    seconds = best.seconds_per_update() * updates
    return Section(
        title="What it costs",
        sentences=(
            f"One fine-tuning: {updates:,} updates of {min(optim.batch_size, num_train)} records, about "
            f"{duration(seconds)} as fast as {best.num_pairs} runs went ({1000 * seconds / updates:.0f} ms an update, "
            "evaluation included, on their machine).",
        ),
    )


def _how_sure(found: Nearest, best: Choice) -> Section:
    effects = best.effects
    tests = ", ".join(f"{effect.effect.num_records:,} of {effect.cell.downstream}" for effect in effects[:6])
    sentences = [
        f"{best.num_pairs} pairs of runs, {best.num_seeds} paired seeds in the comparison with the fewest, "
        f"downstream corpora: {len(best.downstreams)}; test records: {tests}.",
    ]
    if not found.is_same_corpus:
        sentences.append("None of it is about this corpus: other hospitals, devices, labels. Take it as a guess.")
    if best.num_seeds < MIN_SEEDS:
        sentences.append(f"Fewer than {MIN_SEEDS} seeds: no test can reach 5 %, whatever the scores.")
    elif found.is_same_corpus and effects[0].effect.p is not None:
        sentences.append(f"Sign-flip test over seeds: p = {effects[0].effect.p:.3g}.")
    if len(found.choices) > 1:
        sentences.append(
            "It was chosen among several: with close scores another seed might choose another, and the winner's gain "
            "is a little flattered."
        )
    columns = ("path_scratch", "path_finetune")
    paths = sorted({str(path) for effect in effects for column in columns for path in effect.cell.pairs[column]})
    sentences += leak_sentences(Run(Path(path)).manifest for path in paths)
    return Section(title="How sure, and from what", sentences=tuple(sentences))


def _study_of_more(
    found: Nearest,
    best: Choice,
    num_train: int,
    whole: object,
    offer: Callable[[list[object], int, Choice | None], Proposal | str],
) -> Proposal | str | None:
    """A study that would tell more; none where there are enough seeds and sizes already."""
    enough_seeds = found.is_same_corpus and best.num_seeds >= MIN_SEEDS
    if enough_seeds and (found.curves or num_train < 40):
        return None
    sizes: list[object] = [num_train // 4, num_train // 2] if num_train >= 40 else []
    seeds = MIN_SEEDS if found.is_same_corpus else FIRST_SEEDS
    return offer([*sizes, whole], seeds, best)


def _others(found: Nearest, num_train: int) -> tuple[Section, ...]:
    rest = found.choices[1 : 1 + MAX_CHOICES]
    if not rest:
        return ()
    lines = [f"{one.name}: {gain_text(expected_gain(one, found, num_train))}, {one.num_pairs} pairs" for one in rest]
    more = len(found.choices) - 1 - len(rest)
    return (Section(title="What else was tried", sentences=(*lines, *([f"and {more} more"] if more else []))),)


def _nothing(simulated: bool) -> Section:
    kind = "simulated" if simulated else "real"
    return Section(
        title="What is known",
        sentences=(
            f"Nothing yet: there is no fine-tuning with its training from scratch on {kind} ECGs among the runs, "
            "neither on this corpus nor on another.",
        ),
    )


def _offered(proposal: Proposal | str, title: str) -> Section:
    if isinstance(proposal, str):
        return Section(title=title, sentences=(proposal,))
    time = (
        "how long that takes here is not known: `ecg-transfer study plan` measures it"
        if proposal.seconds is None
        else f"about {duration(proposal.seconds)} here"
    )
    before = ", a pre-training among them," if proposal.with_pretraining else ""
    return Section(
        title=title,
        sentences=(
            f"{proposal.backbone} from {proposal.upstream} against scratch, {proposal.num_pairs} pairs: "
            f"{proposal.num_to_do} runs{before} to do, {time}.",
            "Afterwards ask again. The study's file was written for you:",
        ),
        commands=proposal.commands,
    )


def _plain(proposal: Proposal | str) -> object:
    return proposal if isinstance(proposal, str) else as_dict(proposal)


def _finite(value: object) -> object:
    """A number as JSON can hold it: None in place of NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
