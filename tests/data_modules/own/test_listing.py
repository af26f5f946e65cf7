"""Which files of a folder are records, and which rows of a table are theirs."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_modules.corpus import LEAD_NAMES, CorpusFormatError
from data_modules.own.adding import UnclearCorpusError, add_corpus
from data_modules.own.label_survey import LabelOptions
from data_modules.own.listing import Place, falling_numbers
from data_modules.reading import ReadingOptions
from data_modules.sources import open_corpus
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts, write_challenge_record
from tests.data_modules.formats.ecg_writers import write_dicom
from tests.data_modules.own.own_folder import NUM_RECORDS, add, write_folder


def test_records_and_rows_without_each_other_are_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    lines = (folder / "labels.csv").read_text().splitlines()
    (folder / "labels.csv").write_text("\n".join([*lines[:-2], "gone,p9,1,1"]) + "\n")
    (folder / "ecgs" / "r00.csv").write_text("I,II\nx,y\n")
    corpus, said = add(folder)
    assert corpus.table.set_aside == {"gone": "no_signal", "r22": "no_labels", "r23": "no_labels"}
    assert "set aside: no_labels 2, no_signal 1, unreadable 1" in said


def test_rows_in_order_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    exams = [12, 3, 110, 7, 25, 1, 9, 88, 2, 30, 41, 5]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tracings"] = np.stack([synthetic_millivolts(1000, 100, seed=n) for n in range(12)])
        file["exam_id"] = exams
    (tmp_path / "labels.csv").write_text("AF,MI\n" + "".join(f"{n % 2},{int(n % 3 == 0)}\n" for n in range(12)))
    said: list[str] = []
    corpus = add_corpus(
        "mine", tmp_path / "a.h5", root=tmp_path / "data", labels=tmp_path / "labels.csv", say=said.append,
        reading=ReadingOptions(unit="mV", sampling_rate=100, leads=LEAD_NAMES), progress=False,
        label_options=LabelOptions(in_order=True),
    )  # fmt: skip
    assert "rows in the records' order: the first is 12, the second 3, the last 5" in said
    assert list(corpus.table.record_ids) == sorted(map(str, exams))
    rows = [exams.index(int(name)) for name in corpus.table.record_ids]
    assert corpus.table.labels.tolist() == [[row % 2, int(row % 3 == 0)] for row in rows]
    np.testing.assert_allclose(corpus.read("110").signal, synthetic_millivolts(1000, 100, seed=2), atol=1e-5)


def test_rows_in_order_are_not_taken_for_files_whose_numbers_do_not_rise(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    (folder / "labels.csv").write_text("AF\n" + "".join(f"{n % 2}\n" for n in range(NUM_RECORDS)))
    corpus, _ = add(folder, label_options=LabelOptions(in_order=True))
    assert corpus.table.labels[:, 0].tolist() == [n % 2 for n in range(NUM_RECORDS)]
    (folder / "ecgs" / "r02.csv").rename(folder / "ecgs" / "r2.csv")
    with pytest.raises(UnclearCorpusError, match="puts r19 before r2: "):
        add(folder, label_options=LabelOptions(in_order=True), replace_old=True)


@pytest.mark.parametrize("name", ["README.txt", "LICENSE.txt", "SHA256SUMS.txt", "changelog.csv"])
def test_what_comes_with_a_data_set_is_no_recording(tmp_path: Path, name: str) -> None:
    for number in range(6):
        codes = as_codes(synthetic_millivolts(5000, 500, number))
        write_challenge_record(tmp_path / "ecgs", f"r{number}", codes, comments=(f"#Dx: {number % 2}",))
    (tmp_path / "ecgs" / name).write_text("no recording\n")
    corpus = add_corpus("mine", tmp_path / "ecgs", root=tmp_path / "data", progress=False)
    assert corpus.table.record_ids == tuple(f"r{number}" for number in range(6))


def test_exports_of_an_archive_need_no_ending(tmp_path: Path) -> None:
    names = [f"IM00000{n}" for n in range(3)] + [f"1.2.840.10008.{n}" for n in range(3)] + ["a.dcm"]
    signals = {name: as_codes(synthetic_millivolts(5000, 500, seed)) for seed, name in enumerate(names)}
    folder = tmp_path / "ecgs" / "ST0"
    folder.mkdir(parents=True)
    for name, codes in signals.items():
        write_dicom(folder / name, codes, 500)
    (folder.parent / "DICOMDIR").write_bytes(b"no recording")
    (folder / "notes.txt").write_text("no recording")
    ids = {f"ST0/{name.removesuffix('.dcm')}": name for name in names}
    table = "record,AF\n" + "".join(f"{record_id},{n % 2}\n" for n, record_id in enumerate(ids))
    (tmp_path / "labels.csv").write_text(table)
    corpus, _ = add(tmp_path, ReadingOptions(), format_name="dicom")
    assert corpus.table.record_ids == tuple(sorted(ids))
    assert corpus.table.labels[:, 0].tolist() == [list(ids).index(name) % 2 for name in sorted(ids)]
    for record_id, name in ids.items():  # a step of a code is 1 uV
        np.testing.assert_allclose(corpus.read(record_id).signal, signals[name] / 1000, atol=1e-6)
    assert open_corpus("mine", root=tmp_path / "data").table.record_ids == corpus.table.record_ids
    assert falling_numbers({name: Place(Path(f"/a/1.2.840.{name}")) for name in ("10", "9")}) == (
        "1.2.840.10",
        "1.2.840.9",
    )
    with pytest.raises(CorpusFormatError, match="holds no edf record"):
        add(tmp_path, format_name="edf", replace_old=True)


def test_several_formats_in_one_folder_are_a_question(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_challenge_record(tmp_path / "ecgs", "r99", as_codes(synthetic_millivolts(5000, 500, 0)))
    with pytest.raises(CorpusFormatError, match=r"several formats \(csv 24, wfdb 1\); say which with --format"):
        add(tmp_path)
