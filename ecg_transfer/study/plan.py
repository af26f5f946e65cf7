"""From a study to its runs: every grid expanded, equal runs merged, each fine-tuning after its pre-training.

A run is named by its configuration alone, so that a fine-tuning knows the name of its upstream run before that exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from data_modules.config import DataConfig
from data_modules.corpus import CorpusFormatError
from data_modules.sources import will_simulate
from ecg_transfer.config import ConfigError, Phase, RunConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.pretext.config import PretextConfig
from ecg_transfer.pretext.requirements import require_pretext
from ecg_transfer.runs import Run, home, run_name
from ecg_transfer.study.definition import Grid, Study, StudyError, pretext_fields, way_fields
from ecg_transfer.study.left_out import is_absent, missing, mixed
from ecg_transfer.study.overrides import axis_problems, layered
from ecg_transfer.study.sizes import PartSizes, part_sizes, published_sizes
from ecg_transfer.ways import require_sensible


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a plan."""

    config: RunConfig
    """As it will stand in the run's directory: `transfer.upstream` is the name of the upstream run."""
    run: Run
    """Its directory, whether it exists or not."""
    upstream: Run | None
    """The pre-training that it starts from."""
    simulated: bool
    """Whether it trains on simulated ECGs."""
    sizes: PartSizes
    """Its records."""

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.name

    def launch_config(self) -> RunConfig:
        """The configuration to train with: the upstream run by its directory, so that no other one is meant."""
        if self.upstream is None:
            return self.config
        config = deepcopy(self.config)
        config.transfer.upstream = str(self.upstream.path.resolve())
        return config


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of a study, a pre-training before the runs that need it, else in the file's order."""

    study: Study
    output: Path
    runs: tuple[PlannedRun, ...]
    notices: tuple[str, ...]
    """What was left out or clipped, a sentence each."""

    def __getitem__(self, name: str) -> PlannedRun:
        return next(planned for planned in self.runs if planned.name == name)

    def by_phase(self, phase: Phase) -> list[PlannedRun]:
        """The runs of one phase."""
        return [planned for planned in self.runs if planned.config.phase == phase]


def make_plan(study: Study, output: Path, *, absent: bool = False) -> Plan:
    """Expand a study's grids. Reads the corpora's tables, no signal; writes nothing.

    Args:
        study: As `read_study` gives it.
        output: Where runs live.
        absent: Plan also the runs on real corpora that are not on this disk, which cannot be trained here, so that
            those that were trained elsewhere are found by their names.

    Raises:
        StudyError: A grid holds a field or value that no run can have, or overrides one of its axes.
    """
    for problem in axis_problems(study):
        raise StudyError(problem)
    draft = _Draft(study, output, absent)
    for number, grid in enumerate(study.grids):
        try:
            for arm in _arms(grid):
                draft.add(arm)
            draft.notices += _without_upstream(grid)
        except ConfigError as error:
            raise StudyError(f"grids[{number}] ({grid.name or 'without a name'}): {error}") from error
    notices = draft.notices + [
        f"{corpus} has {available:,} training records: the subsets {', '.join(f'{size:g}' for size in sorted(sizes))} "
        "are all of them"
        for (corpus, available), sizes in sorted(draft.clipped.items())
    ]
    return Plan(study=study, output=output, runs=tuple(draft.runs.values()), notices=tuple(notices))


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """One combination of a grid's axes."""

    grid: Grid
    phase: Phase
    upstream: str | None
    """What a fine-tuning starts from."""
    downstream: str
    backbone: str
    seed: int
    subset: float | None
    fields: dict[str, object]
    """Of the label set, the way, the learning rate and the budget."""
    pretext: dict[str, Any]
    """Fields of the pre-training that a fine-tuning starts from, or that this is."""


def _arms(grid: Grid) -> Iterator[_Arm]:
    """The combinations, so that runs that are compared with each other stand together."""
    budgets = [_epochs(number) for number in grid.epochs] + [_updates(number) for number in grid.updates]
    rates: list[dict[str, object]] = [{"optim.lr": lr} for lr in grid.lrs]
    label_sets: list[dict[str, object]] = [{"data.label_set": name} for name in grid.label_sets]
    axes = product(
        grid.downstreams,
        grid.backbones,
        label_sets or [{}],
        grid.seeds,
        grid.subsets,
        rates or [{}],
        budgets or [{}],
    )
    for downstream, backbone, labels, seed, subset, rate, budget in axes:
        for phase, upstream, pretext, way in _starts(grid, downstream):
            yield _Arm(
                grid=grid,
                phase=phase,
                upstream=upstream,
                downstream=downstream,
                backbone=backbone,
                seed=seed,
                subset=None if subset in ("all", None) else float(subset),
                fields={**labels, **way, **rate, **budget},
                pretext=pretext,
            )


def _starts(grid: Grid, downstream: str) -> Iterator[tuple[Phase, str | None, dict[str, Any], dict[str, Any]]]:
    """Phase, upstream, fields of the pretext and of the way; fine-tunings first."""
    pretexts = [pretext_fields(one) for one in grid.pretexts] or [{}]
    if "finetune" in grid.starts:
        names = [name for name in grid.upstreams if name != downstream]
        yield from (("finetune", *one) for one in product(names, pretexts, map(way_fields, grid.ways)))
    if "scratch" in grid.starts:
        yield "scratch", None, {}, {}
    if "pretrain" in grid.starts:
        yield from (("pretrain", None, pretext, {}) for pretext in pretexts)


