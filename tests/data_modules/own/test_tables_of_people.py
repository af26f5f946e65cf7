"""Tables as people write them, in spreadsheets and in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_modules.corpus import CorpusFormatError
from data_modules.own.label_survey import LabelOptions, survey_table
from data_modules.own.labels import read_table


def test_empty_columns_behind_the_last_are_left_off(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("record;AF;;\nr1;1;;\nr2;;;\n")
    assert read_table(path).columns == ("record", "AF")
    assert read_table(path).rows == [("r1", "1"), ("r2", "")]
    path.write_text("record;AF;;\nr1;1;;\nr2;0;;a remark\n")
    with pytest.raises(CorpusFormatError, match="two columns called ''"):
        read_table(path)


def test_sentences_are_no_labels(tmp_path: Path) -> None:
    said = [f"Sinus rhythm, {60 + number} a minute, left axis" for number in range(12)]
    ids = tuple(f"r{number}" for number in range(24))
    path = tmp_path / "labels.csv"

    def questions(texts: list[str], **options: object) -> list[str]:
        lines = (f"{record_id},{text!r}".replace("'", '"') for record_id, text in zip(ids, texts, strict=False))
        path.write_text("record,report\n" + "\n".join(lines))
        return survey_table(read_table(path), "labels.csv", ids, LabelOptions(**options))[1].questions  # type: ignore[arg-type]

    (question,) = questions(said)
    assert "'report' seems to be free text: 12 of its 12 texts stand in one record alone" in question
    assert questions(said, names=(said[0],)) == []
    assert questions(said[:9]) == [], "few texts may be few records"
    assert questions([f"old anterior infarction {number % 2}" for number in range(24)]) == []
    assert questions([f"code{number}" for number in range(24)]) == [], "no sentences"
