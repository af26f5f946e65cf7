from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecg_transfer.callbacks import finite_loss
from ecg_transfer.callbacks.finite_loss import FiniteLoss, LossNotFiniteError

TRAINER: Any = SimpleNamespace(current_epoch=3)


def on(device: str) -> Any:  # noqa: ANN401 - stands for a LightningModule
    return SimpleNamespace(device=torch.device(device))


def end_batch(callback: FiniteLoss, loss: float, rows: list[int], device: str = "cpu") -> None:
    batch: Any = {"index": torch.tensor(rows)}
    callback.on_train_batch_end(TRAINER, on(device), {"loss": torch.tensor(loss)}, batch, 0)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_the_records_of_the_batch_are_named(loss: float) -> None:
    callback = FiniteLoss(lambda row: f"A{row:04d}")
    end_batch(callback, 0.5, [1, 2])
    with pytest.raises(LossNotFiniteError, match=r"in epoch 3 for the records A0007, A0003; .*optim\.lr"):
        end_batch(callback, loss, [7, 3])
    assert issubclass(LossNotFiniteError, ArithmeticError)


def test_of_many_records_eight_are_named() -> None:
    callback = FiniteLoss(str)
    with pytest.raises(LossNotFiniteError, match="records 0, 1, 2, 3, 4, 5, 6, 7 and 3 more of that batch;"):
        end_batch(callback, np.nan, list(range(11)))


def test_a_gpu_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_loss, "CHECK_EVERY", 4)
    callback = FiniteLoss(str)
    for number, loss in enumerate((0.1, np.nan, np.nan)):
        end_batch(callback, loss, [number], "cuda")
    with pytest.raises(LossNotFiniteError, match="for the records 1;"):  # the first bad one, not the last
        end_batch(callback, np.nan, [3], "cuda")


def test_the_rest_is_looked_at_before_the_epoch_is_scored() -> None:
    callback = FiniteLoss(str)
    end_batch(callback, np.nan, [5], "cuda")
    with pytest.raises(LossNotFiniteError, match="for the records 5;"):
        callback.on_validation_start(TRAINER, on("cuda"))
    callback.on_validation_start(TRAINER, on("cuda"))  # told once
