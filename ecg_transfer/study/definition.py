"""A study as its YAML file states it: grids over corpora, backbone, start, way, size, seed, rate and budget."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

from data_modules.corpora import CORPORA
from data_modules.sources import own_corpora
from ecg_transfer.config import ConfigError, Way
from ecg_transfer.config_reading import read_tree
from ecg_transfer.models import BACKBONES
from ecg_transfer.pretext.config import Task
from ecg_transfer.recipes import RECIPES
from ecg_transfer.study.overrides import axis_problems, layered

WAY_FIELDS = ("transfer.", "optim.")
"""What the fields of a way begin with."""

NOT_OF_A_WAY = ("transfer.upstream", "optim.lr", "optim.batch_size", "optim.max_epochs", "optim.max_updates")
"""Fields that have axes of their own, or that both arms of a comparison must share."""

PRETEXT_FIELDS = ("pretext.", "augment.", "crops.")
"""What the fields of a pretext begin with: the budget and the rate of the pre-trainings are one for all of them."""


class StudyError(ConfigError):
    """A study file that cannot be read; the message names the file and the field."""


@dataclass(kw_only=True)
class Pretraining:
    """How the pre-trainings of a grid differ from its fine-tunings; what is not said here is the same."""

    recipe: str | None = None
    """None is the grid's."""
    seed: int | None = None
    """One pre-training of this seed serves every seed of the fine-tunings; None pre-trains each seed anew."""
    epochs: int | None = None
    """Budget in epochs; with neither budget, the recipe's and the overrides' (never the grid's own budgets)."""
    updates: int | None = None
    """Budget in updates."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Over the study's and the grid's overrides."""


@dataclass(kw_only=True)
class Grid:
    """Every combination of its axes is a run; equal runs of several grids are one run."""

    name: str = ""
    """For messages."""
    downstreams: list[str]
    """Corpora that are trained on."""
    upstreams: list[str] = field(default_factory=list)
    """Corpora that fine-tunings start from; a corpus is never its own upstream."""
    backbones: list[str] = field(default_factory=lambda: ["resnet1d18"])
    """Keys of `BACKBONES`, or `package.module:factory`."""
    label_sets: list[str] = field(default_factory=list)
    """Label sets of the downstreams, which all must have them; none is the corpus's default or the overrides'."""
    starts: list[Literal["finetune", "scratch", "pretrain"]] = field(default_factory=lambda: ["finetune", "scratch"])
    """`finetune` from each upstream, or from `scratch`; `pretrain` trains the downstreams as other runs' upstreams."""
    subsets: list[Any] = field(default_factory=lambda: ["all"])
    """Training records: numbers, fractions up to 1, or `all`. Each seed has its own draw of them, and larger subsets of
    a seed hold its smaller ones; `data.subset_seed` among the overrides gives all seeds one draw."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """Both starts get the same ones: they share the head's weights and the order of the batches."""
    lrs: list[float] = field(default_factory=list)
    """Learning rates of both starts and of every way, so that all are tried equally often; none is the recipe's."""
    ways: list[Any] = field(default_factory=lambda: ["full"])
    """Of the fine-tunings: values of `transfer.way`, or `{name: overrides}` of fields of `transfer` and `optim`,
    `frozen_bn: {transfer.batch_norm: frozen}` say. Training from scratch is done once for all of them."""
    pretexts: list[Any] = field(default_factory=list)
    """Of the pre-trainings: values of `pretext.task`, `[none, contrastive]` say for an upstream that learnt labels and
    one that did not, or `{name: overrides}` of fields of `pretext`, `augment` and `crops`; none is the overrides'."""
    epochs: list[int] = field(default_factory=list)
    """Budgets in epochs, exactly so many whatever the corpus's size; none is the recipe's."""
    updates: list[int] = field(default_factory=list)
    """Budgets in updates, beside those in epochs."""
    recipe: str | None = None
    """None is the study's."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Dotted fields of `RunConfig`, over the study's."""
    pretrain: Pretraining = field(default_factory=Pretraining)


