"""Finished runs that nothing can be compared with, and what they lack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ecg_transfer.comparison import Pair, start_apart
from ecg_transfer.config import PLACES, changes
from ecg_transfer.runs import Run

MAX_NAMED = 3
"""Runs, and fields of each, that are named."""

ARMS = {"finetune": "fine-tuning", "scratch": "training from scratch"}


def lone_runs_sentence(runs: Sequence[Run], pairs: Sequence[Pair]) -> str | None:
    """How many runs have no partner, and for some of them what the nearest one differs in; None if all have one.

    Args:
        runs: Finished fine-tunings and trainings from scratch.
        pairs: Those among them.
    """
    paired = {run.path for pair in pairs for run in (pair.finetune, pair.scratch)}
    lone = [run for run in runs if run.path not in paired]
    if not lone:
        return None
    names: dict[str, list[str]] = defaultdict(list)
    for run in lone[:MAX_NAMED]:
        names[_lack(run, runs)].append(run.name)
    told = [f"{', '.join(same)} ({lack})" for lack, same in names.items()]
    if len(lone) > MAX_NAMED:
        told.append(f"and {len(lone) - MAX_NAMED:,} more")
    count = "1 finished run has" if len(lone) == 1 else f"{len(lone):,} finished runs have"
    return f"{count} no partner: {', '.join(told)}"


def _lack(run: Run, runs: Sequence[Run]) -> str:
    config, data = run.config, run.manifest["data"]
    wanted = "scratch" if config.phase == "finetune" else "finetune"
    others = [
        other for other in runs
        if (other.config.phase, other.config.data.corpus) == (wanted, config.data.corpus)
        and other.manifest["data"]["simulated"] == data["simulated"]
    ]  # fmt: skip
    if not others:
        kind = "simulated" if data["simulated"] else "real"
        return f"there is no finished {ARMS[wanted]} on {kind} ECGs of {config.data.corpus}"
    fields = min((_differing(run, other) for other in others), key=len) or ["the records that were on disk"]
    more = f" and {len(fields) - MAX_NAMED:,} more" if len(fields) > MAX_NAMED else ""
    return f"the nearest {ARMS[wanted]} differs in {', '.join(fields[:MAX_NAMED])}{more}"


def _differing(run: Run, other: Run) -> list[str]:
    found = changes(start_apart(run.config), start_apart(other.config))
    return [field for field in found if field not in map(".".join, PLACES)]
