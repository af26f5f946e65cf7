"""A checkpoint: no code is imported, and weights are those in the file."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from ecg_transfer.classifier import ECGClassifier, load_classifier
from ecg_transfer.models import BACKBONES
from ecg_transfer.weights import UntrustedCodeError

REFUSALS = (ValueError, UntrustedCodeError)


class _Small(nn.Module):
    num_features = 3

    def __init__(self, num_leads: int = 12, num_samples: int = 40) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)


def seeds(folder: Path) -> Iterator[bytes]:
    BACKBONES.setdefault("small", _Small)  # the built-in ones have a hundred kilobytes and more
    classifier = ECGClassifier(_Small(), ("AF", "B"), num_samples=40)
    state = {name.replace(".module.", "."): value for name, value in classifier.state_dict().items()}
    for backbone in ("small", "antigravity:geohash"):
        content = {"state_dict": state, "hyper_parameters": dict(classifier.hparams)}
        content["hyper_parameters"]["backbone"] = backbone
        stream = io.BytesIO()
        torch.save(content, stream)
        yield stream.getvalue()


def check(data: bytes, folder: Path) -> None:
    (folder / "a.ckpt").write_bytes(data)
    try:
        model = load_classifier(folder / "a.ckpt")
    finally:
        assert "antigravity" not in sys.modules
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        stored = {archive.read(info) for info in archive.infolist()}
    assert all(value.contiguous().numpy().tobytes() in stored for value in model.state_dict().values())