@dataclass(kw_only=True)
class Study:
    """The content of a study file."""

    name: str
    """Short: it heads tables and reports, and is the folder of the report."""
    title: str = ""
    """A sentence on what the study asks."""
    recipe: str = "paper"
    """A key of `ecg_transfer.recipes.RECIPES`."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Dotted fields of `RunConfig` for every run: `optim.batch_size: 64`."""
    corpora: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Dotted fields for every run on a corpus, up- or downstream: `ptb: {data.num_simulated: 300}`."""
    retries: int = 2
    """How often a run is tried again whose process crashed."""
    grids: list[Grid]
    """Earlier ones run first."""


def read_study(path: Path, grids: Sequence[str] | None = None) -> Study:
    """Read a study file.

    Args:
        path: YAML; its fields are those of `Study`.
        grids: Names of the grids that are wanted; all by default.

    Raises:
        FileNotFoundError: There is no such file.
        StudyError: An unknown field, a value that does not fit, an unknown corpus, backbone or recipe, an override
            of what an axis gives.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not path.is_file():
        known = ", ".join(str(file) for file in sorted(Path("experiments").glob("*.yaml")))
        raise FileNotFoundError(f"there is no study {path}" + (f"; there are: {known}" if known else ""))
    try:
        fields = read_tree(path)
        for problem in _scalars_for_lists(fields):
            raise ValueError(problem)
        tree = OmegaConf.merge(OmegaConf.structured(Study), fields)
        study = cast(Study, OmegaConf.to_object(tree))
    except (OmegaConfBaseException, ValueError, TypeError) as error:  # TypeError: a mapping in a list's place
        where = getattr(error, "full_key", None)
        reason = " ".join(str(error).split("\n    ")[0].split())
        raise StudyError(f"{path}: {reason}" + (f" (in {where})" if where else "")) from error
    for problem in _problems(study):
        raise StudyError(f"{path}: {problem}")
    if grids:
        for problem in _unknown("grid", grids, [grid.name for grid in study.grids], "--grid"):
            raise StudyError(f"{path}: {problem}")
        study.grids = [grid for grid in study.grids if grid.name in grids]
    return study


def _scalars_for_lists(fields: Mapping[str, object]) -> list[str]:
    """A sentence on every single value in a list's place."""
    grids = fields.get("grids")
    lists = [name for name, kind in get_type_hints(Grid).items() if get_origin(kind) is list]
    return [
        f"grids[{number}].{name} is a list, e.g. {'[0, 1, 2]' if name == 'seeds' else f'[{grid[name]}]'}"
        for number, grid in enumerate(grids if isinstance(grids, list) else [])
        for name in lists
        if isinstance(grid, dict) and isinstance(grid.get(name), str | int | float)
    ]


def _problems(study: Study) -> list[str]:
    """What a schema cannot see, the first found first."""
    found = []
    if not re.fullmatch(r"\w[\w.+-]*", study.name, re.ASCII):
        found.append(
            f"a study cannot be called {study.name[:80]!r}: its name becomes a folder's, of letters, digits, _, and "
            "behind the first ., + and -; a sentence stands in title"
        )
    found += _unknown("corpus", list(study.corpora), _known_corpora(layered(study.overrides)), "corpora")
    found += _unknown("recipe", [study.recipe], RECIPES, "recipe")
    if not study.grids:
        found.append("a study needs at least one grid")
    for number, grid in enumerate(study.grids):
        where = f"grids[{number}]"
        corpora = _known_corpora(layered(study.overrides, grid.overrides))
        found += _unknown("corpus", grid.downstreams, corpora, f"{where}.downstreams")
        found += _unknown("corpus", grid.upstreams, corpora, f"{where}.upstreams")
        for corpus in grid.downstreams:
            known = CORPORA[corpus].spec.label_sets if str(corpus) in CORPORA else grid.label_sets
            found += _unknown(f"label set of {corpus}", grid.label_sets, known, f"{where}.label_sets")
        backbones = [name for name in grid.backbones if ":" not in name]
        found += _unknown("backbone", backbones, BACKBONES, f"{where}.backbones")
        recipes = [name for name in (grid.recipe, grid.pretrain.recipe) if name is not None]
        found += _unknown("recipe", recipes, RECIPES, f"{where}.recipe")
        found += [
            f"{where}.subsets: {subset!r} is neither a positive number nor `all`"
            for subset in grid.subsets
            if not _is_subset(subset)
        ]
        if "finetune" in grid.starts and not grid.upstreams:
            found.append(f"{where}: fine-tunings need upstreams; starts: [scratch] goes without")
        found += [f"{where}.ways: {problem}" for way in grid.ways for problem in _way_problems(way)]
        found += [f"{where}.pretexts: {problem}" for one in grid.pretexts for problem in _pretext_problems(one)]
        if grid.pretrain.epochs is not None and grid.pretrain.updates is not None:
            found.append(f"{where}.pretrain: a budget is in epochs or in updates, not in both")
        for axis in ("downstreams", "backbones", "starts", "subsets", "seeds", "ways"):
            if not getattr(grid, axis):
                found.append(f"{where}.{axis} is empty: no run would come of this grid")
    return found or axis_problems(study)  # which takes names for names


