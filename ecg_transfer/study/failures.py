"""Which failures of a run another attempt can mend, and the note that a failed run leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ecg_transfer.config import RunConfig
from ecg_transfer.files import FULL, write_json
from ecg_transfer.runs import Run, save_config
from ecg_transfer.study.worker import Outcome

Remedy = Literal["again", "next time", "none"]
"""`again`: at once, a few times; `next time`: when the study is started again, something outside may have changed;
`none`: the same configuration fails in the same way, so only when it is asked for."""

CRASH = "Crashed"
"""The `error` of a run whose process died."""

PASSING = frozenset(
    {
        CRASH,
        "BlockingIOError",
        "ConnectionError",
        "ConnectionResetError",
        "ClaimLostError",
        "InterruptedError",
        "MemoryError",
        "OutOfMemoryError",
        "StaleFileHandleError",
        "TimeoutError",
    }
)
"""Exceptions of an overloaded machine, network or GPU."""

SURROUNDINGS = frozenset(
    {
        "CorpusFormatError",
        "CorpusNotFoundError",
        "FileNotFoundError",
        "ImportError",
        "ModuleNotFoundError",
        "OSError",
        "PermissionError",
        "RunChangedError",
        "RunNotFoundError",
        "UpstreamError",
    }
)
"""Exceptions over files and packages, which a user mends outside the study."""


class DiskFullError(OSError):
    """The disk is full: no run can go on."""


def remedy(error: str) -> Remedy:
    """What can be done about a failure.

    Args:
        error: Name of the exception, or `CRASH`.
    """
    if error in PASSING:
        return "again"
    return "next time" if error in SURROUNDINGS else "none"


def is_disk_full(outcome: Outcome) -> bool:
    """Whether a run ended because the disk, or the user's share of it, is full."""
    return outcome.errno in FULL


def note_failure(run: Run, config: RunConfig, error: str, message: str, *, attempts: int) -> None:
    """Leave the reason in the run's directory, where `Run.failure` and `Run.status` find it.

    Args:
        run: The run.
        config: Its configuration, written too if the run did not come so far.
        error: Name of the exception, or `CRASH`.
        message: What it said.
        attempts: How many attempts there were.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    if not (run.path / "config.yaml").exists():
        save_config(run.path / "config.yaml", config)
    write_json(run.path / "FAILED", {"error": error, "message": message, "attempts": attempts})


def last_words(log: Path) -> str:
    """The last line of a log, shortened; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 2000))
            lines = stream.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return said[-1][:200] if said else ""
