"""The backbones: networks that turn a signal (B, 12, T) into an embedding (B, F).

A new backbone is one file, a subclass of `Backbone`, and one line of `BACKBONES`; the contract's tests then run on it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

from ecg_transfer.models.backbone import Backbone
from ecg_transfer.models.imported import import_backbone
from ecg_transfer.models.inception1d import inception1d
from ecg_transfer.models.patch_transformer import patch_transformer
from ecg_transfer.models.resnet1d import resnet1d18, resnet1d50, resnet1d101
from ecg_transfer.models.resnet1d_wang import resnet1d_wang
from ecg_transfer.models.rnn import RecurrentBackbone
from ecg_transfer.models.rnn_benchmark import BenchmarkLSTM
from ecg_transfer.models.s4d import s4d, s4d_small
from ecg_transfer.models.xresnet1d import xresnet1d18, xresnet1d50, xresnet1d101

__all__ = ["BACKBONES", "Backbone", "create_backbone", "require_name"]

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "resnet1d18": resnet1d18,
    "resnet1d50": resnet1d50,
    "resnet1d101": resnet1d101,
    "lstm": partial(RecurrentBackbone, "lstm", "flatten"),
    "bilstm": partial(RecurrentBackbone, "bilstm", "flatten"),
    "gru": partial(RecurrentBackbone, "gru", "flatten"),
    "lstm_mean": partial(RecurrentBackbone, "lstm", "mean"),
    "bilstm_mean": partial(RecurrentBackbone, "bilstm", "mean"),
    "gru_mean": partial(RecurrentBackbone, "gru", "mean"),
    "lstm_last": partial(RecurrentBackbone, "lstm", "last"),
    "bilstm_last": partial(RecurrentBackbone, "bilstm", "last"),
    "gru_last": partial(RecurrentBackbone, "gru", "last"),
    "xresnet1d18": xresnet1d18,
    "xresnet1d50": xresnet1d50,
    "xresnet1d101": xresnet1d101,
    "inception1d": inception1d,
    "resnet1d_wang": resnet1d_wang,
    "lstm_benchmark": partial(BenchmarkLSTM, False),
    "bilstm_benchmark": partial(BenchmarkLSTM, True),
    "s4d": s4d,
    "s4d_small": s4d_small,
    "patch_transformer": patch_transformer,
}
"""Name -> factory, called with `num_leads` and `num_samples`. The first six are the paper's; `xresnet1d101` to
`bilstm_benchmark` the PTB-XL benchmark's."""


def create_backbone(name: str, *, num_leads: int = 12, num_samples: int = 1000) -> Backbone:
    """Build a backbone with fresh weights.

    Args:
        name: A key of `BACKBONES`, or `package.module:factory` for a network of one's own: any `nn.Module` that maps
            `(B, num_leads, T)` to `(B, num_features)` and has an integer attribute `num_features`
            (see `ecg_transfer.models.imported`).
        num_leads: Leads of a signal.
        num_samples: Samples of a signal; only backbones that keep every time step depend on it.

    Raises:
        ValueError: No such backbone (the message lists close matches), or an imported one that breaks the contract.

    Example:
        >>> create_backbone("gru_mean").num_features
        100
    """
    require_name(name)
    if ":" in name:
        return import_backbone(name, num_leads=num_leads, num_samples=num_samples)
    return BACKBONES[name](num_leads=num_leads, num_samples=num_samples)


def require_name(name: str) -> None:
    """Look whether a backbone may be called so; nothing is imported.

    Raises:
        ValueError: No such backbone; the message lists close matches.
    """
    if ":" not in name and name not in BACKBONES:
        close = difflib.get_close_matches(name, BACKBONES) or sorted(BACKBONES)
        raise ValueError(
            f"no backbone is called {name!r}; did you mean {' or '.join(close)}? "
            "A network of your own is named package.module:factory."
        )
