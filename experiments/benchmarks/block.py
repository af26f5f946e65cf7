"""One block in a process of its own, so that no row inherits another one's memory, threads or settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from experiments.benchmarks.options import Block, Options
from experiments.benchmarks.row import Row

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 3600
"""No block takes that long but a corpus of ten times PTB-XL's size on a slow disk."""


class BlockError(RuntimeError):
    """A block that could not be measured; the message ends in the last line that its process wrote."""


def measure_apart(block: Block, options: Options) -> list[Row]:
    """Measure a block's rows in a new process.

    Raises:
        BlockError: It failed.
    """
    found = Path(options.scratch) / "rows.json"
    found.unlink(missing_ok=True)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "experiments.benchmarks.block",
                block.group,
                block.name,
                json.dumps(asdict(options)),
            ],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            cwd=options.scratch,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise BlockError(f"it took longer than {LIMIT_SECONDS} s") from error
    if done.returncode or not found.exists():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise BlockError(f"exit code {done.returncode}: {last}")
    return [Row.from_dict(row) for row in json.loads(found.read_text())]


def main() -> None:
    """Measure the block that the arguments name, and leave its rows in the scratch folder."""
    group, name, content = sys.argv[1:]
    options = Options(**json.loads(content))
    rows = import_module(f"experiments.benchmarks.rows.{group}").measure(name, options)
    (Path(options.scratch) / "rows.json").write_text(json.dumps([row.as_dict() for row in rows]))


if __name__ == "__main__":
    main()
