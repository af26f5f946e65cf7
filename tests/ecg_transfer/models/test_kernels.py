"""The kernels can be compiled for the GPUs that they are meant for, where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ecg_transfer.models import persistent

SCRIPT = Path(__file__).with_name("compile_kernels.py")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
def test_they_compile_and_fit(capability: int, tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="the kernels are written in Triton")
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(capability)],
        env=environment | {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    shared = json.loads(done.stdout)
    assert len(shared) == 9
    assert max(shared.values()) <= persistent.SHARED_BYTES
    assert shared["lstm_forward"] > 4 * persistent.WIDEST**2 * 2, "its weights lie there"
