"""PTB-XL: 21,799 clinical ECGs of 10 s with SCP-ECG statements, and its authors' folds."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data_modules.coded_record import CodedRecord, read_coded
from data_modules.corpora.published_table import read_csv
from data_modules.corpora.scp_statements import SCP_STATEMENTS, ScpStatement
from data_modules.corpus import Corpus, CorpusFormatError, CorpusNotFoundError, CorpusSpec, Record, RecordTable
from data_modules.published_record import read_published

_SUPERCLASSES = ("NORM", "MI", "STTC", "HYP", "CD")
_DIAGNOSTIC = tuple(s for s in SCP_STATEMENTS if s.diagnostic)

_LABEL_SETS = {
    "superclass": _SUPERCLASSES,
    "all": tuple(s.code for s in SCP_STATEMENTS),
    "diagnostic": tuple(s.code for s in _DIAGNOSTIC),
    "subdiagnostic": tuple(dict.fromkeys(s.diagnostic_subclass for s in _DIAGNOSTIC)),
    "form": tuple(s.code for s in SCP_STATEMENTS if s.form),
    "rhythm": tuple(s.code for s in SCP_STATEMENTS if s.rhythm),
}

_SUFFIX = {100: "lr", 500: "hr"}
_COLUMNS = ("ecg_id", "patient_id", "scp_codes", "strat_fold")

MAX_CODES = 1000
"""Characters of a cell of `scp_codes`; the longest published one has 128."""

_SCP_CODE = re.compile(r"'([^'\\\x00-\x1f]+)'[ \t]*:[ \t]*(?:\d+\.\d*|0+|[1-9]\d*)", re.ASCII)
_SCP_CODES = re.compile(
    rf"\{{[ \t]*(?:{_SCP_CODE.pattern}(?:[ \t]*,[ \t]*{_SCP_CODE.pattern})*[ \t]*(?:,[ \t]*)?)?\}}", re.ASCII
)


class _Row(NamedTuple):
    record_id: str
    patient_id: str
    codes: tuple[str, ...] | None
    """None where the column cannot be understood."""
    fold: int


class PTBXL(Corpus):
    """Reads PTB-XL as PhysioNet publishes it: `ptbxl_database.csv`, and `records100` or `records500` (WFDB format 16).

    Labels are the keys of `scp_codes` at any likelihood, as in the authors' own benchmark (Strodthoff et al. 2021, doi
    10.1109/JBHI.2020.3022989): a likelihood of 0 means that it is unknown. Each of the six label sets is one of that
    benchmark's tasks. The official folds keep each patient in one fold.
    """

    spec = CorpusSpec(
        name="ptbxl",
        title="PTB-XL",
        version="1.0.3",
        url="https://physionet.org/content/ptb-xl/1.0.3/",
        licence="CC-BY-4.0",
        citation=(
            "Wagner P, Strodthoff N, Bousseljot R-D, Kreiseler D, Lunze FI, Samek W, Schaeffter T. PTB-XL, a large "
            "publicly available electrocardiography dataset. "
            "Scientific Data 7:154 (2020). doi:10.1038/s41597-020-0495-6"
        ),
        label_sets=_LABEL_SETS,
        sampling_rates=(100, 500),
        num_records=21_799,
        other_releases={"1.0.1": 21_837, "1.0.2": 21_801},
        gain=1000.0,
        label_counts={"NORM": 9514, "MI": 5469, "STTC": 5235, "HYP": 2649, "CD": 4898},
        unlabelled="drop",
        known_issues=(
            "Releases 1.0.1 and 1.0.2 hold 38 and 2 records more, which later ones drop as duplicates.",
            "The project's page lists the leads as aVL, aVR, aVF; the files hold aVR, aVL, aVF, and name them so.",
            "A likelihood of 0 in scp_codes means unknown, not absent.",
            "Ages above 89 are written as 300.",
            "The 100 Hz files were low-pass filtered and resampled from the 500 Hz ones by the authors.",
        ),
    )

    @classmethod
    def is_present(cls, root: Path) -> bool:
        """Whether a copy, complete or not, lies in `root`."""
        folders = (root / "records100", root / "records500")
        return (root / "ptbxl_database.csv").is_file() and any(folder.is_dir() for folder in folders)

    @classmethod
    def expected_layout(cls) -> str:
        """Say which files were looked for."""
        return (
            "looked for ptbxl_database.csv and records100/ or records500/ in it; "
            f"put the files of {cls.spec.url} there as they are published"
        )

    def _read_table(self) -> RecordTable:
        rows = _read_rows(self.root / "ptbxl_database.csv")
        present = self._list_records()
        set_aside = {row.record_id: "no_signal" for row in rows if row.record_id not in present}
        set_aside |= dict.fromkeys(present - {row.record_id for row in rows}, "no_labels")
        set_aside |= {row.record_id: "label_unknown" for row in rows if row.record_id in present and row.codes is None}
        kept = [row for row in rows if row.record_id not in set_aside]
        labels, unknown = self._encode(kept)
        return RecordTable(
            record_ids=tuple(row.record_id for row in kept),
            labels=labels,
            label_names=self.label_names,
            files=tuple(self._file(row.record_id) for row in kept),
            patient_ids=tuple(row.patient_id or f"record:{row.record_id}" for row in kept),
            folds=np.array([row.fold for row in kept], dtype=np.int64),
            set_aside=dict(sorted(set_aside.items())),
            notices=_notices(kept, unknown),
        )

    def _file(self, record_id: str) -> str:
        # built from the number, so that a path out of the table can never lead out of the corpus
        folder = f"{int(record_id) // 1000 * 1000:05d}"
        return f"records{self.sampling_rate}/{folder}/{record_id}_{_SUFFIX[self.sampling_rate]}.hea"

    def _list_records(self) -> set[str]:
        """Give the ids of records that have both their header and their signal file."""
        root = self.root / f"records{self.sampling_rate}"
        if not root.is_dir():
            raise CorpusNotFoundError(
                f"no {self.sampling_rate} Hz records of PTB-XL: {root} does not exist; fetch it from {self.spec.url}"
            )
        names: set[str] = set()
        for folder in filter(Path.is_dir, root.iterdir()):
            names.update(path.name for path in folder.iterdir())
        pattern = re.compile(rf"(\d{{5}})_{_SUFFIX[self.sampling_rate]}\.hea")
        found = (match for match in map(pattern.fullmatch, names) if match)
        return {match[1] for match in found if f"{match[0][:-4]}.dat" in names}

    def _encode(self, rows: list[_Row]) -> tuple[NDArray[np.uint8], Counter[str]]:
        columns = _columns(self.label_set)
        labels = np.zeros((len(rows), len(self.label_names)), dtype=np.uint8)
        unknown: Counter[str] = Counter()
        known = {statement.code for statement in SCP_STATEMENTS}
        for index, row in enumerate(rows):
            for code in row.codes or ():
                if code in columns:
                    labels[index, columns[code]] = 1
                elif code not in known:
                    unknown[code] += 1
        return labels, unknown

    def read(self, record_id: str) -> Record:
        """Read one record of `table`; see `Corpus.read`."""
        path = self.root / self._file(record_id)
        return read_published(path, record_id, gain=self.spec.gain, sampling_rate=self.sampling_rate)

    def read_coded(self, record_id: str) -> CodedRecord | None:
        """Read one record of `table` as codes; see `Corpus.read_coded`."""
        return read_coded(f"{self.root}/{self._file(record_id)}", gain=self.spec.gain, sampling_rate=self.sampling_rate)


def _columns(label_set: str) -> dict[str, int]:
    """Map each statement's code to its column in a label set; codes that are in none are left out."""

    def label(statement: ScpStatement) -> str:
        if label_set == "superclass":
            return statement.diagnostic_class
        return statement.diagnostic_subclass if label_set == "subdiagnostic" else statement.code

    names = _LABEL_SETS[label_set]
    return {s.code: names.index(label(s)) for s in SCP_STATEMENTS if label(s) in names}


