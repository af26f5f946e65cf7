"""Which precisions a machine computes in, and which it would only imitate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ecg_transfer.config import ConfigError, RunConfig


@contextmanager
def in_full_precision(device: torch.device) -> Iterator[None]:
    """Compute in the weights' own precision: without autocast, and on a GPU without TensorFloat-32.

    cuDNN's convolutions and recurrent layers round float32 to TensorFloat-32's 10 bits unless they are told not to. On
    an H100 that moved a ResNet1d-101's embedding by 1e-3 of its largest number; without it by 4e-6.

    Args:
        device: Where.
    """
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def cpu_has_bfloat16() -> bool:
    """Whether there are kernels in bfloat16 for this CPU: with AVX-512 or AMX, or a newer ARM's.

    True where PyTorch was built without oneDNN, which knows.
    """
    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    return supported is None or bool(supported())


def refusal(precision: Literal[32, "bf16", 64], accelerator: Literal["auto", "cpu", "gpu"]) -> str | None:
    """Why this machine should not train in a precision; None where it may.

    On a CPU with AVX2 alone (Zen 3, torch 2.13; a training step's CPU time, least of three) bfloat16 took 6.6 times as
    long as float32 for an XResNet1d-18, 10.8 times for a ResNet1d-18, and there is no LSTM in it.
    """
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    if precision != "bf16" or not on_cpu or cpu_has_bfloat16():
        return None
    return (
        "trainer.precision=bf16: this CPU does not compute in bfloat16 (that needs AVX-512 or AMX). Imitated, ResNets "
        "take 7 to 11 times as long as in float32, and LSTMs fail; take trainer.precision=32"
    )


def require_precision(config: RunConfig) -> None:
    """Refuse a training that would crawl or fail because of its precision.

    Raises:
        ConfigError: See `refusal`.
    """
    why = refusal(config.trainer.precision, config.trainer.accelerator)
    if why is not None:
        raise ConfigError(why)
