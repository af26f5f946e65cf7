"""What a fine-tuning did with its upstream, in a word or two: runs that did different things are not pooled."""

from __future__ import annotations

from dataclasses import fields

from ecg_transfer.config import RunConfig, TransferConfig

WHERE_FROM = ("upstream", "allow_simulated")
"""Fields of the `transfer` section that say where a fine-tuning starts, not how it goes."""


def way_name(config: RunConfig) -> str:
    """`full` for the paper's fine-tuning, else every field of `transfer` that differs from its default.

    Example:
        >>> way_name(RunConfig())
        'full'
    """
    ours, defaults = vars(config.transfer), vars(TransferConfig())
    own = {
        field.name: ours[field.name]
        for field in fields(TransferConfig)
        if field.name not in WHERE_FROM and ours[field.name] != defaults[field.name]
    }
    way = str(own.pop("way", "full"))
    return ", ".join([way, *(f"{name}={value}" for name, value in own.items())])
