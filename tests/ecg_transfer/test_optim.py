from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.optim import Adam, AdamW

from ecg_transfer.config import OptimConfig
from ecg_transfer.optim import configure


def rates(optim: OptimConfig, num_updates: int) -> list[float]:
    """The learning rate of each update."""
    parameter = nn.Parameter(torch.ones(1))
    configured = configure([parameter], optim, num_updates)
    optimizer, found = configured["optimizer"], []
    for _ in range(num_updates):
        found.append(optimizer.param_groups[0]["lr"])
        parameter.grad = torch.ones(1)
        optimizer.step()
        if "lr_scheduler" in configured:
            assert configured["lr_scheduler"]["interval"] == "step"
            configured["lr_scheduler"]["scheduler"].step()
    return found


@pytest.mark.parametrize(("name", "kind"), [("adam", Adam), ("adamw", AdamW)])
def test_the_optimizer_is_the_one_named(name: str, kind: type) -> None:
    optim = OptimConfig(optimizer=name, lr=0.3, weight_decay=0.1)  # type: ignore[arg-type]
    optimizer = configure([nn.Parameter(torch.ones(1))], optim, 10)["optimizer"]
    assert type(optimizer) is kind
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (0.3, 0.1)


def test_a_constant_rate_stays() -> None:
    assert rates(OptimConfig(lr=0.2), 5) == [0.2] * 5


def test_one_cycle_rises_for_three_tenths_then_falls() -> None:
    """Smith 2018 as torch has it: from lr/25 to lr at 30 % of the updates, then to almost nothing, along cosines."""
    found = rates(OptimConfig(lr=1.0, schedule="one_cycle"), 101)
    peak = 0.3 * 101 - 1
    for update, rate in enumerate(found):
        if update <= peak:
            low, share = 1 / 25, update / peak
        else:
            low, share = 1 / 25 / 1e4, 1 - (update - peak) / (100 - peak)
        assert rate == pytest.approx(low + (1 - low) * (1 - math.cos(math.pi * share)) / 2, abs=1e-9)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 1.0])
def test_cosine_rises_linearly_then_falls_to_zero(warmup: float) -> None:
    num_updates = 50
    found = rates(OptimConfig(lr=2.0, schedule="cosine", warmup=warmup), num_updates)
    num_warmup = round(warmup * num_updates)
    expected = [2 * (update + 1) / num_warmup for update in range(num_warmup)]
    num_falling = num_updates - num_warmup
    expected += [1 + math.cos(math.pi * update / num_falling) for update in range(num_falling)]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine"])
@pytest.mark.parametrize("num_updates", [1, 2, 3])
def test_schedules_of_hardly_any_updates(schedule: str, num_updates: int) -> None:
    found = rates(OptimConfig(lr=1.0, schedule=schedule, warmup=0.1), num_updates)  # type: ignore[arg-type]
    assert all(0 < rate <= 1 for rate in found)


@pytest.mark.parametrize("gradient_clip", [None, 1.0])  # one fused kernel, or one after the other
def test_updates_are_those_of_kingma_and_ba(gradient_clip: float | None) -> None:
    """Adam, algorithm 1 of arXiv 1412.6980, with an L2 penalty in the gradient."""
    weight = nn.Parameter(torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64))
    optim = OptimConfig(lr=0.1, weight_decay=0.01, gradient_clip=gradient_clip)
    optimizer = configure([weight], optim, 5)["optimizer"]
    assert optimizer.param_groups[0]["fused"] == (gradient_clip is None)
    wanted, mean, square = weight.detach().clone(), torch.zeros(3).double(), torch.zeros(3).double()
    for update in range(1, 6):
        weight.grad = torch.cos(weight.detach() * update)
        slope = torch.cos(wanted * update) + 0.01 * wanted
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope**2
        corrected = mean / (1 - 0.9**update), square / (1 - 0.999**update)
        wanted = wanted - 0.1 * corrected[0] / (corrected[1].sqrt() + 1e-8)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), wanted, rtol=0, atol=1e-12)
