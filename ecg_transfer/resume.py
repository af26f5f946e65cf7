"""From where an interrupted run goes on: the newest whole state, and the run's other files as they were with it.

`last.ckpt` carries the files that grow with a run. What a kill left newer than the state, torn, or what has rotted
since, is put back from there: a run goes on from one instant, not from a mixture of two.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data_modules.unfinished import sweep
from ecg_transfer.checkpoint_file import is_whole
from ecg_transfer.files import write_atomically
from ecg_transfer.runs import STATES

LAST, PREVIOUS = STATES
GROWING = ("metrics.jsonl", "predictions.npz", "best.ckpt")
"""Files that change from epoch to epoch: the state carries them as they were."""
MANIFEST = "manifest.json"
"""Carried too, but a readable one is left alone: it may know of a later attempt."""
FILES = "files"
"""The key of a state under which they are, as bytes."""


def carried(folder: Path) -> dict[str, Tensor]:
    """The run's files as they are now, for a state to carry."""
    return {
        name: torch.from_numpy(np.fromfile(folder / name, np.uint8))
        for name in (*GROWING, MANIFEST)
        if (folder / name).exists()
    }


def newest_state(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole state of a run, and a sentence on each that is damaged. Changes nothing."""
    said: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if is_whole(path):
            return path, said
        if path.exists():
            said.append(f"{path} is torn or damaged: it is not used")
    return None, said


def recover(folder: Path) -> tuple[Path | None, list[str]]:
    """Bring a run's directory, which this process has claimed, to the instant of its newest whole state.

    Returns:
        The state to go on from, None to begin anew; and sentences for the user on what was damaged.
    """
    sweep(folder)
    state, said = newest_state(folder)
    if state is None and said:
        said.append("no state of this run is left: it begins anew")
    if state is None:
        for name in STATES:
            (folder / name).unlink(missing_ok=True)
        return None, said
    if state.name == PREVIOUS:
        if said:
            said.append(f"the run goes on from the state before it, {state.name}")
        (folder / LAST).unlink(missing_ok=True)  # or it would take the place of the good one
    _put_back(folder, state)
    return state, said


def _put_back(folder: Path, state: Path) -> None:
    files = torch.load(state, map_location="cpu", weights_only=True, mmap=True).get(FILES)
    if files is None:  # of an earlier version
        return
    for name in GROWING:
        if name not in files:
            (folder / name).unlink(missing_ok=True)
        else:
            _write(folder / name, files[name])
    if MANIFEST in files and not _is_json(folder / MANIFEST):
        _write(folder / MANIFEST, files[MANIFEST])


def _write(path: Path, content: Tensor) -> None:
    """Write a file unless that is what it holds."""
    wanted = content.numpy().tobytes()
    if not path.is_file() or path.stat().st_size != len(wanted) or path.read_bytes() != wanted:
        with write_atomically(path) as stream:
            stream.write(wanted)


def _is_json(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False
