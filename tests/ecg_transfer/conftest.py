"""For the tests of runs."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose simulated corpora all tests of a file share."""
    return tmp_path_factory.mktemp("data")
