"""A run and the folder that it was exported to."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ecg_transfer as et
from ecg_transfer.artifact import export_run
from tests.ecg_transfer.artifact.exported import Folders, settings


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A pre-training of a built-in backbone on simulated CPSC2018, and its folder."""
    output = tmp_path_factory.mktemp("runs")
    run = et.pretrain("cpsc2018", backbone="gru_last", recipe="modern", overrides=settings(data), output=output)
    return run, export_run(run, output / "model")


@pytest.fixture
def copy(exported: Folders, tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return Path(shutil.copytree(exported[1], tmp_path / "copy"))
