"""Whether the devices are there that a training asks for."""

from __future__ import annotations

from typing import Literal

import torch

from ecg_transfer.config import ConfigError, RunConfig


def lack_of_devices(accelerator: Literal["auto", "cpu", "gpu"], devices: int = 1) -> str | None:
    """Why a training cannot have its devices here; None where it can.

    Args:
        accelerator: As configured.
        devices: How many.
    """
    num_gpus = max(torch.cuda.device_count(), int(torch.backends.mps.is_available()))
    if accelerator == "gpu" and not num_gpus:
        return "trainer.accelerator=gpu: PyTorch sees no GPU here; leave it out to train on the CPU"
    on_gpus = accelerator == "gpu" or (accelerator == "auto" and num_gpus > 0)
    return f"trainer.devices={devices}: PyTorch sees {num_gpus} GPUs here" if on_gpus and devices > num_gpus else None


def require_devices(config: RunConfig) -> None:
    """Refuse a training on devices that are not there.

    Raises:
        ConfigError: No GPU, or fewer than asked for.
    """
    why = lack_of_devices(config.trainer.accelerator, config.trainer.devices)
    if why is not None:
        raise ConfigError(why)
