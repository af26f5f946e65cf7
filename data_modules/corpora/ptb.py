"""PTB Diagnostic ECG Database: 549 recordings of about two minutes from 290 subjects."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path

import numpy as np

from data_modules.corpus import Corpus, CorpusFormatError, CorpusSpec, Record, RecordError, RecordTable
from data_modules.published_record import read_published
from data_modules.wfdb_record import read_header

_PATIENT = re.compile(r"patient\d+")
_HEADER = re.compile(r"[\w-]+\.hea", re.ASCII)
_LABEL_OF_REASON = {"healthy control": "NORM", "myocardial infarction": "MI"}
_NO_DIAGNOSIS = ("", "n/a", "unknown")


class PTB(Corpus):
    """Reads PTB as PhysioNet publishes it: a folder a patient, WFDB format 16, 15 signals in a `.dat` and a `.xyz`.

    Labels come from the header's "Reason for admission"; a subject with any other disease has an all-zero row, one
    without a diagnosis is set aside. Only the twelve standard leads are read, all in the `.dat`.
    """

    spec = CorpusSpec(
        name="ptb",
        title="PTB Diagnostic ECG Database",
        version="1.0.0",
        url="https://physionet.org/content/ptbdb/1.0.0/",
        licence="ODC-By-1.0",
        citation=(
            "Bousseljot R, Kreiseler D, Schnabel A. Nutzung der EKG-Signaldatenbank CARDIODAT der PTB über das "
            "Internet. Biomedizinische Technik 40, Ergänzungsband 1:317 (1995). Goldberger AL, et al. PhysioBank, "
            "PhysioToolkit, and PhysioNet. Circulation 101:e215-e220 (2000). doi:10.13026/C28C71"
        ),
        label_sets={"classes": ("NORM", "MI")},
        sampling_rates=(1000,),
        num_records=549,
        gain=2000.0,
        known_issues=(
            "One to five recordings a subject: split by patient, or test recordings come from patients in training.",
            "27 recordings of 22 subjects name no diagnosis.",
            "There are no subjects 124, 132, 134 and 161.",
        ),
    )

    @classmethod
    def is_present(cls, root: Path) -> bool:
        """Whether a copy, complete or not, lies in `root`."""
        if not root.is_dir():
            return False
        with os.scandir(root) as entries:
            return any(_PATIENT.fullmatch(entry.name) and entry.is_dir() for entry in entries)

    @classmethod
    def expected_layout(cls) -> str:
        """Say which files were looked for."""
        return f"looked for folders patient001, ... in it; put the files of {cls.spec.url} there as they are published"

    def _read_table(self) -> RecordTable:
        files = self._list_headers()
        set_aside: dict[str, str] = {}
        labels: dict[str, str | None] = {}
        for record_id, file in files.items():
            try:
                reason = (read_header(self.root / file).comment("Reason for admission") or "").casefold()
            except RecordError as error:
                set_aside[record_id] = error.reason
                continue
            if not (self.root / file).with_suffix(".dat").is_file():
                set_aside[record_id] = "no_signal"
            elif reason in _NO_DIAGNOSIS:
                set_aside[record_id] = "no_diagnosis"
            else:
                labels[record_id] = _LABEL_OF_REASON.get(reason)
        rows = [[label == name for name in self.label_names] for label in labels.values()]
        return RecordTable(
            record_ids=tuple(labels),
            labels=np.array(rows, dtype=np.uint8).reshape(len(rows), len(self.label_names)),
            label_names=self.label_names,
            files=tuple(files[record_id] for record_id in labels),
            patient_ids=tuple(files[record_id].split("/")[0] for record_id in labels),
            set_aside=set_aside,
        )

    def _list_headers(self) -> dict[str, str]:
        """Give each record's header file, sorted by record id."""
        files: dict[str, str] = {}
        for patient in filter(_PATIENT.fullmatch, _names(self.root)):
            for name in filter(_HEADER.fullmatch, _names(self.root / patient)):
                file = f"{patient}/{name}"
                if files.setdefault(name[:-4], file) != file:
                    raise CorpusFormatError(
                        f"{self.root} holds {name} twice, {file} and {files[name[:-4]]}; remove one"
                    )
        return dict(sorted(files.items()))

    @cached_property
    def _file_of(self) -> dict[str, str]:
        return dict(zip(self.table.record_ids, self.table.files, strict=True))

    def read(self, record_id: str) -> Record:
        """Read one record of `table`; see `Corpus.read`."""
        path = self.root / self._file_of[record_id]
        return read_published(path, record_id, gain=self.spec.gain, sampling_rate=self.sampling_rate)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
