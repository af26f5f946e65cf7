"""A configuration read: from a named recipe, dotted overrides or a YAML file, with a word on what cannot be read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

from data_modules.plain_yaml import PlainYamlError, parse_plain_yaml, plain_text
from ecg_transfer.config import PLACES, ConfigError, Phase, RunConfig, by_place, changes
from ecg_transfer.config_ranges import out_of_range
from ecg_transfer.field_names import probably_meant
from ecg_transfer.recipes import RECIPES

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from data_modules.config import DataConfig

Overrides = Mapping[str, object] | Sequence[str]
"""`{"optim.lr": 1e-3}`, `["optim.lr=1e-3"]` or, of a single field, `"optim.lr=1e-3"`."""

NAMED = (
    *(("phase", ""), ("recipe", ""), ("seed", "")),
    *(("data", "corpus"), ("data", "subset"), ("model", "backbone"), ("pretext", "task")),
    *(("transfer", name) for name in ("upstream", "way", "batch_norm", "head")),
)
"""Fields that the name of a run tells, and the recipe."""


def make_config(
    phase: Phase,
    corpus: str,
    *,
    recipe: str = "paper",
    backbone: str | None = None,
    seed: int | None = None,
    upstream: str | os.PathLike[str] | None = None,
    overrides: Overrides = (),
) -> RunConfig:
    """Build a configuration: the recipe's fields, then the overrides, which may not contradict the arguments.

    Args:
        phase: What the run does.
        corpus: The corpus it trains on.
        recipe: A key of `ecg_transfer.recipes.RECIPES`.
        backbone: See `ModelConfig.backbone`.
        seed: See `RunConfig.seed`.
        upstream: See `TransferConfig.upstream`; a `Run` stands for its directory.
        overrides: Dotted fields, `optim.lr=1e-3`.

    Raises:
        ConfigError: An unknown recipe or field, a value that does not fit it, or among the overrides another phase,
            recipe, corpus, backbone, seed or upstream than the one given.
    """
    if recipe not in RECIPES:
        raise ConfigError(f"there is no recipe {recipe!r}: there are {', '.join(RECIPES)}{_meant_recipe(recipe)}")
    fields: dict[str, object] = {"phase": phase, "recipe": recipe, **RECIPES[recipe]}
    named = {"data.corpus": corpus, "model.backbone": backbone, "seed": seed, "transfer.upstream": upstream}
    given = {name: _plain(value) for name, value in named.items() if value is not None}
    config = config_from({}, fields | given, overrides)
    if config.recipe != recipe:
        raise ConfigError(f"recipe={config.recipe} is no field to set: its numbers come with --recipe {config.recipe}")
    if config.phase != phase:
        raise ConfigError(f"phase={config.phase} is no field to set: it is another command's, this is a {phase} run")
    _refuse_contradictions(config, given)
    return config


def _refuse_contradictions(config: RunConfig, given: Mapping[str, object]) -> None:
    values = by_place(config)
    for name, value in given.items():
        section, _, field = name.rpartition(".")
        found = values[(section, field) if section else (field, "")]
        if found != value:
            raise ConfigError(f"{name}={found} contradicts {value}, which is given beside it: leave one of the two out")


def _meant_recipe(recipe: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(str(recipe).lower(), RECIPES, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def config_from(tree: Mapping[str, object], *layers: Overrides) -> RunConfig:
    """Read a configuration from nested fields and layers of dotted overrides.

    Args:
        tree: Nested fields as `RunConfig.as_dict` gives them; missing ones take their defaults.
        *layers: Dotted overrides, each layer over the ones before.

    Raises:
        ConfigError: An unknown field (with the one that was probably meant), a value that does not fit, or a number
            out of its range.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    refuse_interpolations([tree, *layers])
    try:
        config = OmegaConf.merge(_schema(), OmegaConf.create(_plain(dict(tree))))
        for layer in layers:
            if isinstance(layer, Mapping):
                for name, value in layer.items():
                    OmegaConf.update(config, name, _plain(value))
            else:
                config = OmegaConf.merge(config, OmegaConf.from_dotlist(_checked(layer)))
        read = cast(RunConfig, OmegaConf.to_object(config))
    except YAMLError as error:
        found = ", ".join(item for layer in layers if not isinstance(layer, Mapping) for item in _checked(layer))
        raise ConfigError(f"the overrides {found} are no YAML: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0] + _where(error)) from error
    if (problem := out_of_range(asdict(read))) is not None:
        raise ConfigError(problem)
    return read


def _plain(value: Any) -> Any:  # noqa: ANN401 - any value of a field, or fields
    """A value as a configuration holds it: a scalar of NumPy's is its number, a path its text."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return value.item() if getattr(value, "shape", None) == () else value


@cache
def _schema() -> DictConfig:
    """What fields there are and of which type: the dearest part of reading a configuration. Merging copies it."""
    from omegaconf import OmegaConf

    schema: DictConfig = OmegaConf.structured(RunConfig)
    return schema


def read_tree(path: Path) -> dict[str, Any]:
    """The fields of a YAML file that may be anyone's, as OmegaConf reads numbers (`1e-3` is one).

    Raises:
        PlainYamlError: It is no YAML of plain values.
        ConfigError: It holds an interpolation.
        OSError: It is not there.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    text = plain_text(path)
    if not isinstance(parse_plain_yaml(text), dict | NoneType):
        raise PlainYamlError("it holds no fields")
    try:
        tree = OmegaConf.to_container(OmegaConf.create(text))
    except (OmegaConfBaseException, YAMLError, ValueError) as error:
        raise PlainYamlError(" ".join(str(error).split())) from error
    assert isinstance(tree, dict)
    refuse_interpolations(tree)
    return {str(name): value for name, value in tree.items()}


def refuse_interpolations(tree: object) -> None:
    """Refuse `${...}` in any text: OmegaConf would put the environment, or a gigabyte of copies, in its place.

    Raises:
        ConfigError: There is one.
    """
    if isinstance(tree, str):
        if "${" in tree:
            raise ConfigError(f"{tree[:80]!r}: nothing is put in the place of ${{...}}; write the value itself")
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            refuse_interpolations(name)
            refuse_interpolations(value)
    elif isinstance(tree, Sequence):
        for value in tree:
            refuse_interpolations(value)


def _where(error: Exception) -> str:
    name = getattr(error, "full_key", None)
    advice = f": {ADVICE[name]}" if name in ADVICE else ""
    if isinstance(error, KeyError | AttributeError) and "Did you mean" not in str(error):
        advice = probably_meant(str(name), (".".join(filter(None, place)) for place in by_place(RunConfig())))
    return f" (in {name}){advice}" if name else ""


ADVICE = {
    "trainer.precision": (
        "bf16 is the half precision here. float16 needs its loss scaled, and most CPUs compute it 100 times slower"
    )
}
"""On fields, for those who gave them a value they cannot have."""


def _checked(overrides: Sequence[str]) -> list[str]:
    items = [overrides] if isinstance(overrides, str) else list(overrides)
    for item in items:
        if "=" not in item:
            raise ConfigError(f"an override is written field=value, as in optim.lr=1e-3; found {item!r}")
    return items


def data_config(corpus: str, overrides: Overrides = ()) -> DataConfig:
    """The `data` section alone, for what trains nothing.

    Args:
        corpus: Name of the corpus.
        overrides: Fields of that section, `{"data.label_set": "all"}`.

    Raises:
        ConfigError: As `make_config`; or a field of another section, which would change nothing.
    """
    config = make_config("scratch", corpus, overrides=overrides)
    for field, value in changes(make_config("scratch", corpus), config).items():
        if not field.startswith("data."):
            raise ConfigError(f"{field}={value} changes nothing here: nothing is trained, only data.* is heeded")
    return config.data


def departures(config: RunConfig) -> dict[str, object]:
    """The dotted fields in which a configuration departs from its recipe, but for those that its run's name tells.

    >>> departures(make_config("pretrain", "ptbxl", recipe="modern", overrides={"data.label_set": "all"}))
    {'data.label_set': 'all'}
    """
    recipe = _recipe_by_place(config.recipe)
    found = {place: value for place, value in by_place(config).items() if value != recipe[place]}
    return {".".join(filter(None, place)): found[place] for place in found if place not in (*PLACES, *NAMED)}


@cache
def _recipe_by_place(name: str) -> dict[tuple[str, str], object]:
    return by_place(config_from({}, RECIPES.get(name, {})))
