"""Does anything get lost? Faults let loose on trainings, caches and studies on SIMULATED ECGs: `make chaos`.

After every fault the same command is given again, and what is then on the disk is compared bit for bit with what an
undisturbed one left. Prints a line a fault and a table; exits with 1 if anything was lost.

Instants of a SIGKILL are drawn, uniformly over the life of a training, of a cache's building and of a study, so many
each; others are aimed at a certain file. Where instants are drawn processes are forked from this one, which has
imported all they need, so that the time goes to what is tested; where they are aimed, and where a signal's exit code
is looked at, they are interpreters of their own.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

for _name, _value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}.items():
    os.environ.setdefault(_name, _value)  # before torch is imported: the children are forked
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])

import torch  # noqa: E402
from crowds import crowd  # noqa: E402
from damage import rot  # noqa: E402
from disks import NUM_DRAWN, fill_the_disk  # noqa: E402
from kills import kill_builders, kill_trainings  # noqa: E402
from life import Fault, Life, save, summary  # noqa: E402
from stops import stop  # noqa: E402
from studies import kill_studies  # noqa: E402

import ecg_transfer.training  # noqa: E402, F401 - for the children
from ecg_transfer.provenance import provenance  # noqa: E402


def main() -> None:
    """Do all groups of faults, or some."""
    options = _options()
    started = time.monotonic()
    torch.set_num_threads(1)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.folder))
    life = Life(folder, options.seed, _say)
    brief = options.brief
    groups = {
        "training": lambda: kill_trainings(life, options.kills),
        "cache": lambda: kill_builders(life, options.kills),
        "study": lambda: kill_studies(life, options.kills),
        "stopping": lambda: stop(life, studies=not brief),
        "several": lambda: crowd(life, (2,) if brief else (2, 4, 8), studies=not brief),
        "disk": lambda: fill_the_disk(life, *((4, 3) if brief else (NUM_DRAWN, 10))),
        "damage": lambda: rot(life, ("cut",) if brief else ("cut", "flip", "empty")),
    }
    spent = {}
    try:
        life.begin()
        for name, do in groups.items():
            if not options.only or name in options.only:
                began = time.monotonic()
                do()
                spent[name] = round(time.monotonic() - began)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - started)
    _say(_table(life.faults, options.seed, seconds))
    facts = {"seed": options.seed, "kills": options.kills, "date": time.strftime("%Y-%m-%d"), "simulated": True}
    facts |= {"seconds": seconds, "seconds_by_group": spent, "cpu_seconds": round(_cpu_seconds()), **provenance()}
    save(life.faults, options.json, **facts)
    sys.exit(1 if any(fault.lost for fault in life.faults) else 0)


def _cpu_seconds() -> float:
    """Of this process and all that have ended below it."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the instants, places and bits")
    parser.add_argument(
        "--kills",
        type=int,
        default=20,
        help="SIGKILLs at drawn instants of each of a training, a cache's building and a study; aimed ones come on top",
    )
    parser.add_argument("--only", action="append", help="a group: training, cache, study, stopping, several, ...")
    parser.add_argument("--brief", action="store_true", help="no studies but those killed, fewer sizes and damages")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--json", type=Path, default=Path("checkpoints/chaos.json"), help="where the result goes")
    return parser.parse_args()


def _table(faults: Sequence[Fault], seed: int, seconds: int) -> str:
    lines = [f"{'':16s} {'injected':>9s} {'survived':>9s} {'data lost':>9s}"]
    for name, counts in summary(faults).items():
        early = f"  {counts['before_an_epoch']} before an epoch was finished" if "before_an_epoch" in counts else ""
        lines.append(f"{name:16s} {counts['injected']:9d} {counts['survived']:9d} {counts['lost']:9d}{early}")
    return "\n".join([*lines, f"seed {seed}, {seconds} s, SIMULATED ECGs"])


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
