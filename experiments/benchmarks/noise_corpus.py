"""A corpus of any size at no cost: noise in place of ECGs, made when it is read. For timing alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_modules.config import DataConfig
from data_modules.corpus import Corpus, CorpusSpec, Record, RecordTable
from data_modules.datamodule import ECGDataModule

LABELS = ("A", "B", "C", "D", "E")


class NoiseCorpus(Corpus):
    """Simulated records of 10 s at 100 Hz: white noise of 0.3 mV.

    Args:
        root: An existing folder; nothing is read from it.
        num_records: How many.
    """

    spec = CorpusSpec(
        name="noise",
        title="Noise (simulated)",
        version="1",
        url="none",
        licence="CC0-1.0",
        citation="none",
        label_sets={"noise": LABELS},
        sampling_rates=(100,),
        num_records=1,
    )

    def __init__(self, root: Path, num_records: int) -> None:
        super().__init__(root)
        self._num_records = num_records

    @classmethod
    def is_present(cls, root: Path) -> bool:
        """Whether the folder is there."""
        return root.is_dir()

    @classmethod
    def expected_layout(cls) -> str:
        """Nothing is expected."""
        return "looked for a folder"

    def _read_table(self) -> RecordTable:
        names = tuple(f"n{number:07d}" for number in range(self._num_records))
        labels = (np.random.default_rng(0).random((self._num_records, len(LABELS))) < 0.3).astype(np.uint8)
        return RecordTable(record_ids=names, labels=labels, label_names=LABELS, files=names)

    def read(self, record_id: str) -> Record:
        """The same noise for the same id."""
        signal = np.random.default_rng(int(record_id[1:])).standard_normal((12, 1000), dtype=np.float32)
        return Record(record_id=record_id, signal=signal * np.float32(0.3), sampling_rate=100)


def noise_data(folder: Path, num_records: int, *, batch_size: int = 256, **fields: float) -> ECGDataModule:
    """A data module on noise, set up; its cache lies in `folder/cache`.

    Args:
        folder: An existing folder.
        num_records: Of all parts together.
        batch_size: Of a batch.
        **fields: Of `DataConfig`.
    """
    config = DataConfig(corpus="noise", root=str(folder), **fields)  # type: ignore[arg-type]
    corpus = NoiseCorpus(folder, num_records)
    data = ECGDataModule(config, corpus=corpus, batch_size=batch_size, progress=False)
    data.setup()
    return data
