from __future__ import annotations

import errno
import gc
from pathlib import Path

import numpy as np
import pytest
import torch

import ecg_transfer as et
from ecg_transfer import fitting
from ecg_transfer.config_reading import make_config
from ecg_transfer.memory import OutOfMemoryError, explained
from ecg_transfer.study.failures import remedy
from tests.ecg_transfer.tiny_backbone import NAME


def too_much_for_torch() -> None:
    torch.empty(1 << 50)


def too_much_for_numpy() -> None:
    np.ones(1 << 50)


def too_much_for_a_gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...\nmore")


def too_much_for_the_system() -> None:
    raise OSError(errno.ENOMEM, "Cannot allocate memory")


@pytest.mark.parametrize("fail", [too_much_for_torch, too_much_for_numpy, too_much_for_a_gpu, too_much_for_the_system])
def test_it_names_the_batch_size_and_what_needs_less(fail: type) -> None:
    config = make_config("scratch", "ptb", overrides={"optim.batch_size": 77})
    with pytest.raises((RuntimeError, MemoryError, OSError), match=r"memory|allocate") as caught:
        fail()
    found = explained(caught.value, config)
    assert isinstance(found, OutOfMemoryError)
    assert "optim.batch_size=77" in str(found)
    assert "--workers" in str(found)
    assert ("bf16" in str(found)) == (fail is too_much_for_a_gpu)
    assert "\n" not in str(found)
    assert remedy(type(found).__name__) == "again"


def test_other_failures_are_left_as_they_are() -> None:
    config = make_config("scratch", "ptb")
    for error in (RuntimeError("shapes do not fit"), OSError(errno.ENOSPC, "full"), ValueError("memory")):
        assert explained(error, config) is error


def test_a_run_that_does_not_fit_says_so_in_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "fit", lambda *arguments: too_much_for_torch())
    small = {"data.root": str(tmp_path), "data.num_simulated": 90, "optim.batch_size": 16, "trainer.accelerator": "cpu"}
    with pytest.raises(OutOfMemoryError, match=r"optim\.batch_size=16"):
        et.train_from_scratch("cpsc2018", backbone=NAME, overrides=small, output=tmp_path / "runs")
    (run,) = et.find_runs(tmp_path / "runs")
    assert run.status == "failed"
    assert "OutOfMemoryError: memory is not enough" in str(run.failure)
    gc.collect()
