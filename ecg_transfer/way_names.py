"""Ways to transfer and schedules in words, told from a configuration: runs of one way have one name."""

from __future__ import annotations

from collections.abc import Iterable

from ecg_transfer.config import OptimConfig, TransferConfig

WAY_NAMES = {
    "full": "full fine-tune",
    "linear_probe": "linear probe",
    "lp_ft": "LP-FT",
    "layerwise": "layer-wise rates",
    "gradual": "gradual unfreezing",
    "l2_sp": "L2-SP",
}
"""How the values of `transfer.way` are written, in the order of tables."""

BATCH_NORM_NAMES = {"train": "", "frozen": "frozen BatchNorm", "reestimate": "re-estimated BatchNorm"}
"""How the values of `transfer.batch_norm` are."""

HEAD_NAMES = {"new": "", "shared": "shared head"}
"""How the values of `transfer.head` are."""

NUMBERS = {
    "lp_ft": ("probe_share",),
    "layerwise": ("layer_decay",),
    "gradual": ("unfreeze_share",),
    "l2_sp": ("l2_sp", "l2_sp_head"),
}
"""The fields that matter to a way alone."""


def way_name(transfer: TransferConfig) -> str:
    """A way in words, with the numbers in which it differs from the default.

    Example:
        >>> way_name(TransferConfig(way="l2_sp", l2_sp=0.1, batch_norm="frozen"))
        'L2-SP (l2_sp 0.1), frozen BatchNorm'
    """
    plain = TransferConfig()
    changed = [
        f"{name} {getattr(transfer, name):g}"
        for name in (*NUMBERS.get(transfer.way, ()), "head_lr")
        if getattr(transfer, name) != getattr(plain, name)
    ]
    name = WAY_NAMES[transfer.way] + (f" ({', '.join(changed)})" if changed else "")
    parts = (name, BATCH_NORM_NAMES[transfer.batch_norm], HEAD_NAMES[transfer.head])
    return ", ".join(part for part in parts if part)


def schedule_name(optim: OptimConfig) -> str:
    """A schedule in words: `constant`, `one-cycle`, `cosine, 10 % warm-up`."""
    if optim.schedule == "cosine" and optim.warmup > 0:
        return f"cosine, {100 * optim.warmup:g} % warm-up"
    return optim.schedule.replace("_", "-")


def ways_in_order(names: Iterable[str]) -> list[str]:
    """Ways in the order of `WAY_NAMES`, each followed by its variants."""
    order = list(WAY_NAMES.values())

    def rank(name: str) -> tuple[int, str]:
        plain = [place for place, known in enumerate(order) if name.startswith(known)]
        return (plain[0] if plain else len(order)), name

    return sorted(set(names), key=rank)
