"""A user's own network trains, is read again and exported; or is refused before it is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ecg_transfer as et
from ecg_transfer.weights import WeightsMismatchError


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    return {
        "optim.max_epochs": 1, "optim.min_updates": 0, "optim.batch_size": 32, "data.num_simulated": 90,
        "trainer.accelerator": "cpu", "data.root": str(tmp_path / "data"),
    }  # fmt: skip


def named(network: str) -> str:
    return f"tests.ecg_transfer.own_networks:{network}"


@pytest.mark.parametrize("network", ["StochasticDepth", "Masked", "Tied"])
def test_what_can_be_trained_can_be_read_again(network: str, fields: dict[str, Any], tmp_path: Path) -> None:
    run = et.train_from_scratch("ptb", backbone=named(network), overrides=fields, output=tmp_path / "runs")
    assert run.is_done
    folder = et.export_run(run, tmp_path / "model", trust=True)
    signal = np.random.default_rng(0).normal(0, 0.3, (1, 12, 5000)).astype(np.float32)
    found = [et.load_model(path, trust=True).probabilities(signal, 500) for path in (run.path, folder)]
    np.testing.assert_array_equal(*found)


def test_what_could_not_be_read_again_is_refused_before_it_is_trained(fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(WeightsMismatchError, match=r"infinite values, in backbone\.module\.mask"):
        et.train_from_scratch("ptb", backbone=named("Endless"), overrides=fields, output=tmp_path / "runs")
    assert not list(tmp_path.rglob("*.ckpt"))


def test_whole_weights_are_fine_tuned_without_stages(fields: dict[str, Any], tmp_path: Path) -> None:
    options: dict[str, Any] = {"backbone": named("Stageless"), "overrides": fields, "output": tmp_path / "runs"}
    upstream = et.pretrain("cpsc2018", **options)
    run = et.finetune("ptb", upstream=upstream, **options)
    movement = run.curve.filter(like="movement").iloc[-1]
    assert run.is_done
    assert movement["movement/distance_all"] > 0
