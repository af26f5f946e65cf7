"""Which lines of what was found in a corpus say that something looks wrong."""

from __future__ import annotations


class Alarm(str):
    """A line that a user should not miss; plain text is a fact."""

    __slots__ = ()


class CorpusWarning(UserWarning):
    """An alarm about a corpus that was made where nobody reads lines."""
