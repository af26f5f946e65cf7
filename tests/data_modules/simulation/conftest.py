"""Makes `ecg_measurement` importable under pytest's importlib mode, which adds no folder to the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def real_data() -> Path:
    """The folder of real recordings."""
    root = os.environ.get("ECG_REAL_DATA")
    if not root:
        pytest.skip("ECG_REAL_DATA names no folder of real recordings")
    return Path(root)
