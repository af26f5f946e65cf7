"""Which numbers a configuration may hold: what is outside of them would train nothing, or fail without naming it."""

from __future__ import annotations

import math
from collections.abc import Mapping

ABOVE_ZERO = (
    *("optim.lr", "optim.batch_size", "optim.max_epochs", "optim.max_updates", "optim.gradient_clip"),
    *("optim.evaluate_every", "optim.early_stop_patience", "transfer.head_lr", "trainer.devices", "trainer.num_nodes"),
    *("data.sampling_rate", "data.num_samples", "data.original_rate", "data.num_simulated"),
)
"""Fields that are more than 0, where they are given at all."""

AT_LEAST_ZERO = (
    *("seed", "data.split_seed", "data.subset_seed"),
    *("optim.weight_decay", "optim.min_updates", "trainer.checkpoint_seconds"),
    *("transfer.l2_sp", "transfer.l2_sp_head"),
)

SHARES_BELOW_ONE = ("optim.warmup",)
"""Fields from 0 to below 1. Those of the loss are refused with it, `ecg_transfer.loss.require_shares`."""

SHARES_ABOVE_ZERO = ("transfer.probe_share", "transfer.unfreeze_share", "transfer.layer_decay")
"""Fields above 0, up to 1."""


def out_of_range(fields: Mapping[str, object], section: str = "") -> str | None:
    """Say which number is none that a run can have, and what is expected; None where all are.

    Args:
        fields: As `RunConfig.as_dict` gives them.
        section: What goes before a field's name.
    """
    for name, value in fields.items():
        place = f"{section}{name}"
        if isinstance(value, Mapping):
            found = out_of_range(value, f"{place}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            expected = _expected(place, value)
            found = f"{place}={value:g}: expected {expected}" if expected else None
        else:
            found = None
        if found is not None:
            return found
    return None


def _expected(place: str, value: float) -> str | None:
    """What a number should be that it is not."""
    if not math.isfinite(value):
        return "a finite number"
    if place in ABOVE_ZERO and value <= 0:
        return "a number above 0"
    if place in AT_LEAST_ZERO and value < 0:
        return "0 or more"
    if place in SHARES_BELOW_ONE and not 0 <= value < 1:
        return "a share from 0 to below 1"
    if place in SHARES_ABOVE_ZERO and not 0 < value <= 1:
        return "a number above 0, at most 1"
    return None
