"""For all tests."""

from __future__ import annotations

import os
import signal

import pytest
import torch

if not torch.cuda.is_available():  # Triton's kernels are interpreted then; it is asked when they are defined
    os.environ.setdefault("TRITON_INTERPRET", "1")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works() -> None:
    """In the background a shell lets programs ignore Ctrl-C, and theirs too; tests that send it need it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
