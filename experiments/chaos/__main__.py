"""Does anything get lost? Faults let loose on trainings, caches and studies on SIMULATED ECGs: `make chaos`.

After every fault the same command is given again, and what is then on the disk is compared bit for bit with what an
undisturbed training left. Prints a line a fault and a table; exits with 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
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
from kills import kill_builders, kill_studies, kill_trainings, stop  # noqa: E402
from life import Fault, Life, save  # noqa: E402
from others import crowd, fill_the_disk, rot  # noqa: E402

import ecg_transfer.training  # noqa: E402, F401 - for the children


def main() -> None:
    """Do all groups of faults, or some."""
    options = _options()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-", dir=options.folder))
    life = Life(folder, random.Random(options.seed), _say)
    kills = options.kills
    groups = {
        "training": lambda: kill_trainings(life, kills - 2 * (kills // 5)),
        "cache": lambda: kill_builders(life, kills // 5),
        "study": lambda: kill_studies(life, kills // 5),
        "stopping": lambda: stop(life, studies=not options.brief),
        "several": lambda: crowd(life, (2,) if options.brief else (2, 4, 8), studies=not options.brief),
        "disk": lambda: fill_the_disk(life, 3 if options.brief else 10),
        "damage": lambda: rot(life, ("cut",) if options.brief else ("cut", "flip", "empty")),
    }
    try:
        life.begin()
        for name, do in groups.items():
            if not options.only or name in options.only:
                do()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = round(time.monotonic() - started)
    _say(_table(life.faults, options.seed, seconds))
    machine = {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count()}
    save(life.faults, options.json, seed=options.seed, kills=kills, seconds=seconds, **machine)
    sys.exit(1 if any(fault.lost for fault in life.faults) else 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of the instants, places and bits")
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs at drawn instants; aimed ones come on top")
    parser.add_argument("--only", action="append", help="a group: training, cache, study, stopping, several, ...")
    parser.add_argument("--brief", action="store_true", help="no studies but those killed, fewer sizes and damages")
    parser.add_argument("--folder", type=Path, help="where to work; by default the system's temporary folder")
    parser.add_argument("--json", type=Path, default=Path("checkpoints/chaos.json"), help="where the result goes")
    return parser.parse_args()


def _table(faults: Sequence[Fault], seed: int, seconds: int) -> str:
    lines = [f"{'':12s} {'injected':>9s} {'survived':>9s} {'data lost':>9s}"]
    for name in [*dict.fromkeys(fault.group for fault in faults), "all"]:
        of_group = [fault for fault in faults if name in (fault.group, "all")]
        lost = sum(bool(fault.lost) for fault in of_group)
        lines.append(f"{name:12s} {len(of_group):9d} {len(of_group) - lost:9d} {lost:9d}")
    return "\n".join([*lines, f"seed {seed}, {seconds} s, SIMULATED ECGs"])


def _say(sentence: str) -> None:
    sys.stdout.write(f"{sentence}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
