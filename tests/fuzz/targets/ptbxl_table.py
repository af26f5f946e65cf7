"""`ptbxl_database.csv`, and the dictionaries in it, which Python itself evaluates to the same keys."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

from data_modules.corpora.ptbxl import PTBXL, parse_scp_codes
from data_modules.corpus import CorpusFormatError

REFUSALS = (CorpusFormatError,)


def seeds(folder: Path) -> Iterator[bytes]:
    records = folder / "records100" / "00000"
    records.mkdir(parents=True)
    for number in (1, 2):
        for suffix in ("hea", "dat"):
            (records / f"{number:05d}_lr.{suffix}").touch()
    head = "ecg_id,patient_id,age,scp_codes,strat_fold\n"
    yield f"""{head}1,15709.0,56.0,"{{'NORM': 100.0, 'SR': 0.0}}",3\n2,,19.0,"{{'IMI': 15.0}}",10\n""".encode()


def check(data: bytes, folder: Path) -> None:
    (folder / "ptbxl_database.csv").write_bytes(data)
    table = PTBXL(folder).table
    assert len(table.record_ids) == len(table.labels) == len(table.files)
    with (folder / "ptbxl_database.csv").open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            codes = parse_scp_codes(row["scp_codes"])
            if codes is not None:
                assert tuple(dict.fromkeys(codes)) == tuple(ast.literal_eval(row["scp_codes"].strip()))
