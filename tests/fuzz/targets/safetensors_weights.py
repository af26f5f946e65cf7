"""`model.safetensors` of an exported model whose `config.json` vouches for any content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.loaded_model import model_of
from ecg_transfer.model_folder import ModelFolderError, read_model_folder
from tests.fuzz.targets import model_config

REFUSALS = (ModelFolderError,)


def seeds(folder: Path) -> Iterator[bytes]:
    (config,) = model_config.seeds(folder)
    tiny = json.loads(config) | {"label_names": ["AF"], "thresholds": {"AF": 0.5}}
    (folder / "config.json").write_text(json.dumps(tiny))
    state = ECGClassifier("gru_mean", ("AF",), num_samples=40).state_dict()
    small = {name: value for name, value in state.items() if value.numel() < 2000}
    yield safetensors.torch.save(small)
    yield safetensors.torch.save({"head.weight": torch.zeros(1, 100), "head.bias": torch.zeros(1)})


def check(data: bytes, folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(data)
    opened = replace(read_model_folder(folder), weights_sha256=hashlib.sha256(data).hexdigest())
    length = int.from_bytes(data[:8], "little")
    shapes = opened.shapes()
    state = opened.state_dict()
    described = json.loads(data[8 : 8 + length])
    for name, value in state.items():
        start, end = described[name]["data_offsets"]
        assert tuple(value.shape) == shapes[name]
        if described[name]["dtype"] == "F32":
            expected = np.frombuffer(data[8 + length :][start:end], "<f4").reshape(shapes[name])
            np.testing.assert_array_equal(value.numpy(), expected)
    model_of(opened)
