from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ecg_transfer.predictions import Predictions, load_predictions, save_predictions


def some_predictions(num_records: int, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    return Predictions(
        record_ids=np.array([f"A{number:04d}" for number in range(num_records)]),
        groups=np.arange(num_records) // 2,
        logits=rng.standard_normal((num_records, 3)),
        targets=rng.integers(0, 2, (num_records, 3)).astype(np.uint8),
    )


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "predictions.npz"
    saved = {"val_selected/val": some_predictions(4, 1), "last_epoch/test": some_predictions(7, 2)}
    save_predictions(path, saved, {"val_selected/val": 3, "last_epoch/test": 9})
    loaded, epochs = load_predictions(path)
    assert epochs == {"last_epoch/test": 9, "val_selected/val": 3}
    assert loaded.keys() == saved.keys()
    for name, expected in saved.items():
        assert len(loaded[name]) == len(expected)
        for field, value in vars(expected).items():
            found = getattr(loaded[name], field)
            assert found.dtype == value.dtype
            assert np.array_equal(found, value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_predictions(tmp_path / "predictions.npz")


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "array", "foreign", "pickle"])
def test_a_damaged_file_is_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "predictions.npz"
    save_predictions(path, {"last_epoch/val": some_predictions(50)}, {"last_epoch/val": 0})
    whole = path.read_bytes()
    if damage == "array":
        with path.open("wb") as stream:
            np.save(stream, np.arange(3))
    elif damage == "foreign":
        np.savez(path, other=np.arange(3))
    elif damage == "pickle":
        np.savez(path, **{"a/record_ids": np.array([object()], dtype=object)})
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no archive"}[damage])
    with pytest.raises(ValueError, match=r"predictions\.npz is no file of predictions, or it is torn"):
        load_predictions(path)
