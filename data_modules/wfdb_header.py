"""The header of a WFDB record, checked before anything is allocated.

Format: https://wfdb.io/spec/header-files.html.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from data_modules.corpus import RecordError
from data_modules.plain_file import read_plain_file

SIGNAL_SUFFIXES = (".dat", ".mat")
"""The files of the public corpora that hold the samples lie beside their headers with one of these."""
MAX_HEADER_BYTES = 64 * 1024
MAX_SIGNALS = 64
MAX_VALUES = 2**26
"""Samples times signals of one record: half an hour of 12 leads at 2500 Hz, and 512 MiB where wfdb reads them."""

MAX_FREE_VALUES = 2**20
"""Of those, values that may cost memory without a byte in a file: gaps, and what is compressed."""

UNITS_PER_MILLIVOLT = {"mv": 1.0, "uv": 1e3, "µv": 1e3, "μv": 1e3, "v": 1e-3}
"""How many of a unit, in lower case, make a millivolt; other units are no voltages."""

PLAIN_NAME = r"\w[\w-]*(?:\.[\w-]+)*"
"""A pattern (of ASCII) for the names of files that lie in the header's own folder."""
_PLAIN_NAME = re.compile(PLAIN_NAME, re.ASCII)
_RECORD_LINE = re.compile(
    r"(?P<name>[\w.-]+)(?:/(?P<segments>\d+))?\s+(?P<signals>\d+)"
    r"(?:\s+(?P<rate>\d+(?:\.\d*)?)(?:/-?\d+(?:\.\d*)?(?:\(-?\d+(?:\.\d*)?\))?)?(?:\s+(?P<samples>\d+)(?:\s.*)?)?)?",
    re.ASCII,
)
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_NO_TEXT = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OTHER_BLANK = re.compile(r"[^\S \t]")
_STORAGE = re.compile(r"(?P<format>\d+)(?:x(?P<frame>\d+))?(?::(?P<skew>\d+))?(?:\+(?P<offset>\d+))?", re.ASCII)
_PLAIN_LINE = re.compile(
    rf"^({PLAIN_NAME})[ ]([!-~]+)[ ]([!-~]+)[ ]\d{{1,4}}[ ](-?\d{{1,9}})[ ](-?\d{{1,9}})[ ](-?\d{{1,9}})"
    r"[ ]\d{1,9}[ ]([!-~](?:[ -~]*[!-~])?)$",
    re.ASCII | re.MULTILINE,
)
"""A signal line as the writers of the published corpora print it, all nine fields, one space between them."""
_SCALE = re.compile(
    r"(?P<gain>-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf))?(?:\((?P<baseline>-?\d+)\))?(?:/(?P<units>\S+))?",
)


class Storage(NamedTuple):
    """How a signal lies in its file."""

    format: str
    samples_per_frame: int
    skew: int
    byte_offset: int


class SignalLine(NamedTuple):
    """One signal as its header line describes it. A tuple: twelve of them a record cost less than one dataclass."""

    file_name: str
    storage: Storage
    gain: float
    """A/D units per millivolt, whatever unit the header uses; NaN where it gives none or an unknown unit."""
    baseline: int
    """The code that stands for 0 mV."""
    initial_value: int | None
    checksum: int | None
    """Sum of all codes, modulo 2^16; headers write it signed or unsigned."""
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A record's `.hea` file, checked."""

    path: Path
    sampling_rate: float
    """Hz."""
    num_samples: int | None
    """Per signal; None where the header leaves it to the file's size."""
    signals: tuple[SignalLine, ...]
    segments: tuple[tuple[str, int], ...]
    """Name and length of each segment of a multi-segment record, whose `signals` are empty; otherwise empty."""
    comments: tuple[str, ...]
    """Comment lines without `#` and surrounding space."""

    def comment(self, key: str) -> str | None:
        """Give the text after `key:` in the first comment that starts so (any case), or None."""
        return _after(key, self.comments)


