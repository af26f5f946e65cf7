"""Finished runs to be compared: what cannot be read, or lies where it misleads, is left out and named."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

from ecg_transfer.runs import Run, home

READ = ("metrics.jsonl", "scores.json")
"""Files that a comparison reads beside the configuration and the manifest."""


class RunLeftOutWarning(UserWarning):
    """A finished run is left out of what is told of many; the message names it and says why."""


def finished_runs(runs: Iterable[Run], read: Callable[[Run], object] = lambda run: run.config) -> list[Run]:
    """Those of some runs that are finished, as they were then, of this version, and under their own name.

    Of a finished run that is not, a warning says why it is left out. Large files are looked at by their sizes alone.

    Args:
        runs: Of any kind and state.
        read: How a run's configuration is read.
    """
    kept = []
    for run in runs:
        if not run.is_done and not run.damaged:
            continue
        if (reason := _why_not(run, read)) is None:
            kept.append(run)
        else:
            warnings.warn(f"left out: {reason}", RunLeftOutWarning, stacklevel=2)
    return kept


def _why_not(run: Run, read: Callable[[Run], object]) -> str | None:
    """Why a finished run cannot be compared; None if it can."""
    if run.damaged:
        return f"{run.path} was finished; {', '.join(run.damaged)} is missing or cut. Its command trains it anew"
    try:
        read(run)
        manifest = run.manifest
        for name in READ:
            run.checked(name)
    except (ValueError, OSError) as error:
        return str(error)
    if run.sealed_name != run.name:
        return f"{run.path} is {run.sealed_name} by another name, a copy maybe: give it its name back, or move it away"
    proper = home(run.path.parent.parent, simulated=bool(manifest["data"]["simulated"]))
    if run.path.parent.name in ("real", "simulated") and run.path.parent != proper:
        return f"{run.path} is of {proper.name} ECGs: its place is {proper}"
    return None
