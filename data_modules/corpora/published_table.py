"""The CSV tables of the published corpora."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from data_modules.corpus import CorpusFormatError


def read_csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give each row of a CSV file with the number of its line.

    Raises:
        CorpusFormatError: It is no text, no CSV, or has two columns of one name, of which readers take either.
        OSError: It cannot be read.
    """
    if not path.is_file():
        raise CorpusFormatError(f"there is no file {path}")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                if reader.line_num == 1 and len(set(row)) < len(row):
                    twice = next(name for name in row if row.count(name) > 1)
                    raise CorpusFormatError(f"{path} has two columns {twice!r}; fetch it again")
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorpusFormatError(f"{path} is no CSV file in UTF-8: {error}; fetch it again") from error
