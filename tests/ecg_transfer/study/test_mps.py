"""The service that lets processes share a GPU, with a script in the place of NVIDIA's daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ecg_transfer.study.local import LocalPool
from ecg_transfer.study.mps import CONTROL, LOGS, PIPES, side_by_side

DAEMON = """#!/bin/sh
said=$(test -z "$1" && cat)
echo "$1 ${{CUDA_VISIBLE_DEVICES-all}} ${{CUDA_MPS_PIPE_DIRECTORY-usual}} $said" >> {log}
test "$said" = get_server_list && {{ {asked}; }}
exit {code}
"""
NOBODY = "echo Cannot find MPS control daemon process; exit"
ASKED = " all usual get_server_list\n"
"""What the daemon is asked first: whether it is there already."""


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the daemon was called with, line by line."""
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.delenv(LOGS, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    install(tmp_path)
    return tmp_path / "called"


def install(folder: Path, code: int = 0, asked: str = f"{NOBODY} 1") -> None:
    (folder / CONTROL).write_text(DAEMON.format(log=folder / "called", code=code, asked=asked))
    (folder / CONTROL).chmod(0o755)


def test_it_is_there_as_long_as_it_is_wanted(called: Path) -> None:
    with side_by_side(5, ["2", "3"]):
        folder = os.environ[PIPES]
        assert os.environ[LOGS] == folder
        assert Path(folder).is_dir()
        assert called.read_text() == f"{ASKED}-d all {folder} \n"
    assert called.read_text() == f"{ASKED}-d all {folder} \n all {folder} quit\n"
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
    assert not called.exists()
    monkeypatch.delenv(PIPES)
    install(tmp_path, asked="exit 0")
    with side_by_side(2, ["0"]):
        assert PIPES not in os.environ
    assert called.read_text() == ASKED


def test_that_there_is_none_may_be_said_in_words_alone(called: Path, tmp_path: Path) -> None:
    install(tmp_path, asked=f"{NOBODY} 0")
    with side_by_side(2, ["0"]):
        assert PIPES in os.environ


def test_one_that_cannot_start_is_done_without(called: Path, tmp_path: Path) -> None:
    install(tmp_path, code=1)
    with side_by_side(2, ["0"]):
        assert PIPES not in os.environ
    assert len(called.read_text().splitlines()) == 2


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
        assert len(called.read_text().splitlines()) == 2
    finally:
        pool.close()
    assert called.read_text().splitlines()[2].endswith("quit")
    assert PIPES not in os.environ
