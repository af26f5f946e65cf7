"""The cheapest study that would answer a question, as a study file, with what it would cost."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from data_modules.config import DataConfig
from data_modules.corpora import CORPORA
from data_modules.corpus import CorpusFormatError, CorpusNotFoundError
from data_modules.sources import is_corpus, open_corpus, own_corpora, will_simulate
from ecg_transfer.config import RunConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.files import write_atomically
from ecg_transfer.finished_runs import finished_runs
from ecg_transfer.pretext.config import pretext_name, upstream_name
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, find_runs
from ecg_transfer.study.definition import PRETEXT_FIELDS, read_study
from ecg_transfer.study.estimate import estimate
from ecg_transfer.study.plan import Plan, make_plan
from ecg_transfer.upstream import INPUT_FIELDS

FIRST_SEEDS = 3
"""Seeds of a first look: the fewest that give an interval over seeds worth the name; six give a test."""

RECIPE, BACKBONE = "modern", "resnet1d18"
"""Of a first look where no pre-training is there yet."""

NOT_OF_A_STUDY = ("root", "source", "corpus", "subset", "subset_seed")
"""Fields of the `data` section that a study's file states elsewhere, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A study that is worth doing."""

    path: Path
    """Its file, which was written."""
    upstream: str
    backbone: str
    num_pairs: int
    num_to_do: int
    """Runs that are not done yet."""
    with_pretraining: bool
    """Whether a pre-training is among them."""
    seconds: float | None
    """None where this machine's speed is not known."""

    output: Path
    """Where runs live."""

    @property
    def commands(self) -> tuple[str, ...]:
        """What does it, and what shows the result."""
        where = "" if self.output == DEFAULT_OUTPUT else f" --output {quote(str(self.output))}"
        return tuple(f"ecg-transfer study {verb} {quote(str(self.path))}{where}" for verb in ("run", "report"))


def propose(
    data: DataConfig,
    *,
    output: Path,
    sizes: list[object],
    seeds: int = FIRST_SEEDS,
    like: RunConfig | None = None,
    upstream: str | None = None,
    pretext: str = "none",
    pretrainings: Collection[str] = (),
    measure: bool = False,
    report: Callable[[str], None] = lambda sentence: None,
) -> Proposal | str:
    """Write the file of a small study: fine-tuning against scratch, paired seeds, one upstream.

    Args:
        data: Of the downstream.
        output: Where runs live; the file goes into its folder `advice`.
        sizes: Training records to compare at; `all` is all of them.
        seeds: Paired seeds.
        like: A fine-tuning whose backbone, recipe and fields are taken; else those of the upstream.
        upstream: Corpus; None chooses the largest finished pre-training, else the largest corpus on disk.
        pretext: What that pre-training learnt without labels, in words.
        pretrainings: Names of runs, of which one that is there is taken before a larger one.
        measure: Whether to measure this machine's speed where it is not known.
        report: Is told what is measured.

    Returns:
        The proposal, or a sentence on why there is none.
    """
    simulated = will_simulate(data.corpus, data.root, data.source)
    trained = _largest_pretraining(output, data.corpus, upstream, pretext, pretrainings, simulated=simulated)
    if trained is None and pretext != "none":
        return f"The pre-training on {upstream} without labels ({pretext}) is not among the runs any more."
    corpus = trained.config.data.corpus if trained else upstream or _largest_corpus(data, simulated=simulated)
    if corpus is None:
        return (
            "There is no other corpus of real ECGs on this disk to pre-train on, and no pre-training. `ecg-transfer "
            "data download ptbxl --rate 100` fetches one; an exported model will do as well (--upstream FOLDER)."
        )
    if not _is_here(corpus, data.root, simulated=simulated):
        return (
            f"The records of {corpus}, on which a study would pre-train, are not on this disk. More seeds tell without "
            f"them: `ecg-transfer finetune {data.corpus} --upstream FOLDER --seed 1`, 2, ... from the same run or "
            f"exported model, and `ecg-transfer scratch {data.corpus}` of the same seeds, all else as before."
        )
    study = _study(data, corpus, sizes, seeds, like, trained)
    path = output / "advice" / f"{data.corpus}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        stream.write(yaml.safe_dump(study, sort_keys=False).encode())
    plan = make_plan(read_study(path), output)
    to_do = [planned for planned in plan.runs if not planned.run.is_done]
    return Proposal(
        path=path,
        upstream=upstream_name(corpus, pretext),
        backbone=str(study["grids"][0]["backbones"][0]),
        num_pairs=len(plan.by_phase("finetune")),
        num_to_do=len(to_do),
        with_pretraining=any(planned.config.phase == "pretrain" for planned in to_do),
        seconds=_seconds(plan, measure, report),
        output=output,
    )


