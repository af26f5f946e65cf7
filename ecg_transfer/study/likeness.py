"""Which runs are alike: digests of what is left of a configuration when some of its fields are left out."""

from __future__ import annotations

import hashlib
import json

from ecg_transfer.config import PLACES, RunConfig

LEFT_OUT = {
    "cell": (
        "phase",
        "transfer.upstream",
        "seed",
        "data.subset_seed",
    ),
    "series": ("data.subset",),
    "setting": (
        "model",
        "data.corpus",
        "data.label_set",
        "data.original_rate",
        "data.unlabelled",
        "data.num_simulated",
    ),
}
"""Columns by the fields that may differ between their members, each with those of the columns before, and `PLACES`."""

CONTEST = (
    *(path for path in LEFT_OUT["cell"] if not path.startswith("transfer.")),
    "transfer",
    "optim.lr",
    "optim.schedule",
    "optim.warmup",
)
"""Fields in which the runs of a contest may differ: all of the above that make a cell, the way, and the rate."""

KIN = (*(path for path in LEFT_OUT["cell"] if path != "phase"), "pretext", "augment", "crops")
"""Fields in which two pre-trainings may differ, the one with labels and the other without, to be compared."""

RIVALS = (*KIN, "recipe", "optim", "monitor", "model.dropout", "trainer", "data.label_set")
"""Those in which two pre-trainings on the same signals may differ, to be compared."""


def likenesses(config: RunConfig, *, simulated: bool) -> dict[str, str]:
    """By column of the results table: equal for runs that differ in nothing but the fields that are left out.

    Args:
        config: Of a run.
        simulated: Whether it was trained on simulated ECGs: real and simulated ones stay apart by what they were, not
            by the `data.source` that was asked for.
    """
    found = {}
    left_out: tuple[str, ...] = ()
    for name, more in LEFT_OUT.items():
        left_out += more
        found[name] = _left(config, left_out, simulated=simulated)
    others = {"contest": CONTEST, "kin": KIN, "rivals": RIVALS}
    return found | {name: _left(config, fields, simulated=simulated) for name, fields in others.items()}


def _left(config: RunConfig, left_out: tuple[str, ...], *, simulated: bool) -> str:
    """A digest of what is left of a configuration without some fields and `PLACES`, as of `RunConfig.digest`."""
    tree = config.as_dict()
    for path in (*map(".".join, PLACES), *left_out):
        section, _, key = path.rpartition(".")
        (tree[section] if section else tree).pop(key)
    return hashlib.sha256(f"{json.dumps(tree, sort_keys=True)} {simulated}".encode()).hexdigest()[:16]
