"""A folder of records as a user has it, and the corpus that is made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_modules.own.adding import add_corpus
from data_modules.own.own_corpus import OwnCorpus
from data_modules.reading import ReadingOptions
from tests.data_modules.ecg_files import LEADS, synthetic_millivolts

NUM_RECORDS = 24
MICROVOLTS = ReadingOptions(unit="uV", sampling_rate=250)


def write_folder(folder: Path, leads: tuple[str, ...] = LEADS) -> Path:
    """One CSV a record in microvolts at 250 Hz, a table of labels beside the folder."""
    (folder / "ecgs").mkdir(parents=True)
    rows = [LEADS.index(lead) for lead in leads]
    for number in range(NUM_RECORDS):
        signal = synthetic_millivolts(2500, 250, seed=number)[rows]
        header = ",".join(leads)
        path = folder / "ecgs" / f"r{number:02d}.csv"
        np.savetxt(path, np.round(signal.T * 1000), fmt="%d", delimiter=",", header=header, comments="")
    table = "".join(f"r{n:02d},p{n // 2},{n % 2},{int(n % 3 == 0)}\n" for n in range(NUM_RECORDS))
    (folder / "labels.csv").write_text("record,patient,AF,MI\n" + table)
    return folder


def add(folder: Path, reading: ReadingOptions = MICROVOLTS, **more: object) -> tuple[OwnCorpus, list[str]]:
    said: list[str] = []
    more = {"labels": folder / "labels.csv", "say": said.append, "progress": False} | more
    return add_corpus("mine", folder / "ecgs", root=folder / "data", reading=reading, **more), said  # type: ignore[arg-type]
