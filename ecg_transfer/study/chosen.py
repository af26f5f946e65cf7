"""Which runs of a folder are a study's: those that it plans, by where they lie and not by their names alone."""

from __future__ import annotations

from collections.abc import Iterable

from ecg_transfer.runs import Run


def choose(runs: Iterable[Run], planned: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """The runs that are planned; real and simulated ones of the same name are apart.

    Args:
        runs: Those there are, as `find_runs` gives them.
        planned: Those of the plan, whether they exist or not, below the same folder.

    Returns:
        The planned ones among the runs, and a sentence on those left out that only have the name of a planned one.
    """
    wanted = {run.path for run in planned}
    homes = {path.name: path.parent.name for path in wanted}
    every = list(runs)
    others = [run for run in every if run.path not in wanted and run.name in homes]
    notes = []
    if others:
        there = " and ".join(sorted({f"{run.path.parent.name}/" for run in others}))
        here = " and ".join(sorted({f"{homes[run.name]}/" for run in others}))
        notes.append(f"Runs in {there} were left out, {len(others):,} of them: the study plans these names in {here}.")
    return [run for run in every if run.path in wanted], notes
