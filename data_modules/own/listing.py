"""Which records a folder or a file holds: found by looking, never by what a table says."""

from __future__ import annotations

import os
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from data_modules.corpus import CorpusFormatError, CorpusNotFoundError, RecordError
from data_modules.formats import FORMATS
from data_modules.formats.raw_record import Format, RawRecord

MAX_FILES = 5_000_000

ABOUT = ("changelog", "citation", "dicomdir", "licence", "license", "readme", "sha256sums")
"""What a file that comes with a data set is called, whatever its ending: it holds no recording."""

_NUMBER = re.compile(r"\d+", re.ASCII)


class LinksLeftOutWarning(UserWarning):
    """Files of a folder that are links to files elsewhere."""


@dataclass(frozen=True)
class Place:
    """Where one record lies."""

    file: Path
    row: int = 0
    """In a file of many records."""


def record_files(path: Path, formats: Collection[Format], ignored: Collection[Path] = ()) -> list[Path]:
    """The files of these formats in a folder and its subfolders, sorted; or the one file.

    Where one format is asked for that `takes_any_name`, files without an ending are taken for it, too. Links to
    folders, hidden files and those named in `ABOUT` are left out; so are links to files elsewhere, with a warning.

    Raises:
        CorpusNotFoundError: Nothing is there.
    """
    suffixes = tuple(suffix for entry in formats for suffix in entry.suffixes)
    is_any = len(formats) == 1 and all(entry.takes_any_name for entry in formats)

    def is_wanted(file: Path) -> bool:
        return file.name.casefold().endswith(suffixes) or (is_any and not _ending(file))

    if path.is_file():
        return [path] if is_wanted(path) else []
    if not path.is_dir():
        raise CorpusNotFoundError(f"there is no file or folder {path}")
    skipped = {os.path.normpath(other.absolute()) for other in ignored}
    found = [file for file in _walk(path) if is_wanted(file) and os.path.normpath(file.absolute()) not in skipped]
    home = path.resolve()
    elsewhere = {file for file in found if file.is_symlink() and not Path(os.path.realpath(file)).is_relative_to(home)}
    if elsewhere:
        warnings.warn(
            f"{len(elsewhere)} files in {path} are links out of it and are left out, {min(elsewhere).name} first: "
            "copy the files, or name the folder that they lie in",
            LinksLeftOutWarning,
            stacklevel=2,
        )
    return sorted(file for file in found if file not in elsewhere)


def _walk(path: Path) -> Iterator[Path]:
    seen = 0
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        seen += len(names)
        if seen > MAX_FILES:
            raise CorpusFormatError(f"{path} holds more than {MAX_FILES} files; name the folder of the records alone")
        visible = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
        yield from (file for file in visible if file.stem.casefold() not in ABOUT)


def detect_format(path: Path, ignored: Collection[Path] = ()) -> Format:
    """The one format whose files are there.

    Raises:
        CorpusFormatError: There is none, or several.
    """
    counts = Counter(format_of(file).name for file in record_files(path, FORMATS.values(), ignored))
    if len(counts) == 1:
        return FORMATS[next(iter(counts))]
    known = ", ".join(f"{name} ({' '.join(entry.suffixes)})" for name, entry in FORMATS.items())
    if not counts:
        raise CorpusFormatError(f"{path} holds no file of a known format; known are {known}")
    found = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    raise CorpusFormatError(f"{path} holds files of several formats ({found}); say which with --format")


def format_of(file: Path) -> Format:
    """The format of a file, by its name.

    Raises:
        RecordError: `unreadable`, if no format has such names.
    """
    for entry in FORMATS.values():
        if file.name.casefold().endswith(entry.suffixes):
            return entry
    known = " ".join(suffix for entry in FORMATS.values() for suffix in entry.suffixes)
    raise RecordError("unreadable", f"{file.name} has no ending of a known format: {known}")


def list_records(
    path: Path, chosen: Format, dataset: str | None = None, ignored: Collection[Path] = ()
) -> tuple[dict[str, Place], dict[str, RecordError]]:
    """All records by id; and the files that cannot be listed, by name, with the reason.

    Files come sorted by their names without endings, the records of one file in its own order: `--in-order` means this.

    A record is called after its file, relative to the folder and without its ending; in a file of many, after its row
    or the id that the file gives (with the file's name in front where there are several such files).

    Raises:
        CorpusFormatError: Two files give the same id.
    """
    root = path if path.is_dir() else path.parent
    files = sorted(record_files(path, [chosen], ignored), key=lambda file: _stem(file, root))
    found: dict[str, Place] = {}
    broken: dict[str, RecordError] = {}
    for file in files:
        stem = _stem(file, root)
        try:
            rows = chosen.record_names(file, dataset)
        except RecordError as error:
            broken[stem] = error
            continue
        ids = [stem] if rows is None else [row if len(files) == 1 else f"{stem}/{row}" for row in rows]
        for row, record_id in enumerate(ids):
            if record_id in found:
                raise CorpusFormatError(f"{found[record_id].file} and {file} both hold {record_id}; rename one")
            found[record_id] = Place(file, row)
    return found, broken


def first_problem(broken: Mapping[str, RecordError]) -> str:
    """What is the matter with the first file that cannot be listed, behind a colon; nothing where there is none."""
    return next((f": {error.detail}" for error in broken.values()), "")


def _stem(file: Path, root: Path | str) -> str:
    return file.relative_to(root).as_posix().removesuffix(_ending(file))


def _ending(file: Path) -> str:
    """A file's ending; none where it is a number, the last of an identifier's."""
    return "" if file.suffix[1:].isdecimal() else file.suffix


def falling_numbers(places: Mapping[str, Place]) -> tuple[str, str] | None:
    """The first two neighbours among the files whose numbers fall, as from `r10` to `r2`; None where none do.

    Args:
        places: From `list_records`.
    """
    names = list(dict.fromkeys(_stem(place.file, place.file.anchor) for place in places.values()))
    keys = [_NUMBER.sub(lambda number: number[0].zfill(20), name) for name in names]
    falls = (pair for pair, (before, after) in zip(pairwise(names), pairwise(keys), strict=True) if before > after)
    return next(((Path(before).name, Path(after).name) for before, after in falls), None)


def read_place(place: Place, chosen: Format, dataset: str | None) -> RawRecord:
    """Read the record that lies there.

    Raises:
        RecordError: It cannot be read.
    """
    return chosen.read(place.file, place.row, dataset)