def read_header(path: Path) -> Header:
    """Read and check one header. Nothing it names is opened.

    A first line such as `E00271.mat 12 500 5000`, which wfdb refuses, is accepted: Georgia's older copies have it.

    Args:
        path: The `.hea` file.

    Raises:
        RecordError: `header`, if it breaks the format, its numbers are out of bounds, or it names files outside its
            folder; `unreadable`, if the operating system says so.
    """
    raw = _read(path)
    # some readers split lines or fields there, some pass over them: no two of them read the same
    if (control := _NO_TEXT.search(raw)) is not None:
        place = f"byte {control.start()} of {path.name} is the control character 0x{raw[control.start()]:02x}"
        raise RecordError("header", f"{place}; expected text")
    lines = [line for line in _stripped(raw.splitlines()) if line and not line.startswith("#")]
    try:
        return _parse(path, lines, _comments(raw))
    except ValueError as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("header", f"{path.name}: {error}") from error


def read_comment(path: Path | str, key: str) -> str | None:
    """Give what `read_header(path).comment(key)` does, in a third of the time: the rest of the header is not looked at.

    Raises:
        RecordError: `unreadable`, or `header` for a file too long to be one.
    """
    raw = _read(path)
    if raw.isascii():  # else a letter may be written with other bytes than `key`'s
        wanted = key.lower().encode()
        raw = b"\n".join(line for line in raw.splitlines() if wanted in line.lower())
    return _after(key, _comments(raw))


def _after(key: str, comments: Sequence[str]) -> str | None:
    prefix = f"{key.casefold()}:"
    return next((c[len(prefix) :].strip() for c in comments if c.casefold().startswith(prefix)), None)


