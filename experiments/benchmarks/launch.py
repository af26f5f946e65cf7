"""The environment that a user's process gets: the one place that knows what our launcher sets."""

from __future__ import annotations

import os


def plain_environment() -> dict[str, str]:
    """As a script started by `python` has it."""
    return dict(os.environ)


def user_environment() -> dict[str, str]:
    """As `ecg-transfer` gives it to a training: the plain one, with what the launcher sets before Python starts.

    There is no launcher that sets anything yet. When there is one, its variables go here, and the rows of a step then
    have the paper's loop under both environments.
    """
    return plain_environment()
