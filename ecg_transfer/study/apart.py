"""Reading real and simulated runs apart: a configuration's run has the same name in both homes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ecg_transfer.runs import Run
from ecg_transfer.study.results import Study, read_study

PREFIX = "simulated/"
"""Of a simulated run's name where a real run has the same."""


def read_apart(runs: Sequence[Run]) -> tuple[Study, dict[str, dict[str, Any]]]:
    """Read finished runs so that no name stands for two of them.

    Args:
        runs: Finished ones, real and simulated.

    Returns:
        The study, and each run's manifest by its name there.
    """
    manifests = {run.path: run.manifest for run in runs}
    real = [run for run in runs if not manifests[run.path]["data"]["simulated"]]
    simulated = [run for run in runs if manifests[run.path]["data"]["simulated"]]
    taken = {run.name for run in real}
    named = {run.name: manifests[run.path] for run in real}
    named |= {_apart(run.name, taken): manifests[run.path] for run in simulated}
    if not real or not simulated:
        return read_study(runs), named
    ours, theirs = read_study(real), read_study(simulated)
    renamed = [_renamed(table, taken) for table in (theirs.results, theirs.labels, theirs.curves)]
    pairs = zip((ours.results, ours.labels, ours.curves), renamed, strict=True)
    results, labels, curves = (pd.concat(tables, ignore_index=True) for tables in pairs)
    return Study(results=results, labels=labels, curves=curves), named


def _renamed(table: pd.DataFrame, taken: set[str]) -> pd.DataFrame:
    """A table whose runs have names that are not taken."""
    names = [name for name in ("run", "upstream_run") if name in table]
    return table.assign(**{name: table[name].map(lambda run: _apart(run, taken)) for name in names})


def _apart(name: str, taken: set[str]) -> str:
    return f"{PREFIX}{name}" if name in taken else name
