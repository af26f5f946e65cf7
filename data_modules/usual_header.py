"""The header of a twelve-lead WFDB record as the published corpora print theirs, in one look.

A tenth of the time that `data_modules.wfdb_header` needs, which reads every header the format allows, and says what is
wrong with those that it does not. What is not as usual here is left to it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from data_modules.corpus import LEAD_NAMES
from data_modules.wfdb_header import MAX_HEADER_BYTES, PLAIN_NAME, parse_scale, parse_storage

_DESCRIPTION = r" \d{1,4} 0 (-?\d{1,9}) (-?\d{1,9}) \d{1,9} (?i:%s)"
_FIRST_LINE = r"[\w.-]+ 12 (?P<rate>[1-9]\d{0,3}) (?P<samples>\d{1,6})(?: [ -~]*)?\n"
_FIRST_SIGNAL = rf"(?P<file>{PLAIN_NAME}) " r"(?P<storage>16(?:\+\d{1,5})?) (?P<scale>[!-~]+)"
_NEXT_SIGNAL = r"\n(?P=file) (?P=storage) (?P=scale)"
_COMMENTS = r"\n?(?:(?<=\n)#[ -~]*(?:\n|$))*"
_SIGNALS = _NEXT_SIGNAL.join(_DESCRIPTION % name for name in LEAD_NAMES)
_USUAL = re.compile(_FIRST_LINE + _FIRST_SIGNAL + _SIGNALS + _COMMENTS, re.ASCII)


class UsualHeader(NamedTuple):
    """Twelve leads in canonical order, and nothing else, in one file of format 16, with one gain; code 0 is 0 mV."""

    file_name: str
    byte_offset: int
    gain: float
    """A/D units per millivolt; NaN where the header gives none or an unknown unit."""
    sampling_rate: int
    """Hz."""
    num_samples: int
    """Per lead; may be 0, which leaves it to the file's size."""
    initial_values: tuple[int, ...]
    """Each lead's first code."""
    checksums: tuple[int, ...]
    """Sum of each lead's codes, modulo 2^16; headers write it signed or unsigned."""


def usual_header(raw: bytes) -> UsualHeader | None:
    """Read a header's bytes; None where they are not as usual, or break the format."""
    match = _USUAL.fullmatch(raw.decode("ascii")) if raw.isascii() and len(raw) <= MAX_HEADER_BYTES else None
    if match is None:
        return None
    try:
        gain, baseline = parse_scale(match["scale"])
        storage = parse_storage(match["storage"])
    except ValueError:
        return None
    if baseline:
        return None
    # after the named ones: each lead's initial value and checksum
    numbers = tuple(map(int, match.groups()[len(match.groupdict()) :]))
    return UsualHeader(
        file_name=match["file"],
        byte_offset=storage.byte_offset,
        gain=gain,
        sampling_rate=int(match["rate"]),
        num_samples=int(match["samples"]),
        initial_values=numbers[::2],
        checksums=numbers[1::2],
    )
