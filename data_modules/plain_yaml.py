"""YAML from anyone: size, depth and aliases are looked at before anything is built of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**19
"""Of a file: the longest one that this project writes has some kilobytes."""

MAX_DEPTH = 20
"""Of lists and mappings within each other."""

LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PlainYamlError(ValueError):
    """A file that is no plain YAML; the message says why."""


def read_plain_yaml(path: Path, max_bytes: int = MAX_BYTES) -> Any:  # noqa: ANN401 - any tree
    """Read a YAML file of plain values.

    Raises:
        PlainYamlError: It is too large, no YAML, nested too deep, or has aliases: a few lines of those can stand for
            gigabytes.
        OSError: It is not there.
    """
    return parse_plain_yaml(plain_text(path, max_bytes))


def plain_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """The text of a YAML file, checked as `read_plain_yaml` does and not yet parsed.

    Raises:
        PlainYamlError: See there.
        OSError: It is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if (size := path.stat().st_size) > max_bytes:
        raise PlainYamlError(f"it has {size:,} bytes, at most {max_bytes:,} are read")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PlainYamlError(f"it is no text in UTF-8: {error}") from error
    _check(text)
    return text


def parse_plain_yaml(text: str) -> Any:  # noqa: ANN401 - any tree
    """Parse text of plain values.

    Raises:
        PlainYamlError: It is no YAML, nested too deep, or has aliases.
    """
    _check(text)
    try:
        return yaml.load(text, Loader=LOADER)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a number or a date that is none
        raise PlainYamlError(" ".join(str(error).split())) from error


def _check(text: str) -> None:
    depth = 0
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise PlainYamlError(f"it has an alias (*{event.anchor}); write out what it stands for")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                raise PlainYamlError(f"its values are nested more than {MAX_DEPTH} deep")
    except (yaml.YAMLError, RecursionError) as error:
        raise PlainYamlError(" ".join(str(error).split())) from error
