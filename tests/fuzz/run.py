"""`make fuzz`: every target under a coverage-guided fuzzer for a bounded time; a table, and the same as JSON.

Needs atheris, which is no part of the development group: it has no wheels for some platforms.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem != "__init__")


def main() -> None:
    """Fuzz; exit code 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300, help="of all targets together, by the clock")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--folder", type=Path, default=Path(".fuzz"), help="for inputs, findings and the report")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("targets", nargs="*", help=f"all by default: {', '.join(TARGETS)}")
    options = parser.parse_args()
    names = options.targets or TARGETS
    if unknown := sorted(set(names) - set(TARGETS)):
        parser.error(f"there is no target {unknown[0]}; there are {', '.join(TARGETS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    share = max(5, options.seconds * options.jobs // len(names))
    with ThreadPoolExecutor(options.jobs) as pool:
        reports = list(pool.map(lambda name: fuzz(name, share, options.folder.resolve(), options.seed), names))
    (options.folder / "report.json").write_text(json.dumps(reports, indent=1) + "\n")
    print("\n".join(table(reports)), flush=True)  # noqa: T201 - a command
    print(f"\n{options.folder / 'report.json'}")  # noqa: T201
    sys.exit(any(report["findings"] for report in reports))


def fuzz(name: str, seconds: int, folder: Path, seed: int) -> dict[str, Any]:
    """Fuzz one target until its time is over, with a new process where one crashed.

    Args:
        name: Of the target.
        seconds: By the clock.
        folder: For its inputs and findings.
        seed: Of the first process.

    Returns:
        The sums of its processes' records; a crash is a finding too.
    """
    total: dict[str, Any] = {"target": name, "inputs": 0, "accepted": 0, "seconds": 0.0, "slowest": 0.0, "growth": 0}
    total["findings"] = {}
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 0:
        (folder / f"{name}.json").unlink(missing_ok=True)
        command = [sys.executable, "-m", "tests.fuzz.one_target", name, str(left), str(folder), str(seed)]
        process = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
        (folder / f"{name}.log").write_text(process.stderr[-20_000:])
        if not (folder / f"{name}.json").exists():
            total["findings"][f"it does not start: {process.stderr.strip().splitlines()[-1:]}"] = f"{name}.log"
            break
        record = json.loads((folder / f"{name}.json").read_text())
        for key in ("inputs", "accepted", "seconds"):
            total[key] += record[key]
        for key in ("slowest", "growth"):
            total[key] = max(total[key], record[key])
        total["findings"] |= record["findings"]
        crashes = sorted(folder.glob(f"{name}-crash-*")) + sorted(folder.glob(f"{name}-timeout-*"))
        if process.returncode != 0:
            total["findings"] |= {
                f"the process ended ({process.returncode}): {path.name}": path.name for path in crashes
            }
        if process.returncode != 0 and not crashes:
            total["findings"][f"the process ended ({process.returncode})"] = f"{name}.log"
        seed += 1
    return total


def table(reports: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of the table, sums last."""
    row = "{:<20} {:>10} {:>10} {:>8} {:>10} {:>12} {:>9}"
    yield row.format("target", "inputs", "accepted", "CPU/s", "slowest/s", "growth/MB", "findings")
    sums = {key: sum(report[key] for report in reports) for key in ("inputs", "accepted", "seconds")}
    worst = {key: max(report[key] for report in reports) for key in ("slowest", "growth")}
    findings = {
        f"{report['target']}: {place}": file for report in reports for place, file in report["findings"].items()
    }
    for report in [*reports, {"target": "all", "findings": findings, **sums, **worst}]:
        yield row.format(
            report["target"],
            f"{report['inputs']:,}",
            f"{report['accepted']:,}",
            f"{report['seconds']:.0f}",
            f"{report['slowest']:.3f}",
            f"{report['growth'] / 2**20:.0f}",
            len(report["findings"]),
        )
    yield from (f"  {place}  ->  {file}" for place, file in findings.items())


if __name__ == "__main__":
    main()
