"""The overrides of a study: as dotted fields, and refused where a grid has an axis for the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ecg_transfer.study.definition import Grid, Study

AXES = {
    "phase": "starts",
    "recipe": "recipe",
    "seed": "seeds",
    "data.corpus": "downstreams",
    "data.subset": "subsets",
    "model.backbone": "backbones",
    "transfer.upstream": "upstreams",
    "transfer.way": "ways",
}
"""Fields that every run has from its grid, by what gives them there."""

CHOSEN_AXES = {"data.label_set": "label_sets", "optim.lr": "lrs", "pretext.task": "pretexts"}
"""Fields that overrides may set for grids that leave these axes out."""

OF_PRETRAINING = {"recipe": "pretrain: {recipe: ...}", "seed": "pretrain: {seed: ...}", "data.corpus": "upstreams:"}
"""What gives a pre-training those of `AXES` that are not as in its fine-tunings."""


def flat(fields: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested fields as dotted ones: `{"optim": {"lr": 1}}` and `{"optim.lr": 1}` mean the same."""
    found: dict[str, object] = {}
    for name, value in fields.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def layered(*layers: Mapping[str, object]) -> dict[str, object]:
    """Layers of overrides as dotted fields, later ones over earlier ones field by field, however each is written."""
    found: dict[str, object] = {}
    for fields in layers:
        found |= flat(fields)
    return found


def axis_problems(study: Study) -> list[str]:
    """A sentence on every override of what an axis gives: one of the two would silently be dropped."""
    found = _problems(study.overrides, "overrides", AXES)
    for corpus, fields in study.corpora.items():
        found += _problems(fields, f"corpora.{corpus}", AXES)
    for number, grid in enumerate(study.grids):
        where = f"grids[{number}]"
        found += _problems(grid.overrides, f"{where}.overrides", AXES)
        chosen = {name: axis for name, axis in CHOSEN_AXES.items() if getattr(grid, axis)}
        for layer, fields in _layers_of(study, grid, where).items():
            found += _problems(fields, layer, chosen)
        found += _pretrain_problems(grid, f"{where}.pretrain.overrides")
    return found


def _layers_of(study: Study, grid: Grid, where: str) -> dict[str, dict[str, Any]]:
    """The overrides that a grid's fine-tunings and trainings from scratch have, by where they stand."""
    per_corpus = {f"corpora.{name}": study.corpora[name] for name in grid.downstreams if name in study.corpora}
    return {"overrides": study.overrides, f"{where}.overrides": grid.overrides, **per_corpus}


def _problems(fields: Mapping[str, object], where: str, axes: Mapping[str, str]) -> list[str]:
    return [
        f"{name} is an axis of a grid: give it as `{axes[name]}:` (in {where})" for name in flat(fields) if name in axes
    ]


def _pretrain_problems(grid: Grid, where: str) -> list[str]:
    axes = {name: f"{axis}:" for name, axis in AXES.items() if name != "data.subset"} | OF_PRETRAINING
    axes |= {"pretext.task": "pretexts:"} if grid.pretexts else {}
    return [
        f"{name} is no override of a pre-training: give it as `{axes[name]}` (in {where})"
        for name in flat(grid.pretrain.overrides)
        if name in axes
    ]
