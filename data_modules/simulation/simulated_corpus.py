"""A simulated corpus in its published layout: built beside its place, renamed, and marked as simulated."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_modules.claim import claimed_in_turn
from data_modules.simulation.corpora.cast import Cast, Order
from data_modules.unfinished import beside, sweep

MARKER = "SIMULATED.json"
VERSION = 1
"""Raised when the same arguments give other files."""
SIMULATED_SIZES: dict[str, int] = {"ptbxl": 1200, "cpsc2018": 700, "georgia": 700, "ptb": 240, "ribeiro": 300}
"""Records of each simulated corpus by default: enough to train a small net on, about half a gigabyte together."""
NOTE = "Simulated ECGs from a dipole model of the heart. No patient was recorded; no finding here says anything of one."


def simulate_corpus(
    name: str, root: Path, *, num_records: int, seed: int = 0, quirks: bool = False, progress: bool = False
) -> Path:
    """Write a simulated corpus in the published layout of a real one.

    The folder is built beside its place and renamed, so that `root` is complete or absent; of several processes that
    want it one builds it, the others wait. Labels come with the published prevalences, rare ones raised to at least 4
    records or 2 % (see `prevalence.quotas`). The same arguments give the same bytes.

    Args:
        name: One of `SIMULATED_SIZES`.
        root: The corpus's folder. With the same arguments it is found and left as it is; a folder simulated with other
            arguments is replaced.
        num_records: How many.
        seed: Another seed, other people.
        quirks: Put in the oddities of the authentic files: header variants, wrong gains, missing samples, duplicates
            (CPSC2018, Georgia); signals without a row, hidden ages (PTB-XL). The other two have none.
        progress: Show a bar.

    Returns:
        `root`.

    Raises:
        ValueError: An unknown corpus or no records.
        FileExistsError: `root` holds something that was not simulated: real recordings are never touched.
    """
    if name not in SIMULATED_SIZES:
        raise ValueError(f"no simulated layout for corpus {name!r}; there is one for: {', '.join(SIMULATED_SIZES)}")
    if num_records < 1:
        raise ValueError(f"num_records is {num_records}, expected at least 1")
    root = Path(root)
    marker: dict[str, Any] = {"corpus": name, "num_records": num_records, "seed": seed, "quirks": quirks}
    marker |= {"version": VERSION, "note": NOTE}

    def is_there() -> bool:
        return is_simulated(root) and read_marker(root) == marker

    with claimed_in_turn(root, done=is_there, report=lambda sentence: _say(f"{sentence}: it simulates it")) as wanted:
        if wanted:
            refuse_real_data(root)
            _build(name, root, marker, progress)
    return root


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _build(name: str, root: Path, marker: dict[str, Any], progress: bool) -> None:
    sweep(root.parent)
    building = beside(root)
    building.mkdir()
    try:
        num_records, seed, quirks = (marker[key] for key in ("num_records", "seed", "quirks"))
        fill(name, building, num_records=num_records, seed=seed, quirks=quirks, progress=progress)
        (building / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        put_in_place(building, root, marker)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_simulated(root: Path) -> bool:
    """Whether a folder was written by `simulate_corpus`."""
    return (Path(root) / MARKER).is_file()


def read_marker(root: Path) -> dict[str, Any] | None:
    """What the marker of a simulated corpus says; None if it cannot be read."""
    try:
        content = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def refuse_real_data(root: Path) -> None:
    """Refuse a place that holds anything but a simulated corpus; an empty folder is free.

    Raises:
        FileExistsError: See above.
    """
    if not root.exists() or is_simulated(root) or (root.is_dir() and not any(root.iterdir())):
        return
    raise FileExistsError(
        f"{root} exists and has no {MARKER}, so it may hold real recordings; a simulated corpus needs another folder"
    )


def fill(name: str, root: Path, *, num_records: int, seed: int, quirks: bool, progress: bool) -> None:
    """Write a corpus into an empty folder."""
    from tqdm import tqdm

    with tqdm(total=num_records, desc=f"simulating {name}", unit="record", disable=not progress) as bar:
        order = Order(
            root=root, num_records=num_records, cast=Cast(name, seed), quirks=quirks, tick=lambda: bar.update() and None
        )
        writer(name)(order)


def writer(name: str) -> Callable[[Order], None]:
    """The function that writes a corpus's layout."""
    from data_modules.simulation.corpora.cinc import write_cpsc2018, write_georgia
    from data_modules.simulation.corpora.ptb import write_ptb
    from data_modules.simulation.corpora.ptbxl import write_ptbxl
    from data_modules.simulation.corpora.ribeiro import write_ribeiro

    return {
        "ptbxl": write_ptbxl,
        "cpsc2018": write_cpsc2018,
        "georgia": write_georgia,
        "ptb": write_ptb,
        "ribeiro": write_ribeiro,
    }[name]


def put_in_place(building: Path, root: Path, marker: dict[str, Any]) -> None:
    """Rename a finished folder to its place; one simulated before, or an empty one, makes room.

    Another process may have been faster. If it built the same, its folder stays: somebody may be reading it already.

    Raises:
        FileExistsError: Something else has appeared there meanwhile.
    """
    if is_simulated(root) and read_marker(root) == marker:
        return
    refuse_real_data(root)
    if root.exists():
        old = beside(root.with_name(f"{root.name}.old"))
        root.rename(old)
        building.rename(root)
        shutil.rmtree(old)
    else:
        building.rename(root)