def _known_corpora(overrides: Mapping[str, Any]) -> list[str]:
    """Names of the published corpora and of the user's own below the data root that dotted overrides give."""
    return [*CORPORA, *own_corpora(overrides.get("data.root"))]


def way_fields(way: object) -> dict[str, Any]:
    """The dotted fields of one value of `Grid.ways`."""
    return _fields_of(way, "transfer.way")


def pretext_fields(pretext: object) -> dict[str, Any]:
    """The dotted fields of one value of `Grid.pretexts`."""
    return _fields_of(pretext, "pretext.task")


def _fields_of(value: object, field: str) -> dict[str, Any]:
    if isinstance(value, dict):
        (overrides,) = value.values()
        return dict(overrides)
    return {field: value}


def _named_problems(value: object, kind: str, names: Sequence[str], example: str) -> list[str]:
    """What is wrong with one value of an axis of names and `{name: overrides}`."""
    if not isinstance(value, dict):
        known = f"there are {', '.join(names)}, and {{name: overrides}}"
        return [] if value in names else [f"{value!r} is no {kind}: {known}"]
    if len(value) != 1 or not isinstance(next(iter(value.values())), dict):
        return [f"{value!r}: expected one name with its overrides, as in {example}"]
    return []


def _pretext_problems(pretext: object) -> list[str]:
    example = "per_patient: {pretext.task: contrastive, pretext.positives: patient}"
    problems = _named_problems(pretext, "pretext", [str(name) for name in get_args(Task)], example)
    if problems or not isinstance(pretext, dict):
        return problems
    return [
        f"{next(iter(pretext))!r} sets {name}: a pretext is made of dotted fields of pretext, augment and crops; what "
        "all pre-trainings share stands under pretrain"
        for name in pretext_fields(pretext)
        if not str(name).startswith(PRETEXT_FIELDS)
    ]


def _way_problems(way: object) -> list[str]:
    names = [str(name) for name in get_args(Way)]
    problems = _named_problems(way, "way", names, "frozen_bn: {transfer.batch_norm: frozen}")
    if problems or not isinstance(way, dict):
        return problems
    refused = [name for name in way_fields(way) if not str(name).startswith(WAY_FIELDS) or name in NOT_OF_A_WAY]
    return [
        f"{next(iter(way))!r} sets {name}: a way is made of dotted fields of transfer and optim, but for "
        f"{', '.join(NOT_OF_A_WAY)}; the rate is the axis lrs, the budget the axes epochs and updates"
        for name in refused
    ]


def _is_subset(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value is None or value == "all"
    return value > 0 and (value <= 1 or float(value).is_integer())


def _unknown(kind: str, names: Sequence[str], known: Collection[str], where: str) -> list[str]:
    sentences = []
    for name in map(str, names):  # OmegaConf lets mappings through where names belong
        if name not in known:
            close = difflib.get_close_matches(name.lower(), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
            sentences.append(f"there is no {kind} {name!r}: {hint} (in {where})")
    return sentences
