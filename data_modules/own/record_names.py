"""Which record a name in a table means."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from data_modules.formats import FORMATS
from data_modules.wfdb_header import SIGNAL_SUFFIXES

MAX_FOLDERS = 20
"""Of a record's name that are compared one by one."""

ENDINGS = (*(suffix for entry in FORMATS.values() for suffix in entry.suffixes), *SIGNAL_SUFFIXES, ".0")
"""What may stand behind a record's name in a table; `.0` where pandas wrote numbers of a column with gaps."""


def record_names_of(cells: Sequence[str], record_ids: Sequence[str]) -> list[str | None]:
    """For each cell the record it means: by id or row number, with or without folders or a file's ending.

    Folders agree as far as both give them: `b/r1` is not the record `a/r1`. Only names that one record alone could have
    are taken. No path is ever made of a cell. An umlaut may be one letter or a letter and its dots.
    """
    whole = {_composed(record_id): record_id for record_id in record_ids}
    if all(record_id.isascii() and record_id.isdecimal() and len(record_id) < 20 for record_id in record_ids):
        whole = {str(int(record_id)): record_id for record_id in record_ids} | whole
    owners: dict[str, list[str]] = {}
    for record_id in record_ids:
        for tail in _tails(_composed(record_id)):
            owners.setdefault(tail, []).append(record_id)
    found: list[str | None] = []
    for cell in cells:
        plain = _composed(cell).replace("\\", "/").removeprefix("./")
        candidates = [_record_of(name, whole, owners) for name in dict.fromkeys((plain, _without_ending(plain)))]
        found.append(next((record_id for record_id in candidates if record_id is not None), None))
    return found


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _record_of(name: str, whole: Mapping[str, str], owners: Mapping[str, Sequence[str]]) -> str | None:
    if name in whole:
        return whole[name]
    if name in owners:
        return owners[name][0] if len(owners[name]) == 1 else None
    return next((whole[tail] for tail in _tails(name) if tail in whole), None)


def _tails(name: str) -> list[str]:
    """A path and what is left of it without its first folders: `a/b/c`, `b/c`, `c`."""
    parts = name.rsplit("/", MAX_FOLDERS)
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _without_ending(name: str) -> str:
    ending = next((ending for ending in ENDINGS if name.casefold().endswith(ending)), "")
    return name[: len(name) - len(ending)]