def _read(path: Path | str) -> bytes:
    try:
        raw = read_plain_file(path, MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise RecordError("unreadable", f"{Path(path).name}: {error.strerror or error}") from error
    if len(raw) > MAX_HEADER_BYTES:
        raise RecordError("header", f"{Path(path).name} is longer than {MAX_HEADER_BYTES} bytes, no header is")
    return raw


def _stripped(lines: Iterable[bytes]) -> Iterator[str]:
    return (line.decode("utf-8", errors="replace").strip() for line in lines)


def _comments(raw: bytes) -> tuple[str, ...]:
    lines = _stripped(line for line in raw.splitlines() if b"#" in line)
    return tuple(line[1:].lstrip() for line in lines if line.startswith("#"))


def _parse(path: Path, lines: list[str], comments: tuple[str, ...]) -> Header:
    match = _RECORD_LINE.fullmatch(lines[0]) if lines else None
    if match is None:
        raise ValueError(
            f"no record line (name, number of signals, rate, samples) but {lines[0][:80] if lines else ''!r}"
        )
    num_signals = int(match["signals"])
    num_samples = int(match["samples"] or 0) or None
    rate = float(match["rate"] or 250)  # the format's own default
    if not 1 <= num_signals <= MAX_SIGNALS:
        raise ValueError(f"{num_signals} signals, expected 1 to {MAX_SIGNALS}")
    if not 1 <= rate <= 10_000:
        raise ValueError(f"a sampling rate of {rate:g} Hz, expected 1 to 10000")
    num_lines = int(match["segments"] or num_signals)
    if not 1 <= num_lines == len(lines) - 1:
        raise ValueError(f"{len(lines) - 1} lines after the first, expected {num_lines}")
    segments: tuple[tuple[str, int], ...] = ()
    signals: tuple[SignalLine, ...] = ()
    if match["segments"]:
        segments = tuple(_parse_segment(line) for line in lines[1:])
    else:
        signals = _parse_plain_signals(lines[1:]) or tuple(_parse_signal(line) for line in lines[1:])
    frame = sum(line.storage.samples_per_frame for line in signals) or num_signals
    longest = max(num_samples or 1, sum(length for _, length in segments))
    if frame * longest > MAX_VALUES:
        raise ValueError(f"{num_signals} signals of {longest} samples, more than {MAX_VALUES} values")
    gaps = sum(length for name, length in segments if name == "~")
    if frame * gaps > MAX_FREE_VALUES:
        raise ValueError(f"{gaps} samples lie in segments without a file, more than {MAX_FREE_VALUES} values")
    return Header(path, rate, num_samples, signals, segments, comments)


def _parse_segment(line: str) -> tuple[str, int]:
    name, length = line.split()
    if name != "~" and not _PLAIN_NAME.fullmatch(name):
        raise ValueError(f"segment {name[:80]!r} is no plain name in the header's own folder")
    return name, _integer(length)


def _integer(text: str) -> int:
    """A number as the format writes it; Python would also take `1_000`, other scripts' digits and, not wfdb, a plus."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"no whole number but {text[:80]!r}")
    return int(text)


def _parse_plain_signals(lines: list[str]) -> tuple[SignalLine, ...] | None:
    """All signal lines in one pass; None where one of them is not as plain as `_PLAIN_LINE`, and is to be looked at."""
    found = _PLAIN_LINE.findall("\n".join(lines))
    if len(found) != len(lines):
        return None
    files, storages, scales, zeros, initial_values, checksums, names = zip(*found, strict=True)
    try:
        gains, baselines = zip(*map(parse_scale, scales), strict=True)
        formats = [parse_storage(storage) for storage in storages]
    except ValueError:
        return None
    if any(baselines):  # most print none, or 0
        return None
    pairs = zip(baselines, zeros, strict=True)
    codes_of_0_mv = [int(zero) if baseline is None else baseline for baseline, zero in pairs]
    numbers = (codes_of_0_mv, map(int, initial_values), map(int, checksums))
    return tuple(map(SignalLine, files, formats, gains, *numbers, names))


def _parse_signal(line: str) -> SignalLine:
    if not line.isascii() and (blank := _OTHER_BLANK.search(line)) is not None:
        raise ValueError(f"a blank that is no space, U+{ord(blank[0]):04X}, in {line[:80]!r}; other readers drop it")
    # file, format, gain, ADC resolution, ADC zero, initial value, checksum, block size, name
    fields = line.split(None, 8)
    if len(fields) < 2:
        raise ValueError(f"no signal line but {line[:80]!r}")
    if not _PLAIN_NAME.fullmatch(fields[0]) and fields[0] != "~":  # a layout's signals lie in no file
        raise ValueError(f"signal file {fields[0][:80]!r} is no plain name in the header's own folder")
    numbers = [_integer(text) for text in fields[3:8]]
    if any(text.startswith("-") for text in fields[3:8:4]):
        raise ValueError(f"an ADC resolution or a block size below 0 in {line[:80]!r}")
    gain, baseline = parse_scale(fields[2] if len(fields) > 2 else "")
    if baseline is None:
        baseline = numbers[1] if len(numbers) > 1 else 0
    if abs(baseline) > 2**31:
        raise ValueError(f"a baseline of {baseline}, which no format can hold")
    return SignalLine(
        file_name=fields[0],
        storage=parse_storage(fields[1]),
        gain=gain,
        baseline=baseline,
        initial_value=numbers[2] if len(numbers) > 2 else None,
        checksum=numbers[3] if len(numbers) > 3 else None,
        name=fields[8].strip() if len(fields) > 8 else "",
    )


@lru_cache(maxsize=256)
def parse_storage(text: str) -> Storage:
    """Read the second field of a signal line, such as `16+24`.

    Raises:
        ValueError: It breaks the format, or its numbers are out of bounds.
    """
    match = _STORAGE.fullmatch(text)
    if match is None:
        raise ValueError(f"no signal format but {text[:80]!r}")
    storage = Storage(match["format"], int(match["frame"] or 1), int(match["skew"] or 0), int(match["offset"] or 0))
    if not 1 <= storage.samples_per_frame <= 1000 or storage.skew > 10_000:
        raise ValueError(f"{text[:80]!r} asks for frames or a skew that no ECG has")
    return storage


@lru_cache(maxsize=256)
def parse_scale(text: str) -> tuple[float, int | None]:
    """Read the third field of a signal line, such as `1000(0)/mV`: A/D units per millivolt (NaN: unknown), baseline.

    Raises:
        ValueError: It breaks the format.
    """
    match = _SCALE.fullmatch(text)
    if match is None:
        raise ValueError(f"no gain but {text[:80]!r}")
    units = UNITS_PER_MILLIVOLT.get((match["units"] or "mV").lower(), math.nan)
    gain = float(match["gain"] or "nan") * units
    return gain, int(match["baseline"]) if match["baseline"] else None
