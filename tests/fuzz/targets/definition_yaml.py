"""The YAML of an own corpus; what is read can be written and read again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_modules.corpus import LEAD_NAMES, CorpusFormatError
from data_modules.own.definition import Definition, LabelRules, definition_yaml, load_definition
from data_modules.reading import ReadingOptions

REFUSALS = (CorpusFormatError,)


def seeds(folder: Path) -> Iterator[bytes]:
    reading = ReadingOptions(unit="uV", gain=None, leads=LEAD_NAMES, sampling_rate=500)
    labels = LabelRules(style="list", table="x/l.csv", names=("AF", "B"), codes={"1": "AF"}, record_column="r")
    full = Definition(name="a", path="x", format="csv", reading=reading, labels=labels, sampling_rates=(500, 100))
    yield definition_yaml(full).encode()
    yield b"name: a\npath: x\nformat: npy\nreading: {gain: 200.5}\n"
    yield b"{name: a, path: x, format: csv, num_records: 3, short: pad, labels: {codes: {a: b}}}\n"


def check(data: bytes, folder: Path) -> None:
    (folder / "a.yaml").write_bytes(data)
    definition = load_definition(folder / "a.yaml")
    (folder / "a.yaml").write_text(definition_yaml(definition), encoding="utf-8")
    assert load_definition(folder / "a.yaml") == definition
