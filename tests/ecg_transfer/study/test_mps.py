"""The service that lets processes share a GPU, with a script in the place of NVIDIA's daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecg_transfer.study import mps
from ecg_transfer.study.local import LocalPool
from ecg_transfer.study.mps import CONTROL, LOGS, PIPES, side_by_side

DAEMON = """#!/bin/sh
echo "$1 ${{CUDA_VISIBLE_DEVICES-all}} $CUDA_MPS_PIPE_DIRECTORY $(test -z "$1" && cat)" >> {log}
exit {code}
"""


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the daemon was called with, line by line."""
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.delenv(LOGS, raising=False)
    monkeypatch.setattr(mps, "USUAL_PIPES", tmp_path / "nowhere")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    install(tmp_path, 0)
    return tmp_path / "called"


def install(folder: Path, code: int) -> None:
    (folder / CONTROL).write_text(DAEMON.format(log=folder / "called", code=code))
    (folder / CONTROL).chmod(0o755)


def test_it_is_there_as_long_as_it_is_wanted(called: Path) -> None:
    with side_by_side(5, ["2", "3"]):
        folder = os.environ[PIPES]
        assert os.environ[LOGS] == folder
        assert Path(folder).is_dir()
        assert called.read_text() == f"-d all {folder} \n"
    assert called.read_text() == f"-d all {folder} \n all {folder} quit\n"
    assert PIPES not in os.environ
    assert LOGS not in os.environ
    assert not Path(folder).exists()


@pytest.mark.parametrize(("num_workers", "gpus"), [(2, []), (1, ["0"]), (2, ["0", "1"])])
def test_who_shares_no_gpu_needs_none(called: Path, num_workers: int, gpus: list[str]) -> None:
    with side_by_side(num_workers, gpus):
        assert PIPES not in os.environ
    assert not called.exists()


def test_somebody_elses_is_left_alone(called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIPES, "theirs")
    with side_by_side(2, ["0"]):
        assert os.environ[PIPES] == "theirs"
    monkeypatch.delenv(PIPES)
    monkeypatch.setattr(mps, "USUAL_PIPES", tmp_path)
    with side_by_side(2, ["0"]):
        assert PIPES not in os.environ
    assert not called.exists()


def test_one_that_cannot_start_is_done_without(called: Path, tmp_path: Path) -> None:
    install(tmp_path, 1)
    with side_by_side(2, ["0"]):
        assert PIPES not in os.environ
    assert len(called.read_text().splitlines()) == 1


def test_a_machine_without_it_does_without(called: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / CONTROL).unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    with side_by_side(2, ["0"]):
        assert PIPES not in os.environ


def test_a_pool_starts_one_with_its_first_worker_and_ends_it_after_its_last(called: Path) -> None:
    pool = LocalPool(num_workers=2, gpus=["0"])
    assert not called.exists()
    try:
        pool._spawn(0)
        pool._spawn(1)
        assert len(called.read_text().splitlines()) == 1
    finally:
        pool.close()
    assert called.read_text().splitlines()[1].endswith("quit")
    assert PIPES not in os.environ
