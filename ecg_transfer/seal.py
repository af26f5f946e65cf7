"""The record `DONE` of a finished run: size and SHA-256 of each of its files, and its own digest over them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

DIGEST = "sha256"

Entry = dict[str, Any]
"""`bytes` and `sha256` of one file."""


def sealed(run: str, files: Mapping[str, Entry]) -> dict[str, Any]:
    """The content of `DONE`."""
    content = {"run": run, "files": dict(files)}
    return {**content, DIGEST: _digest(content)}


def vouched_for(content: Mapping[str, Any]) -> dict[str, Entry] | None:
    """The files that a `DONE` vouches for; None where any of what it says was changed since it was written.

    One of before it had a digest has no key for it, and is believed.
    """
    said = {key: value for key, value in content.items() if key != DIGEST}
    if not said.keys() <= {"run", "files"} or content.get(DIGEST, _digest(said)) != _digest(said):
        return None
    files = said.get("files")
    is_record = isinstance(files, dict) and bool(files) and all(isinstance(entry, dict) for entry in files.values())
    return files if is_record else None


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