def _study(
    data: DataConfig, corpus: str, sizes: list[object], seeds: int, like: RunConfig | None, trained: Run | None
) -> dict[str, Any]:
    start = like or (trained.config if trained else make_config("pretrain", corpus, recipe=RECIPE, backbone=BACKBONE))
    own = {f"data.{name}": value for name, value in _differing(vars(data), vars(DataConfig())).items()
           if name not in (*NOT_OF_A_STUDY, *INPUT_FIELDS)}  # fmt: skip
    places = {f"data.{name}": getattr(data, name) for name in ("root", "source") if getattr(data, name) != "auto"}
    shared = _overrides(start) if like else _inputs(start)
    pretrain: dict[str, Any] = {"seed": 0}
    if trained:
        pretrain |= {"seed": trained.config.seed, "recipe": trained.config.recipe}
        theirs = _overrides(trained.config, data_too=True) | _pretext(trained.config)
        defaults = _flat(make_config("scratch", corpus, recipe=trained.config.recipe))
        pretrain["overrides"] = {name: defaults[name] for name in shared} | theirs
    return {
        "name": f"advice_{data.corpus}",
        "title": f"Does pre-training on {corpus} help on {data.corpus}?",
        "recipe": start.recipe,
        "overrides": {name: value for name, value in places.items() if value is not None},
        "corpora": {data.corpus: own} if own else {},
        "grids": [
            {
                "name": "first_look",
                "upstreams": [corpus],
                "downstreams": [data.corpus],
                "backbones": [start.model.backbone],
                "subsets": sizes,
                "seeds": list(range(seeds)),
                "overrides": shared,
                "pretrain": pretrain,
            }
        ],
    }


def _flat(config: RunConfig) -> dict[str, Any]:
    tree = config.as_dict()
    return {f"{section}.{name}": value for section, fields in tree.items() if isinstance(fields, dict)
            for name, value in fields.items()}  # fmt: skip


def _overrides(config: RunConfig, *, data_too: bool = False) -> dict[str, Any]:
    """In what a configuration differs from its recipe: training, and the inputs that both phases share."""
    ours = _flat(config)
    plain = _flat(make_config("scratch", config.data.corpus, recipe=config.recipe, backbone=config.model.backbone))
    inputs = {f"data.{name}" for name in INPUT_FIELDS}
    skipped = {f"data.{name}" for name in ("corpus", "root", "source")}
    return {
        name: value
        for name, value in ours.items()
        if value != plain[name]
        and (name in inputs or name.startswith(("optim.", "trainer.")) or (data_too and name.startswith("data.")))
        and name not in skipped
    }


def _pretext(config: RunConfig) -> dict[str, Any]:
    """What a pre-training without labels learns, and from what views; nothing where it learns labels."""
    if config.is_supervised:
        return {}
    ours, plain = _flat(config), _flat(make_config("scratch", config.data.corpus, recipe=config.recipe))
    return {name: value for name, value in ours.items()
            if value != plain[name] and name.startswith(PRETEXT_FIELDS)}  # fmt: skip


def _inputs(config: RunConfig) -> dict[str, Any]:
    """What a fine-tuning must share with a pre-training (its input), and precision; its budget is the recipe's own."""
    wanted = {"trainer.precision", *(f"data.{name}" for name in INPUT_FIELDS)}
    return {name: value for name, value in _overrides(config).items() if name in wanted}


def _differing(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in ours.items() if value != theirs[name]}


def _largest_pretraining(
    output: Path, downstream: str, corpus: str | None, pretext: str, before: Collection[str], *, simulated: bool
) -> Run | None:
    """The largest that fits, of those with one of the names in `before` if there are some."""
    pretrainings = (run for run in find_runs(output) if run.name.startswith("pretrain-"))
    trained = [
        run
        for run in finished_runs(pretrainings)
        if run.config.data.corpus != downstream
        and (corpus is None or run.config.data.corpus == corpus)
        and pretext_name(run.config.pretext) == pretext
        and run.manifest["data"]["simulated"] == simulated
    ]
    named = [run for run in trained if run.name in before]
    return max(named or trained, key=lambda run: int(run.manifest["data"]["parts"]["train"]["records"]), default=None)


def _largest_corpus(data: DataConfig, *, simulated: bool) -> str | None:
    """Of real ECGs the other corpus, published or own, with most records on disk."""
    if simulated:
        return next(name for name in ("cpsc2018", "georgia") if name != data.corpus)
    others = [name for name in (*CORPORA, *own_corpora(data.root)) if name != data.corpus]
    sizes = {name: size for name in others if (size := _num_real_records(name, data.root))}
    return max(sizes, key=lambda name: (sizes[name], name), default=None)


def _is_here(corpus: str, root: str | None, *, simulated: bool) -> bool:
    """Whether a study of ECGs of this kind could pre-train on it, or know again that it has."""
    return is_corpus(corpus, root) and (simulated or _num_real_records(corpus, root) > 0)


def _num_real_records(name: str, root: str | None) -> int:
    """Those of its table, 0 without one that can be read; all of PTB-XL's takes a third of a second."""
    try:
        return 0 if will_simulate(name, root, "auto") else len(open_corpus(name, root=root, source="real").table)
    except (CorpusNotFoundError, CorpusFormatError):
        return 0


def _seconds(plan: Plan, measure: bool, report: Callable[[str], None]) -> float | None:
    to_do = sum(not planned.run.is_done for planned in plan.runs)
    best = estimate(plan, None, measure=measure, report=report)[0]
    return best.seconds if len(best.costs) == to_do else None


def as_dict(proposal: Proposal) -> dict[str, Any]:
    """Plain values for JSON."""
    return asdict(proposal) | {
        "path": str(proposal.path), "output": str(proposal.output), "commands": list(proposal.commands)
    }  # fmt: skip
