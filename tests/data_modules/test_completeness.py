from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from data_modules.completeness import check_completeness
from data_modules.corpora import CORPORA
from data_modules.corpus import Corpus, CorpusSpec, Record, RecordTable
from tests.data_modules.ecg_files import real_folder

TABLE = RecordTable(
    record_ids=("1", "2", "3"),
    labels=np.array([[1, 0], [1, 1], [0, 0]], dtype=np.uint8),
    label_names=("A", "B"),
    files=("1", "2", "3"),
    set_aside={"4": "label_unknown", "5": "no_signal"},
)


class Tiny(Corpus):
    spec: ClassVar[CorpusSpec] = CorpusSpec(
        name="tiny", title="Tiny", version="1", url="", licence="", citation="", sampling_rates=(100,),
        label_sets={"both": ("A", "B"), "first": ("A",)}, num_records=4, other_releases={"0": 5},
        label_counts={"A": 2, "B": 1},
    )  # fmt: skip
    content: RecordTable = TABLE

    @classmethod
    def is_present(cls, root: Path) -> bool:
        return True

    @classmethod
    def expected_layout(cls) -> str:
        return ""

    def _read_table(self) -> RecordTable:
        return self.content

    def read(self, record_id: str) -> Record:
        raise NotImplementedError


def test_records_that_were_set_aside_count_but_not_missing_ones() -> None:
    report = check_completeness(Tiny(Path()))
    assert (report.num_found, report.num_expected, report.complete) == (4, 4, True)
    assert report.label_differences == {}
    assert report.sentence() == "Tiny: complete, 4 records."


def test_label_counts_that_differ_are_reported_for_the_described_release_only() -> None:
    corpus = Tiny(Path())
    corpus.content = replace(TABLE, labels=np.zeros((3, 2), dtype=np.uint8))
    report = check_completeness(corpus)
    assert report.label_differences == {"A": (0, 2), "B": (0, 1)}
    assert "A 0 instead of 2, B 0 instead of 1" in report.sentence()
    other = Tiny(Path())
    other.content = replace(corpus.content, set_aside={"4": "gain", "5": "header"})
    assert check_completeness(other).complete
    assert check_completeness(other).label_differences == {}
    other_labels = Tiny(Path(), label_set="first")
    other_labels.content = corpus.content
    assert check_completeness(other_labels).label_differences == {}


def test_an_incomplete_copy_says_so() -> None:
    corpus = Tiny(Path())
    corpus.content = replace(TABLE, set_aside={})
    assert check_completeness(corpus).sentence() == "Tiny: an incomplete copy, 3 of 4 records."


@pytest.mark.parametrize(("num_found", "version"), [(4, "1"), (5, "0"), (3, "unknown")])
def test_the_release_follows_from_the_number_of_records(num_found: int, version: str) -> None:
    corpus = Tiny(Path())
    corpus.content = replace(TABLE, set_aside={str(number): "gain" for number in range(4, num_found + 1)})
    assert check_completeness(corpus).version == version


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "sentence", "version"),
    [
        ("ptbxl", "complete, 21,837 records.", "1.0.1"),
        ("cpsc2018", "an incomplete copy, 310 of 6,877 records.", "1.0.2"),
        ("georgia", "an incomplete copy, 15 of 10,344 records.", "1.0.2"),
        ("ptb", "an incomplete copy, 1 of 549 records.", "1.0.0"),
    ],
)
def test_real_copies(name: str, sentence: str, version: str) -> None:
    report = check_completeness(CORPORA[name](real_folder(name)))
    assert report.sentence().endswith(sentence)
    assert report.version == version


@pytest.mark.parametrize("name", CORPORA)
def test_datasheets(name: str) -> None:
    spec = CORPORA[name].spec
    assert spec.name == name
    assert spec.url.startswith("https://")
    assert "doi:10." in spec.citation
    default = next(iter(spec.label_sets.values()))
    assert set(spec.label_counts) <= set(default)
    assert spec.num_records not in spec.other_releases.values()
