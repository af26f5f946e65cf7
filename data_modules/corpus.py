"""What a corpus of ECGs is: its datasheet, its table of records, its reader, its errors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from data_modules.coded_record import CodedRecord

LEAD_NAMES = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
"""The canonical order of the twelve leads, everywhere in this project."""

SIMULATION_MARKER = "SIMULATED.json"
"""File in the root of every simulated corpus: what was simulated, how many records, from which seed."""


class CorpusNotFoundError(FileNotFoundError):
    """A corpus is not where it was looked for; the message says where that was and what mends it."""


class CorpusFormatError(ValueError):
    """A corpus's own tables (not one record) cannot be used as they are."""


class RecordError(ValueError):
    """One record cannot be used. It is set aside, counted and named; the corpus goes on without it.

    Attributes:
        reason: A code out of `data_modules.quality.REASONS`.
        detail: What was found, for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class CorpusSpec:
    """The datasheet of a corpus: facts as its publisher states them, none of them computed."""

    name: str
    """Short name, lower case: what a user types and what its folder under the data root is called."""
    title: str
    """Its full published name."""
    version: str
    """The release that these facts describe."""
    url: str
    licence: str
    """SPDX identifier."""
    citation: str
    label_sets: Mapping[str, tuple[str, ...]]
    """Name of a task -> its label names in column order; the first one is the default."""
    sampling_rates: tuple[int, ...]
    """Hz at which it is published; the first one is read by default."""
    num_records: int
    """Records in a complete copy."""
    other_releases: Mapping[str, int] = field(default_factory=dict)
    """Version -> records of other published releases, which count as complete too."""
    gain: float | None = None
    """A/D units per millivolt that the published files carry, or None where they are no integers."""
    label_counts: Mapping[str, int] = field(default_factory=dict)
    """Published positives per label of the default label set in a complete copy; empty if none are published."""
    unlabelled: Literal["keep", "drop"] = "keep"
    """What is done by default with records that carry none of the labels."""
    short: Literal["set_aside", "pad"] = "set_aside"
    """What is done by default with recordings shorter than a model's input: left out, or zeros appended."""
    known_issues: tuple[str, ...] = ()
    """What is known to be wrong or odd in the published files, a sentence each."""


@dataclass(frozen=True, kw_only=True)
class RecordTable:
    """What a corpus knows of its records before any signal is read. Rows are sorted by record id."""

    record_ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    """Multi-hot, (records, labels), columns as `label_names`."""
    label_names: tuple[str, ...]
    files: tuple[str, ...]
    """For each record the file that holds its samples, relative to the corpus's root, `/` between parts."""
    patient_ids: tuple[str, ...] | None = None
    """For each record its patient; None where the publisher gives none. A record without one has an id of its own."""
    folds: NDArray[np.int64] | None = None
    """For each record its official fold, (records,); None where there is none."""
    set_aside: Mapping[str, str] = field(default_factory=dict)
    """Records that are no rows here, by id, with the reason code: a signal without a label row, say."""
    notices: tuple[str, ...] = ()
    """What a user should know of this copy: sentences, none in a faultless one."""

    def __len__(self) -> int:
        return len(self.record_ids)


@dataclass(frozen=True, kw_only=True)
class Record:
    """One ECG as it was recorded: millivolts, native rate, canonical leads."""

    record_id: str
    signal: NDArray[np.float32]
    """Millivolts, (12, samples); NaN where the file says "no sample"."""
    sampling_rate: int
    """Hz."""
    notes: tuple[str, ...] = ()
    """Codes out of `data_modules.quality.NOTES` for what was mended on the way, `gain_replaced` say."""
    absent_leads: tuple[str, ...] = ()
    """Leads that were not recorded and that the user chose to have zeros for; they are not judged."""


class Corpus(ABC):
    """Reads one corpus from its published layout. It never resamples, scales or splits.

    Args:
        root: The corpus's own folder, as published.
        label_set: A key of `spec.label_sets`; the first one by default.
        sampling_rate: One of `spec.sampling_rates`; the first one by default.

    Raises:
        CorpusNotFoundError: `root` holds no such corpus.
        ValueError: An unknown label set or rate.
    """

    spec: CorpusSpec
    """The datasheet: of the class where the corpus is published, of the instance where it is the user's own."""

    def __init__(self, root: Path, *, label_set: str | None = None, sampling_rate: int | None = None) -> None:
        self.root = Path(root)
        self.label_set = label_set or next(iter(self.spec.label_sets))
        self.sampling_rate = sampling_rate or self.spec.sampling_rates[0]
        if self.label_set not in self.spec.label_sets:
            choices = ", ".join(self.spec.label_sets)
            raise ValueError(f"{self.spec.name} has no label set {self.label_set!r}; it has: {choices}")
        if self.sampling_rate not in self.spec.sampling_rates:
            choices = ", ".join(map(str, self.spec.sampling_rates))
            raise ValueError(f"{self.spec.name} is not published at {self.sampling_rate} Hz; it is at: {choices}")
        if not self.is_present(self.root):
            raise CorpusNotFoundError(f"no {self.spec.title} in {self.root}: {self.expected_layout()}")

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels of the chosen label set, in column order."""
        return self.spec.label_sets[self.label_set]

    def reading_options(self) -> dict[str, int | float | str]:
        """What besides the files decides what `read` returns; part of the cache's fingerprint."""
        return {"sampling_rate": self.sampling_rate}

    @property
    def is_simulated(self) -> bool:
        """Whether this copy was simulated: its folder then carries a marker."""
        return (self.root / SIMULATION_MARKER).exists()

    @classmethod
    @abstractmethod
    def is_present(cls, root: Path) -> bool:
        """Whether `root` looks like a copy, complete or not, of this corpus. Cheap: no listing of records."""

    @classmethod
    @abstractmethod
    def expected_layout(cls) -> str:
        """A sentence that says which files were looked for."""

    @cached_property
    def table(self) -> RecordTable:
        """The records and their labels, read once.

        Raises:
            CorpusFormatError: The corpus's tables cannot be used.
        """
        return self._read_table()

    @abstractmethod
    def _read_table(self) -> RecordTable:
        """Read the corpus's tables and headers, not its signals."""

    @abstractmethod
    def read(self, record_id: str) -> Record:
        """Read one record of `table`.

        Raises:
            RecordError: The record cannot be read or trusted.
        """

    def read_coded(self, record_id: str) -> CodedRecord | None:
        """The same record as the codes of its file, where that is a quicker way to the same signal; None where not."""
        return None
