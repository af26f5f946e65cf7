"""`config.json` of an exported model: what is accepted can be used, and names neither places nor code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch

from data_modules.config import Preprocessing
from data_modules.corpus import LEAD_NAMES
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.loaded_model import load_model
from ecg_transfer.model_folder import ModelFolderError
from ecg_transfer.weights import UntrustedCodeError

REFUSALS = (ModelFolderError, UntrustedCodeError)


def seeds(folder: Path) -> Iterator[bytes]:
    weights = safetensors.torch.save(ECGClassifier("gru_mean", ("AF", "B"), num_samples=40).state_dict())
    (folder / "model.safetensors").write_bytes(weights)
    records = {"array": "r", "corpus": "ptb", "role": "training", "count": 3, "sampling_rate": 100}
    config = {
        "schema_version": 1,
        "name": "pretrain-ptb",
        "backbone": "gru_mean",
        "label_names": ["AF", "B"],
        "lead_names": list(LEAD_NAMES),
        "units": "mV",
        "preprocessing": vars(Preprocessing(num_samples=40)),
        "thresholds": {"AF": 0.5, "B": 0.25},
        "weights": {"sha256": hashlib.sha256(weights).hexdigest()},
        "data": {"corpus": "ptb", "simulated": True, "digest": "0" * 64},
        "pretrained_on": [{"corpus": "ptb"}],
        "training_records": [records | {"num_samples": 40, "resample": "polyphase", "crop": "first"}],
    }
    yield json.dumps(config).encode()


def check(data: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(data)
    model = load_model(folder)
    assert "/" not in model.source
    assert len(model.label_names) == len(model.thresholds) == model.classifier.head.out_features