def parse_scp_codes(text: str) -> tuple[str, ...] | None:
    """Give the keys of a dictionary such as `{'NORM': 100.0, 'SR': 0.0}` without evaluating it; None if it is none."""
    # longer ones could keep the pattern busy for minutes
    return tuple(_SCP_CODE.findall(text)) if len(text) <= MAX_CODES and _SCP_CODES.fullmatch(text) else None


def _read_rows(path: Path) -> list[_Row]:
    """Read the label table, sorted by id."""
    rows: dict[str, _Row] = {}
    lines = read_csv(path)
    _, header = next(lines, (0, []))
    missing = [column for column in _COLUMNS if column not in header]
    if missing:
        raise CorpusFormatError(f"{path} has no column {', '.join(missing)}; it has: {', '.join(header)}")
    ecg_id, patient_id, scp_codes, fold = map(header.index, _COLUMNS)
    for line_number, line in lines:
        try:
            number = int(float(line[ecg_id]))
            patient = line[patient_id].removesuffix(".0")
            row = _Row(f"{number:05d}", patient, parse_scp_codes(line[scp_codes]), int(float(line[fold])))
        except (ValueError, IndexError, OverflowError) as error:
            raise CorpusFormatError(f"{path}, line {line_number}: {error}; fetch the file again") from error
        if not 0 <= number < 100_000 or rows.setdefault(row.record_id, row) is not row:
            raise CorpusFormatError(f"{path}, line {line_number}: ecg_id {number} is there twice or no id")
        if not 0 <= row.fold <= 10:
            raise CorpusFormatError(f"{path}, line {line_number}: strat_fold {row.fold} is none of 1 to 10")
    return [rows[record_id] for record_id in sorted(rows)]


def _notices(rows: list[_Row], unknown: Counter[str]) -> tuple[str, ...]:
    notices: list[str] = []
    anonymous = sum(not row.patient_id for row in rows)
    if anonymous:
        notices.append(
            f"{anonymous} of {len(rows)} rows of ptbxl_database.csv have no patient_id, each is taken for a patient of "
            "its own: only the official folds (strat_fold) keep patients apart for sure"
        )
    if unknown:
        codes = ", ".join(f"{code} ({count})" for code, count in unknown.most_common(5))
        notices.append(f"scp_codes that are none of the {len(SCP_STATEMENTS)} statements are left out: {codes}")
    return tuple(notices)
