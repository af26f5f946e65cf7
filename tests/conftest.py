"""For all tests."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_works() -> None:
    """In the background a shell lets programs ignore Ctrl-C, and theirs too; tests that send it need it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
