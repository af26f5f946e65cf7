from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_modules.corpora import CORPORA
from data_modules.corpora.cpsc2018 import CPSC2018
from data_modules.corpora.georgia import Georgia
from data_modules.corpus import CorpusFormatError, CorpusNotFoundError, RecordError
from data_modules.quality import screen
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts, write_challenge_record

CODES = as_codes(synthetic_millivolts(5000, 500))


def write(folder: Path, name: str, *comments: str) -> Path:
    return write_challenge_record(folder, name, CODES, comments=comments)


def test_table_from_groups_in_any_spelling_of_dx(tmp_path: Path) -> None:
    write(tmp_path / "g10", "E09999", "#Dx: 426783006")
    write(tmp_path / "g2", "E01001", "# Dx: 164889003,59118001, 428750005")
    write(tmp_path / "g1", "E00002", "#Age: NaN", "#Dx:")
    write(tmp_path / "g1", "E00003", "#Dx: Normal")
    write(tmp_path / "g1", "E00004", "#Sex: Female")
    write(tmp_path / "g1", "E00005", "#Dx: 428750005").with_suffix(".mat").unlink()
    write(tmp_path / "g1", "E00006", "#Dx: 1").write_text("nonsense")
    write(tmp_path / "g1", "E00007", "#Dx: 284470004,284470004")
    write(tmp_path / "g1", "A0001", "#Dx: 426783006")  # another source of the challenge
    (tmp_path / "g1" / "RECORDS").write_text("E00001\nE01001\n")  # over-claims, as the published one does
    corpus = Georgia(tmp_path)
    table = corpus.table
    assert table.record_ids == ("E00002", "E00007", "E01001", "E09999")
    assert table.files == ("g1/E00002.hea", "g1/E00007.hea", "g2/E01001.hea", "g10/E09999.hea")
    names = [{name for name, on in zip(table.label_names, row, strict=True) if on} for row in table.labels]
    assert names == [set(), {"PAC"}, {"AF"}, {"NORM"}]
    assert table.set_aside == {
        "E00003": "label_unknown", "E00004": "no_labels", "E00005": "no_signal", "E00006": "header",
    }  # fmt: skip
    assert "2 other SNOMED CT codes" in table.notices[0]
    assert table.patient_ids is None
    assert table.folds is None
    np.testing.assert_allclose(corpus.read("E01001").signal, CODES / 1000, atol=1e-6)


def test_flat_folder(tmp_path: Path) -> None:
    write(tmp_path, "A0002", "#Dx: 164884008")
    corpus = CPSC2018(tmp_path)
    assert corpus.table.files == ("A0002.hea",)
    assert corpus.table.labels[0, corpus.label_names.index("VEB")] == 1
    assert corpus.read("A0002").signal.shape == (12, 5000)


def test_one_source_is_not_taken_for_another(tmp_path: Path) -> None:
    write(tmp_path / "g1", "Q0001", "#Dx: 426783006")
    for corpus in (CPSC2018, Georgia):
        assert not corpus.is_present(tmp_path)
        with pytest.raises(CorpusNotFoundError, match=r"g1, g2"):
            corpus(tmp_path)
    assert not CPSC2018.is_present(tmp_path / "nowhere")


def test_a_record_in_two_folders_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "g1", "A0001", "#Dx: 426783006")
    write(tmp_path / "g2", "A0001", "#Dx: 426783006")
    with pytest.raises(CorpusFormatError, match="A0001 twice"):
        _ = CPSC2018(tmp_path).table


def test_missing_sample_code_is_nan_and_a_short_gap_is_filled(tmp_path: Path) -> None:
    codes = CODES.copy()
    codes[2, 100:110] = -32768
    write_challenge_record(tmp_path / "g1", "E00001", codes)
    record = Georgia(tmp_path).read("E00001")
    assert np.isnan(record.signal[2, 100:110]).all()
    assert np.nanmin(record.signal) > -5
    assert screen(record).notes == ("gap_filled",)


def test_a_truncated_matlab_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "g1", "E00001", "#Dx: 426783006").with_suffix(".mat")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RecordError, match="truncated"):
        Georgia(tmp_path).read("E00001")


@pytest.mark.real
def test_real_cpsc2018_sample() -> None:
    root = real_folder("cpsc2018")
    corpus = CPSC2018(root)
    table = corpus.table
    assert len(table) == 310
    assert not table.set_aside
    for code, name in CPSC2018.label_codes.items():
        found = sum(code in path.read_text() for path in root.glob("g1/*.hea"))
        assert table.labels[:, table.label_names.index(name)].sum() == found
    assert all(screen(corpus.read(record_id)).notes == () for record_id in table.record_ids)


@pytest.mark.real
def test_real_georgia_sample_with_an_older_releases_gain() -> None:
    corpus = Georgia(real_folder("georgia"))
    notes = {record_id: screen(corpus.read(record_id)).notes for record_id in corpus.table.record_ids}
    assert len(notes) == 15
    assert {record_id: note for record_id, note in notes.items() if note} == {"E00015": ("gain_replaced",)}


@pytest.mark.parametrize("name", ["cpsc2018", "georgia"])
def test_datasheet_has_a_count_for_every_label(name: str) -> None:
    spec = CORPORA[name].spec
    assert tuple(spec.label_counts) == spec.label_sets["classes"]
