"""Which column is which, how records are matched, what is refused rather than guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_modules.corpus import CorpusFormatError
from data_modules.own.definition import LabelRules
from data_modules.own.label_survey import Findings, LabelOptions, survey_headers, survey_table
from data_modules.own.labels import Labels, Table, apply_rules, read_table
from data_modules.own.record_names import record_names_of

IDS = ("a/r1", "a/r2", "b/r3")


def survey(
    tmp_path: Path, text: str, ids: tuple[str, ...] = IDS, **options: object
) -> tuple[Labels | None, LabelRules, Findings]:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    table = read_table(path)
    rules, findings = survey_table(table, "labels.csv", ids, LabelOptions(**options))  # type: ignore[arg-type]
    return (None if findings.questions else apply_rules(rules, table, ids, {})), rules, findings


def rows(labels: Labels | None) -> dict[str, list[int]]:
    assert labels is not None
    return {record_id: vector.tolist() for record_id, vector in labels.multi_hot.items()}


def test_columns_of_0_and_1(tmp_path: Path) -> None:
    text = "file,age,AF,LBBB,sex\na/r1.csv,40,1,0,1\nr3.csv,55,1,1,0\n./a/r2.csv,60,0,0,1\n"
    labels, rules, findings = survey(tmp_path, text)
    assert rules.names == ("AF", "LBBB")
    assert rows(labels) == {"a/r1": [1, 0], "b/r3": [1, 1], "a/r2": [0, 0]}
    assert "columns left out: age, sex" in " ".join(findings.lines)


def test_an_empty_cell_of_a_label_is_not_guessed_at(tmp_path: Path) -> None:
    labels, _, _ = survey(tmp_path, "id,AF,MI\nr1,1,0\nr2,,1\nr3,0,1\n")
    assert rows(labels) == {"a/r1": [1, 0], "b/r3": [0, 1]}
    assert labels is not None
    assert labels.problems == {"a/r2": "label_unknown"}


def test_a_column_of_names_with_semicolons_between_them(tmp_path: Path) -> None:
    text = "\ufeffrecord,diagnosis,patient_id\nr1,AF;LBBB,p1\nr2,,p2\nr3, LBBB ,p1\n"
    labels, rules, _ = survey(tmp_path, text)
    assert (rules.style, rules.names, rules.patient_column) == ("list", ("AF", "LBBB"), "patient_id")
    assert rows(labels) == {"a/r1": [1, 1], "a/r2": [0, 0], "b/r3": [0, 1]}
    assert labels is not None
    assert labels.patients == {"a/r1": "p1", "a/r2": "p2", "b/r3": "p1"}


def test_names_are_chosen_and_renamed(tmp_path: Path) -> None:
    labels, rules, _ = survey(tmp_path, "record,dx\nr1,10;20\nr2,30\nr3,20\n", names=("20=LBBB", "30=LBBB", "10"))
    assert rules.names == ("LBBB", "10")
    assert rows(labels) == {"a/r1": [1, 1], "a/r2": [1, 0], "b/r3": [1, 0]}
    _, _, findings = survey(tmp_path, "record,dx\nr1,10;20\n", names=("40",))
    assert any("no label 40" in question for question in findings.questions)


@pytest.mark.parametrize("names", [("AMI=MI", "LAFB=CD", "LPFB=CD"), ("LPFB=CD", "AMI=MI", "LAFB=CD", "MI=old")])
def test_a_label_is_what_was_renamed_to_it_and_nothing_else(tmp_path: Path, names: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    ids = tuple(f"r{row:02d}" for row in range(32))
    frame = pd.DataFrame(rng.integers(0, 2, (32, 4)), columns=["MI", "AMI", "LAFB", "LPFB"])
    expected = {"MI": frame["AMI"], "CD": frame[["LAFB", "LPFB"]].max(axis=1), "old": frame["MI"]}
    lists = [";".join(frame.columns[row == 1]) for row in frame.to_numpy()]
    for table in (frame.assign(record=ids), pd.DataFrame({"record": ids, "dx": lists})):
        labels, rules, _ = survey(tmp_path, table.to_csv(index=False), ids, names=names)
        found = np.array([rows(labels)[record_id] for record_id in ids])
        np.testing.assert_array_equal(found, np.stack([expected[name] for name in rules.names], axis=1))


def test_a_label_may_be_joined_with_others_under_its_own_name(tmp_path: Path) -> None:
    text = "record,MI,AMI\nr1,1,0\nr2,0,1\nr3,0,0\n"
    labels, rules, _ = survey(tmp_path, text, names=("MI", "AMI=MI"))
    assert rules.codes == {"MI": "MI", "AMI": "MI"}
    assert rows(labels) == {"a/r1": [1], "a/r2": [1], "b/r3": [0]}
    labels, _, _ = survey(tmp_path, "record,dx\nr1,MI\nr2,AMI\nr3,\n", names=("MI", "AMI=MI"))
    assert rows(labels) == {"a/r1": [1], "a/r2": [1], "b/r3": [0]}
    labels, _, _ = survey(tmp_path, "record,dx\nr1,MI\nr2,\nr3,\ngone,AMI\n", names=("AMI=MI",))
    assert rows(labels) == {"a/r1": [0], "a/r2": [0], "b/r3": [0]}
    _, _, findings = survey(tmp_path, text, names=("AMI=MI", "AMI=CD"))
    assert findings.questions == ["AMI is to be called MI and CD: give it one name"]


def test_codes_that_only_say_what_a_label_means_change_no_label() -> None:
    table = Table(path=Path("t.csv"), columns=("record", "AF"), rows=[("a/r1", "1"), ("a/r2", "0")])
    rules = LabelRules(names=("AF",), codes={"164889003": "AF"}, record_column="record")
    assert rows(apply_rules(rules, table, ("a/r1", "a/r2"), {})) == {"a/r1": [1], "a/r2": [0]}


def test_a_table_with_semicolons_between_cells(tmp_path: Path) -> None:
    labels, _, _ = survey(tmp_path, "record;AF;MI\nr1;1;0\nr2;0;0\nr3;1;1\n")
    assert rows(labels) == {"a/r1": [1, 0], "a/r2": [0, 0], "b/r3": [1, 1]}


@pytest.mark.parametrize(
    ("cells", "folds"),
    [
        (("1", "9", "10"), (1, 9, 10)),
        (("train", "Val", "test"), (1, 9, 10)),
        (("1.0", "9.0", "10.0"), (1, 9, 10)),
        (("Training", "dev", "testing"), (1, 9, 10)),
    ],
)
def test_folds_are_numbers_or_words(tmp_path: Path, cells: tuple[str, ...], folds: tuple[int, ...]) -> None:
    text = "record,AF,fold\n" + "".join(
        f"{name},1,{cell}\n" for name, cell in zip(("r1", "r2", "r3"), cells, strict=True)
    )
    labels, _, _ = survey(tmp_path, text)
    assert labels is not None
    assert labels.folds is not None
    assert tuple(labels.folds[record_id] for record_id in IDS) == folds
    with pytest.raises(CorpusFormatError, match="fold"):
        survey(tmp_path, "record,AF,fold\nr1,1,11\nr2,0,1\nr3,0,1\n")


def test_a_column_that_is_called_like_folds_and_holds_none_is_left_out(tmp_path: Path) -> None:
    text = "record,AF,part\nr1,1,left\nr2,0,1\nr3,0,\n"
    labels, rules, findings = survey(tmp_path, text)
    assert (rules.fold_column, rules.names) == (None, ("AF",))
    assert rows(labels) == {"a/r1": [1], "a/r2": [0], "b/r3": [0]}
    assert "'part' is left out: 'left' is no fold" in findings.lines
    with pytest.raises(CorpusFormatError, match="has the fold 'left'"):
        survey(tmp_path, text, fold_column="part")
    _, rules, _ = survey(tmp_path, text.replace("left", "val"))
    assert rules.fold_column == "part"


def test_a_table_that_names_no_record_asks(tmp_path: Path) -> None:
    text = "AF,MI\n1,0\n0,0\n1,1\n"
    _, _, findings = survey(tmp_path, text)
    assert any("--record-column" in question and "--in-order" in question for question in findings.questions)
    labels, _, findings = survey(tmp_path, text, in_order=True)
    assert rows(labels) == {"a/r1": [1, 0], "a/r2": [0, 0], "b/r3": [1, 1]}
    assert "rows in the records' order: the first is a/r1, the second a/r2, the last b/r3" in findings.lines
    with pytest.raises(CorpusFormatError, match="2 rows for 3 records"):
        survey(tmp_path, "AF,MI\n1,0\n0,0\n", in_order=True)


@pytest.mark.parametrize("ending", ["", ".0"])
def test_rows_numbered_from_1_are_not_matched_with_records_numbered_from_0(tmp_path: Path, ending: str) -> None:
    ids = tuple(f"{row:02d}" for row in range(40))
    text = "ecg_id,AF\n" + "".join(f"{number}{ending},{number % 2}\n" for number in range(1, 41))
    for options in ({}, {"record_column": "ecg_id"}):
        _, _, findings = survey(tmp_path, text, ids, **options)
        assert any("runs from 1 to 40, the records are numbered from 0 to 39" in line for line in findings.questions)
    labels, _, _ = survey(tmp_path, text, ids, in_order=True)
    assert rows(labels) == {record_id: [(row + 1) % 2] for row, record_id in enumerate(ids)}
    from_0 = "ecg_id,AF\n" + "".join(f"{number},{number % 2}\n" for number in range(40))
    labels, _, _ = survey(tmp_path, from_0, ids)
    assert rows(labels) == {record_id: [row % 2] for row, record_id in enumerate(ids)}


def test_a_table_without_record_0_asks_until_the_column_is_named(tmp_path: Path) -> None:
    """Numbered from 1, the last record without a label, or from 0, the first one without: nobody can tell."""
    ids, text = tuple("01234"), "nr,AF\n1,1\n2,0\n3,1\n4,0\n"
    _, _, findings = survey(tmp_path, text, ids)
    assert "'nr' runs from 1 to 4, the records are numbered from 0 to 4" in findings.questions[0]
    assert "--record-column 'nr'" in findings.questions[0]
    labels, _, _ = survey(tmp_path, text, ids, record_column="nr")
    assert rows(labels) == {"1": [1], "2": [0], "3": [1], "4": [0]}


def test_a_running_number_beside_the_records_names_is_asked_about(tmp_path: Path) -> None:
    ids, text = ("1", "2", "3"), "Nr,EKG,AF\n1,3,1\n2,1,0\n3,2,0\n"
    _, _, findings = survey(tmp_path, text, ids)
    assert findings.questions == [
        "'Nr' and 'EKG' name records, and not the same ones; say which it is with --record-column"
    ]
    labels, _, _ = survey(tmp_path, text, ids, record_column="EKG")
    assert rows(labels) == {"1": [0], "2": [0], "3": [1]}
    for rest in ("age,EKG,AF\n2,3,1\n2,1,0\n3,2,0\n", "Nr,EKG,AF\n3,3,1\n1,1,0\n2,2,0\n"):  # ages come twice
        assert not survey(tmp_path, rest, ids, names=("AF",))[2].questions


@pytest.mark.parametrize("separator", [",", " | ", "/"])
def test_other_separators_between_labels_are_asked_about(tmp_path: Path, separator: str) -> None:
    text = f'record,dx\nr1,"AF{separator}LBBB"\nr2,AF\nr3,LBBB\n'
    _, _, findings = survey(tmp_path, text)
    assert "seems to be several labels; put ; between them" in findings.questions[0]
    assert not survey(tmp_path, f'record,dx\nr1,"AF{separator}slow"\nr2,AF\nr3,LBBB\n')[2].questions


@pytest.mark.parametrize("cell", ["['AF', 'RBBB']", "{'AF': 100.0}", "('AF',)", "[]"])
def test_lists_as_python_writes_them_are_asked_about(tmp_path: Path, cell: str) -> None:
    _, _, findings = survey(tmp_path, f'record,dx\nr1,"{cell}"\nr2,LBBB\nr3,NORM\n')
    assert f"{cell!r} in the column 'dx' seems to be a list; write the names alone" in findings.questions[0]


def test_names_that_differ_in_case_or_blanks_are_asked_about(tmp_path: Path) -> None:
    text = "record,dx\nr1,AF\nr2,af;MI\nr3,A F\n"
    _, _, findings = survey(tmp_path, text)
    assert "'A F' and 'AF' and 'af' in the column 'dx' differ in case or blanks alone" in findings.questions[0]
    assert "--label-names 'A F,AF=A F,af=A F,...'" in findings.questions[0]
    assert survey(tmp_path, text, names=("AF", "MI"))[2].questions
    labels, _, findings = survey(tmp_path, text, names=("AF", "af=AF", "A F=AF", "MI"))
    assert findings.questions == []
    assert rows(labels) == {"a/r1": [1, 0], "a/r2": [1, 1], "b/r3": [1, 0]}


@pytest.mark.parametrize(
    "words",
    [("Y", "N"), ("Positive", "Negative"), ("pos", "neg"), ("WAHR", "FALSCH"), ("ja", "nein"), ("Oui", "Non"),
     ("present", "absent"), ("+", "-"), ("VRAI", "FAUX"), ("x", "")],
)  # fmt: skip
def test_answers_are_no_names_of_labels(tmp_path: Path, words: tuple[str, str]) -> None:
    text = f"record,AF\nr1,{words[0]}\nr2,{words[1]}\nr3,{words[0]}\n"
    _, _, findings = survey(tmp_path, text)
    said = " and ".join(sorted(filter(None, words)))
    assert f"holds {said}, which are no names of labels" in findings.questions[0]
    assert f"--label-names '{words[0]}=AF'" in findings.questions[0]
    labels, _, findings = survey(tmp_path, text, names=(f"{words[0]}=AF",))
    assert findings.questions == []
    assert rows(labels) == {"a/r1": [1], "a/r2": [0], "b/r3": [1]}
    _, _, findings = survey(tmp_path, "record,AF\nr1,yes\nr2,no\nr3,yes\n", label_column="AF")
    assert "holds no and yes, which are no names" in findings.questions[0]


@pytest.mark.parametrize("part", ["test", "is_train", "Validation"])
def test_a_column_that_marks_a_part_of_a_split_is_no_label(tmp_path: Path, part: str) -> None:
    _, rules, findings = survey(tmp_path, f"record,dx,{part}\nr1,AF,1\nr2,MI,0\nr3,AF,0\n")
    assert (rules.style, rules.names) == ("list", ("AF", "MI"))
    _, rules, findings = survey(tmp_path, f"record,AF,{part}\nr1,1,1\nr2,0,0\nr3,1,0\n")
    assert rules.names == ("AF",)
    assert f"columns left out: {part} " in " ".join(findings.lines)
    assert survey(tmp_path, f"record,AF,{part}\nr1,1,1\nr2,0,0\nr3,1,0\n", names=(part,))[1].names == (part,)


def test_unknown_labels_are_no_label(tmp_path: Path) -> None:
    labels, rules, findings = survey(tmp_path, "record,dx\nr1,AF\nr2,NA\nr3,\n")
    assert labels is not None
    assert rules.names == ("AF",)
    assert (rows(labels), labels.problems) == ({"a/r1": [1], "b/r3": [0]}, {"a/r2": "label_unknown"})
    assert "1 cells of it are empty" in " ".join(findings.lines)


def test_words_in_a_column_that_is_to_be_a_label_are_named(tmp_path: Path) -> None:
    _, _, findings = survey(tmp_path, "id,VHF\nr1,ja\nr2,nein\nr3,ja\n", names=("VHF",))
    assert "the column 'VHF' holds 'ja'; of a label are expected 0 or 1" in findings.questions[0]


def test_umlauts_are_the_same_however_they_are_written() -> None:
    composed, decomposed = "M\u00fcller", "Mu\u0308ller"
    assert record_names_of([composed, decomposed], [decomposed]) == [decomposed, decomposed]
    assert record_names_of([composed, decomposed], [composed]) == [composed, composed]


@pytest.mark.parametrize("name", ["Patient ID", "patient-id", "PatientID", "MRN", "pat_id", "Case ID", "Subject"])
def test_patients_are_recognised_however_their_column_is_written(tmp_path: Path, name: str) -> None:
    labels, rules, _ = survey(tmp_path, f"record,AF,{name}\nr1,1,7\nr2,0,7\nr3,0,8\n")
    assert (rules.patient_column, rules.names) == (name, ("AF",))
    assert labels is not None
    assert labels.patients == {"a/r1": "7", "a/r2": "7", "b/r3": "8"}
    _, rules, _ = survey(tmp_path, f"record,{name}\nr1,1\nr2,0\nr3,0\n", names=(name,))
    assert (rules.patient_column, rules.names) == (None, (name,))


def test_columns_left_out_come_with_the_options_that_take_them(tmp_path: Path) -> None:
    _, _, findings = survey(tmp_path, "record,AF,Fallnummer\nr1,1,7\nr2,0,7\nr3,0,8\n")
    (line,) = (line for line in findings.lines if "Fallnummer" in line)
    assert "--label-names" in line
    assert "--patient-column" in line


@pytest.mark.parametrize("names", [("AF", "LBBB"), ("LBBB",)])
def test_a_label_without_a_column_is_named(tmp_path: Path, names: tuple[str, ...]) -> None:
    _, _, findings = survey(tmp_path, "record,AF,RBBB\nr1,1,0\nr2,0,1\nr3,0,0\n", names=names)
    assert findings.questions == ["there is no label LBBB; there are AF, RBBB: see --label-names"]
    table = "record,AF,dx\nr1,1,LBBB\nr2,0,\nr3,0,LBBB\n"
    labels, _, _ = survey(tmp_path, table, names=("LBBB",))
    assert rows(labels) == {"a/r1": [1], "a/r2": [0], "b/r3": [1]}


def test_unknown_patients_are_each_their_own(tmp_path: Path) -> None:
    words = ("", "nan", "None", "NA", "n/a", "NULL", "Unknown", "p1", "p1")
    ids = tuple(f"r{row}" for row in range(len(words)))
    text = "record,AF,patient\n" + "".join(f"{name},1,{word}\n" for name, word in zip(ids, words, strict=True))
    labels, _, findings = survey(tmp_path, text, ids)
    assert "patients are named by 'patient'" in findings.lines
    assert labels is not None
    assert labels.patients is not None
    assert len(set(labels.patients.values())) == 8
    assert labels.patients["r7"] == labels.patients["r8"] == "p1"


def test_row_numbers_and_ambiguous_names() -> None:
    assert record_names_of(["7", "007", "8"], ["006", "007"]) == ["007", "007", None]
    assert record_names_of(["r1", "a/r1"], ["a/r1", "b/r1"]) == [None, "a/r1"]
    assert record_names_of(["../a/r1", "/etc/passwd", "C:\\a\\r9.csv"], ["a/r1", "a/r9"]) == ["a/r1", None, "a/r9"]
    assert record_names_of(["7", "07", "7.0"], ["7", "07"]) == ["7", "07", "7"]


@pytest.mark.parametrize(
    ("cell", "record"),
    [
        ("r1", "a/r1"),
        ("a/r1.HEA", "a/r1"),
        ("data/a/r1.dat", "a/r1"),
        ("b/r1", None),  # another folder
        ("a/r1.v2", None),  # another name
        ("r2.v1", "a/r2.v1"),
        ("r2.v1.csv", "a/r2.v1"),
        ("r2.v3", None),
        ("r2", None),
        ("r3", "r3"),
        ("b/r3", "b/r3"),
        ("x/b/r3", "b/r3"),
        ("a/r3", "r3"),
        ("r3/", None),
        ("", None),
    ],
)
def test_folders_and_endings_are_those_of_the_record(cell: str, record: str | None) -> None:
    assert record_names_of([cell], ["a/r1", "a/r2.v1", "r3", "b/r3"]) == [record]


def test_two_rows_for_one_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusFormatError, match="two rows for a/r1"):
        survey(tmp_path, "record,AF\nr1,1\nr1,0\nr2,0\nr3,1\n")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (",".join(f"c{n}" for n in range(2000)) + "\n" + ",".join("1" * 2000) + "\n", "2000 columns"),
        ("a,b,a\n1,2,3\n", "two columns called 'a'; give each its own name"),
        ("a,b\n1,2,3\n", "3 cells"),
        ("a,b\n", "no rows"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(CorpusFormatError, match=match):
        read_table(path)


def test_codes_of_headers(tmp_path: Path) -> None:
    codes = {"r1": ("426783006",), "r2": ("164889003", "59118001"), "r3": None}
    rules, findings = survey_headers(codes, LabelOptions(names=("164889003=AF", "59118001=RBBB")))
    assert findings.questions == []
    assert rows(apply_rules(rules, None, tuple(codes), codes)) == {"r1": [0, 0], "r2": [1, 1]}
