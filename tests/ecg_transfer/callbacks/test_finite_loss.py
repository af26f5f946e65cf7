from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecg_transfer.callbacks import finite_loss
from ecg_transfer.callbacks.finite_loss import FiniteLoss, LossNotFiniteError

TRAINER: Any = SimpleNamespace(current_epoch=3)


def on(device: str, gradient: float = 0.0) -> Any:  # noqa: ANN401 - stands for a LightningModule
    weight = torch.zeros(2)
    weight.grad = torch.tensor([0.0, gradient])
    return SimpleNamespace(device=torch.device(device), parameters=lambda: [weight], state_dict=dict)


def update(callback: FiniteLoss, loss: float, rows: list[int], device: str = "cpu", gradient: float = 0.0) -> None:
    batch: Any = {"index": torch.tensor(rows)}
    module, optimizer = on(device, gradient), torch.optim.SGD([torch.zeros(1)])
    callback.on_train_batch_start(TRAINER, module, batch, 0)
    callback.on_before_backward(TRAINER, module, torch.tensor(loss))
    callback.on_before_optimizer_step(TRAINER, module, optimizer)


@pytest.mark.parametrize("loss", [np.nan, np.inf, -np.inf])
def test_the_records_of_the_batch_are_named(loss: float) -> None:
    callback = FiniteLoss(lambda row: f"A{row:04d}")
    update(callback, 0.5, [1, 2])
    with pytest.raises(LossNotFiniteError, match=r"in epoch 3 for the records A0007, A0003; .*optim\.lr"):
        update(callback, loss, [7, 3])
    assert issubclass(LossNotFiniteError, ArithmeticError)


@pytest.mark.parametrize("gradient", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_no_number_is_named_too(gradient: float) -> None:
    callback = FiniteLoss(str)
    update(callback, 0.5, [1, 2], gradient=3.0)
    with pytest.raises(
        LossNotFiniteError, match=r"the gradient's norm is .* \(the training loss 0.5\) .* records 7, 3;"
    ):
        update(callback, 0.5, [7, 3], gradient=gradient)


def test_of_many_records_eight_are_named() -> None:
    callback = FiniteLoss(str)
    with pytest.raises(LossNotFiniteError, match="records 0, 1, 2, 3, 4, 5, 6, 7 and 3 more of that batch;"):
        update(callback, np.nan, list(range(11)))


def test_a_gpu_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_loss, "CHECK_EVERY", 4)
    callback = FiniteLoss(str)
    for number, loss in enumerate((0.1, np.nan, np.nan)):
        update(callback, loss, [number], "cuda")
    with pytest.raises(LossNotFiniteError, match="for the records 1;"):  # the first bad one, not the last
        update(callback, np.nan, [3], "cuda")


@pytest.mark.parametrize("hook", ["on_validation_start", "on_train_epoch_end"])
def test_the_rest_is_looked_at_before_the_epoch_is_scored_or_kept(hook: str) -> None:
    callback = FiniteLoss(str)
    update(callback, np.nan, [5], "cuda")
    module = on("cuda")
    module.state_dict = lambda: {"weight": torch.ones(2)}
    with pytest.raises(LossNotFiniteError, match="for the records 5;"):
        getattr(callback, hook)(TRAINER, module)
    getattr(callback, hook)(TRAINER, module)  # told once


def test_weights_and_statistics_that_are_no_numbers_are_named() -> None:
    module = on("cpu")
    module.state_dict = lambda: {
        "fine": torch.ones(2),
        "huge": torch.full((4,), 2e38),  # whose sum is infinite, and they are not
        "norm.running_var": torch.tensor([1.0, np.inf]),
        "steps": torch.tensor(3),
    }
    with pytest.raises(LossNotFiniteError, match=r"after epoch 3 .* in norm\.running_var; "):
        FiniteLoss(str).on_train_epoch_end(TRAINER, module)
