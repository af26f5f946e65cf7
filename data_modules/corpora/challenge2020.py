"""The layout of the PhysioNet/CinC Challenge 2020, in which CPSC2018 and Georgia are published."""

from __future__ import annotations

import os
import re
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_modules.coded_record import CodedRecord, read_coded
from data_modules.corpus import Corpus, CorpusFormatError, Record, RecordError, RecordTable
from data_modules.forked import forked_map
from data_modules.published_record import read_published
from data_modules.wfdb_header import read_comment, read_header

CHALLENGE_CITATION = (
    "Perez Alday EA, Gu A, Shah AJ, et al. Classification of 12-lead ECGs: the PhysioNet/Computing in Cardiology "
    "Challenge 2020. Physiological Measurement 41:124003 (2020). doi:10.1088/1361-6579/abc960"
)

CHALLENGE_ISSUES = (
    "Older copies give gains such as 4880/mV in some headers, where the samples have 1000/mV as everywhere else.",
    "Older copies begin headers with the signal file's name (E00271.mat 12 500 5000), which wfdb refuses.",
    "RECORDS files name a last record that lies in the next folder; the folders themselves are listed instead.",
    "The challenge also holds PTB and PTB-XL: take each record from one place only.",
)

HEADERS = 512
"""That a worker reads before it reports."""

PARALLEL_FROM = 8 * HEADERS
"""Headers from which workers are worth their start: one takes some 40 us."""

_GROUP = re.compile(r"g\d+")


class Challenge2020Corpus(Corpus):
    """Reads `.hea` headers and `.mat` signals (format 16 after 24 bytes) in folders g1, g2, ..., or flat.

    Records are what lies there, never what a RECORDS file says. Labels are the SNOMED CT codes of the `Dx` comment that
    `label_codes` names; other codes are counted in the table's notices.
    """

    label_codes: ClassVar[dict[str, str]]
    """SNOMED CT code -> label name."""
    record_pattern: ClassVar[re.Pattern[str]]
    """What this corpus's records are called, so that another source of the challenge is not taken for it."""

    @classmethod
    def is_present(cls, root: Path) -> bool:
        """Whether a copy, complete or not, lies in `root`."""
        if not root.is_dir():
            return False
        for folder in (root, *(root / name for name in _groups(root))):
            with os.scandir(folder) as entries:
                if any(cls._is_header(entry.name) for entry in entries):
                    return True
        return False

    @classmethod
    def _is_header(cls, name: str) -> bool:
        return name.endswith(".hea") and cls.record_pattern.fullmatch(name[:-4]) is not None

    @classmethod
    def expected_layout(cls) -> str:
        """Say which files were looked for."""
        return (
            f"looked for headers {cls.record_pattern.pattern}.hea in it and in its folders g1, g2, ...; "
            f"put the files of {cls.spec.url} there as they are published"
        )

    def _read_table(self) -> RecordTable:
        files, set_aside = self._list_records()
        codes: dict[str, list[str]] = {}
        read = forked_map(self._read_codes, tuple(files.values()), at_least=PARALLEL_FROM, chunk=HEADERS)
        for record_id, found in zip(files, read, strict=True):
            if isinstance(found, str):
                set_aside[record_id] = found
            else:
                codes[record_id] = found
        columns = {code: self.label_names.index(name) for code, name in self.label_codes.items()}
        labels = np.zeros((len(codes), len(columns)), dtype=np.uint8)
        others: Counter[str] = Counter()
        for row, found_codes in enumerate(codes.values()):
            for code in dict.fromkeys(found_codes):
                if code in columns:
                    labels[row, columns[code]] = 1
                else:
                    others[code] += 1
        return RecordTable(
            record_ids=tuple(codes),
            labels=labels,
            label_names=self.label_names,
            files=tuple(files[record_id] for record_id in codes),
            set_aside=dict(sorted(set_aside.items())),
            notices=_notices(others),
        )

    def _list_records(self) -> tuple[dict[str, str], dict[str, str]]:
        """Give each record's header file, sorted by id, and the records without a signal."""
        files: dict[str, str] = {}
        set_aside: dict[str, str] = {}
        for folder in ("", *_groups(self.root)):
            with os.scandir(self.root / folder) as entries:
                names = {entry.name for entry in entries}
            for name in filter(self._is_header, names):
                record_id = name[:-4]
                file = f"{folder}/{name}" if folder else name
                if record_id in files or record_id in set_aside:
                    other = files.get(record_id, record_id)
                    raise CorpusFormatError(f"{self.root} holds {record_id} twice, {file} and {other}; remove one")
                if f"{record_id}.mat" in names:
                    files[record_id] = file
                else:
                    set_aside[record_id] = "no_signal"
        return dict(sorted(files.items())), set_aside

    def _read_codes(self, file: str) -> list[str] | str:
        """Give a header's SNOMED CT codes, or the reason why the record is set aside."""
        try:
            text = read_comment(f"{self.root}/{file}", "Dx")
            if text is None:
                read_header(self.root / file)  # which says it where it is no header at all
                return "no_labels"
        except RecordError as error:
            return error.reason
        codes = [code for code in map(str.strip, text.split(",")) if code]
        return codes if all(code.isdecimal() for code in codes) else "label_unknown"

    @cached_property
    def _file_of(self) -> dict[str, str]:
        return dict(zip(self.table.record_ids, self.table.files, strict=True))

    def read(self, record_id: str) -> Record:
        """Read one record of `table`; see `Corpus.read`."""
        path = self.root / self._file_of[record_id]
        return read_published(path, record_id, gain=self.spec.gain, sampling_rate=self.sampling_rate)

    def read_coded(self, record_id: str) -> CodedRecord | None:
        """Read one record of `table` as codes; see `Corpus.read_coded`."""
        path = f"{self.root}/{self._file_of[record_id]}"
        return read_coded(path, gain=self.spec.gain, sampling_rate=self.sampling_rate)


def _groups(root: Path) -> list[str]:
    """Give the folders g1, g2, ... of a corpus, in the order of their numbers."""
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if _GROUP.fullmatch(entry.name) and entry.is_dir()]
    return sorted(names, key=lambda name: int(name[1:]))


def _notices(others: Counter[str]) -> tuple[str, ...]:
    if not others:
        return ()
    most = ", ".join(f"{code} ({count})" for code, count in others.most_common(5))
    return (f"{len(others)} other SNOMED CT codes are left out, most often {most} (records)",)
