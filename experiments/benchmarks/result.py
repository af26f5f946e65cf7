"""A result: rows, the machine they are of, and whether it was quiet; saved as JSON, compared with the one before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from shlex import split
from typing import Any

from experiments.benchmarks.machine import is_same, short_name
from experiments.benchmarks.row import Row

RESULTS = Path(__file__).parent / "results"
STOPPED = "stopped here; what was measured before is kept"
"""The reason of the block in which Ctrl-C came."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one `make bench` found."""

    date: str
    """Of the start, UTC, `2026-01-31T12:00:00`."""
    command: str
    """What was typed, without paths."""
    machine: dict[str, Any]
    """See `machine.describe`."""
    seen: tuple[str, ...]
    """What speaks against a quiet machine."""
    readings: tuple[dict[str, Any], ...]
    """See `quiet.Reading`."""
    rows: tuple[Row, ...]
    failed: dict[str, str]
    """Blocks that could not be measured, with the reason."""

    @property
    def quiet(self) -> bool:
        """Whether its times can be trusted; ratios of interleaved rounds suffer less."""
        return not self.seen

    @property
    def whole(self) -> bool:
        """Whether everything was to be measured and no Ctrl-C cut it off, as the page's table wants it."""
        words = split(self.command)
        return not {"--only", "--quick"} & {*words} and STOPPED not in self.failed.values()

    def save(self, folder: Path = RESULTS) -> Path:
        """Write it under the machine's name and the date; a file that is there already stays."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{short_name(self.machine)}-{self.date.replace(':', '')}"
        names = (f"{stem}.json" if number == 1 else f"{stem}-{number}.json" for number in count(1))
        content = {
            "date": self.date,
            "command": self.command,
            "quiet": self.quiet,
            "seen": self.seen,
            "machine": self.machine,
            "rows": [row.as_dict() for row in self.rows],
            "failed": self.failed,
            "readings": self.readings,
        }
        for name in names:
            try:
                with (folder / name).open("x") as stream:
                    stream.write(json.dumps(content, indent=1) + "\n")
            except FileExistsError:  # two measurements began in one second
                continue
            return folder / name
        raise AssertionError("numbers do not end")


def read_result(path: Path) -> Result:
    """What `save` wrote."""
    content = json.loads(path.read_text())
    return Result(
        date=content["date"],
        command=content["command"],
        machine=content["machine"],
        seen=tuple(content["seen"]),
        readings=tuple(content["readings"]),
        rows=tuple(map(Row.from_dict, content["rows"])),
        failed=content["failed"],
    )


def saved_results(folder: Path = RESULTS) -> list[Result]:
    """All of them, the oldest first."""
    return sorted(map(read_result, folder.glob("*.json")), key=lambda result: result.date)


def rows_before(machine: dict[str, Any], results: Iterable[Result]) -> dict[tuple[str, str], tuple[Row, Result]]:
    """For each row that this machine has ever had the last saved one; `--only` and `--quick` measure some rows alone.

    Args:
        machine: Of the result that is to be compared.
        results: The oldest first.
    """
    found: dict[tuple[str, str], tuple[Row, Result]] = {}
    for result in results:
        if is_same(machine, result.machine):
            found |= {(row.group, row.name): (row, result) for row in result.rows}
    return found
