"""A corpus of a table and one `.npy` a record, so small that a test can say what must come out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import Corpus, CorpusSpec, Record, RecordError, RecordTable
from tests.data_modules.ecg_files import synthetic_millivolts

LABELS = ("NORM", "AF", "MI")
TABLE = "fake.json"


class FakeCorpus(Corpus):
    """Reads what `write_fake_corpus` wrote."""

    spec: ClassVar[CorpusSpec] = CorpusSpec(
        name="fake",
        title="A fake corpus",
        version="1",
        url="https://example.org/fake",
        licence="CC0-1.0",
        citation="none",
        label_sets={"classes": LABELS, "rhythm": LABELS[1:2]},
        sampling_rates=(100, 250),
        num_records=12,
    )

    @classmethod
    def is_present(cls, root: Path) -> bool:
        return (root / TABLE).exists()

    @classmethod
    def expected_layout(cls) -> str:
        return f"looked for {TABLE}"

    def _read_table(self) -> RecordTable:
        content = json.loads((self.root / TABLE).read_text())
        labels = np.array(content["labels"], np.uint8).reshape(-1, len(LABELS))
        columns = [LABELS.index(name) for name in self.label_names]
        return RecordTable(
            record_ids=tuple(content["record_ids"]),
            labels=labels[:, columns],
            label_names=self.label_names,
            files=tuple(f"{record_id}.npy" for record_id in content["record_ids"]),
            patient_ids=content["patients"] and tuple(content["patients"]),
            folds=None if content["folds"] is None else np.array(content["folds"], np.int64),
            set_aside=content["set_aside"],
        )

    def read(self, record_id: str) -> Record:
        path = self.root / f"{record_id}.npy"
        if not path.exists():
            raise RecordError("unreadable", f"{path} is not there")
        return Record(record_id=record_id, signal=np.load(path), sampling_rate=self.sampling_rate)


def write_fake_corpus(
    root: Path,
    labels: NDArray[np.uint8],
    *,
    seconds: float = 2.0,
    patients: Sequence[str] | None = None,
    folds: Sequence[int] | None = None,
    set_aside: dict[str, str] | None = None,
) -> FakeCorpus:
    """Write records r000, r001, ... at 100 Hz; labels are (records, 3)."""
    root.mkdir(parents=True, exist_ok=True)
    names = [f"r{number:03d}" for number in range(len(labels))]
    for number, name in enumerate(names):
        signal = synthetic_millivolts(round(seconds * 100), 100, seed=number)
        np.save(root / f"{name}.npy", signal.astype(np.float32))
    content = {
        "record_ids": names,
        "labels": np.asarray(labels).tolist(),
        "patients": patients and list(patients),
        "folds": folds and list(folds),
        "set_aside": set_aside or {},
    }
    (root / TABLE).write_text(json.dumps(content))
    return FakeCorpus(root)


def random_labels(num_records: int, seed: int = 0, shares: Sequence[float] = (0.5, 0.3, 0.1)) -> NDArray[np.uint8]:
    """Multi-hot, (records, 3), with these shares of positives."""
    return (np.random.default_rng(seed).random((num_records, 3)) < shares).astype(np.uint8)
