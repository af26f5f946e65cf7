"""The authors' own models, from a checkout that the user has: their classes in our copy of their training step.

Their code (github.com/cuongvng/transfer-learning-ecg-diagnosis) is GPL-3.0: it is imported by path where `--reference`
names it, and nothing of it is here but the names of its files and classes.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import nn

CLASSES = {
    "resnet1d18": ("resnet1d18.py", "ResNet1d18"),
    "resnet1d50": ("resnet50.py", "ResNet1d50"),
    "resnet1d101": ("resnet1d101.py", "ResNet1d101"),
    "lstm": ("lstm.py", "LSTM"),
    "bilstm": ("lstm.py", "BiLSTM"),
    "gru": ("gru.py", "GRU_Classifier"),
}
"""Backbone -> file in their folder `pretrain`, class in it."""


class CheckoutError(ValueError):
    """What `--reference` names is not the authors' checkout."""


def check_reference(folder: Path) -> None:
    """Look for the files that are needed, before anything is measured.

    Raises:
        CheckoutError: Some are not there.
    """
    missing = sorted({file for file, _ in CLASSES.values() if not (folder / "pretrain" / file).is_file()})
    if missing:
        raise CheckoutError(
            f"--reference {folder}: there is no {', '.join(f'pretrain/{file}' for file in missing)}; expected a "
            "checkout of github.com/cuongvng/transfer-learning-ecg-diagnosis"
        )


def authors_model(folder: Path, backbone: str, num_labels: int) -> nn.Module:
    """Their model of a backbone in float64; takes signals (B, 1000, 12).

    Raises:
        CheckoutError: Their file has no such class, or another signature.
    """
    check_reference(folder)
    file, name = CLASSES[backbone]
    path = folder / "pretrain" / file
    spec = importlib.util.spec_from_file_location(f"authors_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise CheckoutError(f"--reference: {path} defines no class {name}; is it another version of the checkout?")
    arguments = {} if backbone.startswith("resnet") else {"device": torch.device("cpu")}
    try:
        model: nn.Module = getattr(module, name)(num_classes=num_labels, **arguments)
    except TypeError as error:
        raise CheckoutError(f"--reference: {name} in {path} cannot be built: {error}") from error
    return model.double()