def _without_upstream(grid: Grid) -> list[str]:
    """A sentence on every downstream that could be fine-tuned from nothing but itself."""
    return [
        f"{name} is not fine-tuned: its upstreams are {name} alone, and an upstream is never its own downstream"
        for name in dict.fromkeys(grid.downstreams)
        if "finetune" in grid.starts and set(grid.upstreams) == {name}
    ]


def _epochs(number: int) -> dict[str, object]:
    return {"optim.max_epochs": number, "optim.min_updates": 0, "optim.max_updates": None}


def _updates(number: int) -> dict[str, object]:
    return {"optim.max_updates": number}


@dataclass
class _Draft:
    """A plan in the making."""

    study: Study
    output: Path
    absent: bool
    runs: dict[str, PlannedRun] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)
    clipped: dict[tuple[str, int], set[float]] = field(default_factory=dict)
    sizes: dict[str, PartSizes] = field(default_factory=dict)
    """Of whole corpora, by their section: a plan asks for each many times."""
    pretrainings: dict[tuple[object, ...], RunConfig] = field(default_factory=dict)
    """By what decides them: reading a configuration costs milliseconds, and many runs share one."""

    def add(self, arm: _Arm) -> None:
        """Add the run of an arm and, before it, the pre-training it needs."""
        config = self._config(arm)
        require_sensible(config)
        require_pretext(config)
        problem = self._unusable(config) or self._clip(config)
        if problem is not None:
            self._note(problem)
            return
        if config.data.subset is not None and "data.subset_seed" not in self._overrides(arm):
            config.data.subset_seed = arm.seed  # its own draw of records: intervals over seeds hold that as well
        if arm.upstream is None:
            self._append(config, None)
            return
        key = (id(arm.grid), arm.upstream, arm.backbone, arm.seed, *arm.pretext.items())
        pretraining = self.pretrainings.setdefault(key, self.pretrainings.get(key) or self._pretraining(arm))
        problem = self._unusable(pretraining) or mixed(pretraining, config)
        if problem is not None:
            self._note(problem)
            return
        upstream = self._append(pretraining, None)
        config.transfer.upstream, config.pretext = upstream.name, PretextConfig()
        self._append(config, upstream)

    def _config(self, arm: _Arm) -> RunConfig:
        return make_config(
            arm.phase,
            arm.downstream,
            recipe=arm.grid.recipe or self.study.recipe,
            backbone=arm.backbone,
            seed=arm.seed,
            overrides={**self._overrides(arm), "data.subset": arm.subset},
        )

    def _overrides(self, arm: _Arm) -> dict[str, object]:
        pretext = arm.pretext if arm.upstream is None else {}
        corpus = self.study.corpora.get(arm.downstream, {})
        return layered(self.study.overrides, arm.grid.overrides, corpus, pretext, arm.fields)

    def _pretraining(self, arm: _Arm) -> RunConfig:
        assert arm.upstream is not None
        stated = arm.grid.pretrain
        corpus = self.study.corpora.get(arm.upstream, {})
        budget = {} if stated.epochs is None else _epochs(stated.epochs)
        budget |= {} if stated.updates is None else _updates(stated.updates)
        config = make_config(
            "pretrain",
            arm.upstream,
            recipe=stated.recipe or arm.grid.recipe or self.study.recipe,
            backbone=arm.backbone,
            seed=arm.seed if stated.seed is None else stated.seed,
            overrides=layered(self.study.overrides, arm.grid.overrides, corpus, budget, stated.overrides, arm.pretext),
        )
        require_pretext(config)
        return config

    def _unusable(self, config: RunConfig) -> str | None:
        """Why a corpus cannot be used; that it is not here is only noted where its runs are wanted all the same."""
        corpus, problem = config.data.corpus, missing(config)
        if problem is not None and self.absent:
            problem = None
            self._note(f"{corpus} is not on this disk: runs on it that were made elsewhere count by their names.")
        if problem is None:
            try:
                self._sizes(config.data)
            except CorpusFormatError as error:
                problem = f"{corpus} is left out: {error}"
        return problem

    def _sizes(self, data: DataConfig) -> PartSizes:
        whole = replace(data, subset=None, subset_seed=0)
        key = repr(whole)
        if key not in self.sizes:
            self.sizes[key] = published_sizes(whole) if self.absent and is_absent(whole) else part_sizes(whole)
        return self.sizes[key]

    def _clip(self, config: RunConfig) -> str | None:
        """Make a subset that is larger than the corpus the whole corpus; or say that nothing is left of it."""
        data = config.data
        available = self._sizes(data).train
        if data.subset is not None and data.num_wanted(available) < 1:
            return f"{data.corpus} is left out where data.subset={data.subset:g}: not one of its {available} records"
        if data.subset is not None and data.subset >= max(available, 2):
            self.clipped.setdefault((data.corpus, available), set()).add(data.subset)
            data.subset = None
        return None

    def _append(self, config: RunConfig, upstream: PlannedRun | None) -> PlannedRun:
        data = config.data
        name = run_name(config, None if upstream is None else upstream.config.data.corpus)
        simulated = will_simulate(data.corpus, data.root, data.source)
        if name in self.runs and self.runs[name].simulated != simulated:
            raise StudyError(f"{data.corpus} is real in one grid and simulated in another: make two studies of them")
        if name not in self.runs:
            self.runs[name] = PlannedRun(
                config=config,
                run=Run(home(self.output, simulated=simulated) / name),
                upstream=None if upstream is None else upstream.run,
                simulated=simulated,
                sizes=self._sizes(data).within(data),
            )
        return self.runs[name]

    def _note(self, sentence: str) -> None:
        if sentence not in self.notices:
            self.notices.append(sentence)
