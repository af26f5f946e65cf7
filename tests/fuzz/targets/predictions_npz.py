"""Stored logits of a run, compared with numpy's own reader."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ecg_transfer.predictions import Predictions, load_predictions, save_predictions

REFUSALS = (ValueError,)


def seeds(folder: Path) -> Iterator[bytes]:
    part = Predictions(
        record_ids=np.array(["a", "b"]),
        groups=np.array([0, 1]),
        logits=np.array([[0.5], [-1.0]]),
        targets=np.array([[1], [0]], np.uint8),
    )
    save_predictions(folder / "p.npz", {"val_selected/test": part}, {"val_selected/test": 3})
    yield (folder / "p.npz").read_bytes()


def check(data: bytes, folder: Path) -> None:
    (folder / "p.npz").write_bytes(data)
    predictions, _ = load_predictions(folder / "p.npz")
    with np.load(io.BytesIO(data)) as theirs:
        for name, part in predictions.items():
            np.testing.assert_array_equal(part.logits, theirs[f"{name}/logits"])
