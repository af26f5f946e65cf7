"""Which pre-trained model a fine-tuning started from, as far as runs tell."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from data_modules.plain_yaml import PlainYamlError
from ecg_transfer.config import ConfigError
from ecg_transfer.runs import Run, RunChangedError, RunNotFoundError, home
from ecg_transfer.study.likeness import likenesses
from ecg_transfer.study.saved_config import saved_config

TOLD = ("cell", "kin", "rivals", "recipe", "label_set")
"""Columns of a pre-training's row that its fine-tunings' rows repeat."""


def with_upstream_cells(results: pd.DataFrame) -> pd.DataFrame:
    """Add `upstream_cell` and its like, and tell in `upstream` how it was trained where that is not as usual."""
    if results.empty:
        return results
    origins = _origins(results)
    told: dict[str, pd.Series[Any]] = {}
    # a model whose pre-training is gone is told by its name, or models of one corpus would be averaged
    for column, unknown in (
        ("cell", "upstream_run"),
        ("kin", "upstream"),
        ("rivals", "upstream"),
        ("recipe", "recipe"),
    ):
        told[f"upstream_{column}"] = results["upstream_run"].map(origins[column]).fillna(results[unknown])
    labels = results["upstream_run"].map(origins["label_set"])
    named = results["upstream"].copy()
    named[labels.notna()] += ", labels " + labels[labels.notna()].astype(str)
    has_own = named.notna() & (told["upstream_recipe"] != results["recipe"])
    named[has_own] += ", " + told["upstream_recipe"][has_own] + " recipe"
    told["upstream_kind"] = named.str.partition(", ")[2] if named.notna().any() else named
    named_alike = [named, results["backbone"], results["recipe"]]
    is_ambiguous = told["upstream_cell"].groupby(named_alike).transform("nunique") > 1
    told["upstream_mark"] = (" (" + told["upstream_cell"].astype(str).str[-8:] + ")").where(is_ambiguous, "")
    return results.assign(upstream=named, **told).drop(columns=["kin", "rivals"])


def gone_upstreams(results: pd.DataFrame) -> list[str]:
    """A sentence where fine-tunings of several seeds cannot be told to start from one kind of model; else none."""
    if results.empty:
        return []
    finetunings = results[results["upstream_cell"].notna() & (results["upstream_cell"] == results["upstream_run"])]
    alike = finetunings.groupby(["upstream", "backbone", "cell"])["upstream_run"].nunique()
    if not (alike > 1).any():
        return []
    return [
        f"{int(alike[alike > 1].sum())} pre-trainings are gone from the folder of runs. How they differ is not known: "
        "each counts as a model of its own, and the seeds of their fine-tunings are not put together."
    ]


def _origins(results: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """By column the value of each pre-training, by name; also of one that is not finished, or damaged."""
    origins = {column: dict(zip(results["run"], results[column], strict=True)) for column in TOLD}
    paths = dict(zip(results["upstream_run"], results["path"], strict=True))
    for name, path in paths.items():
        if isinstance(name, str) and name not in origins["cell"]:
            for column, value in _unlisted(Path(path).parents[1], name).items():
                origins[column][name] = value
    return origins


def _unlisted(output: Path, name: str) -> dict[str, Any]:
    """What a run's configuration tells that is not among the finished ones; nothing where it cannot be read."""
    for simulated in (False, True):
        with suppress(RunNotFoundError, RunChangedError, ConfigError, PlainYamlError, OSError):
            config = saved_config(Run(home(output, simulated=simulated) / name))
            found = likenesses(config, simulated=simulated)
            told = {"recipe": config.recipe, "label_set": config.data.label_set}
            return {column: told.get(column, found.get(column)) for column in TOLD}
    return {}
