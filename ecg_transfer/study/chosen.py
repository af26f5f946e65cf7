"""Which runs of a folder are a study's: those that it plans, by where they lie and not by their names alone."""

from __future__ import annotations

from collections.abc import Iterable

from ecg_transfer.runs import Run


def choose(runs: Iterable[Run], planned: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """The runs that are planned; real and simulated ones of the same name are apart.

    Where runs of a study would be simulated, none of them has been, and there are runs on real ECGs of their names,
    these are its runs: they were made where the ECGs are.

    Args:
        runs: Those there are, as `find_runs` gives them.
        planned: Those of the plan, whether they exist or not, below the same folder.

    Returns:
        The planned ones among the runs, and a sentence on those that only have the name of a planned one.
    """
    wanted = {run.path for run in planned}
    homes = {path.name: path.parent.name for path in wanted}
    every = list(runs)
    others = [run for run in every if run.path not in wanted and run.name in homes]
    chosen = [run for run in every if run.path in wanted]
    if not others:
        return chosen, []
    is_simulated = any(run.path.parent.name == "simulated" for run in chosen)
    if not is_simulated and all(run.path.parent.name == "real" for run in others):
        which = "Some of the ECGs" if chosen else "The ECGs"
        note = f"{which} of this study are not on this disk; its {len(others):,} runs in real/ are."
        return [run for run in every if run.name in homes], [note]
    there = " and ".join(sorted({f"{run.path.parent.name}/" for run in others}))
    here = " and ".join(sorted({f"{homes[run.name]}/" for run in others}))
    note = f"Runs in {there} were left out, {len(others):,} of them: the study plans these names in {here}."
    return chosen, [note]
