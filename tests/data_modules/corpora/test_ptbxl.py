from __future__ import annotations

import ast
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from data_modules.corpora.ptbxl import PTBXL, parse_scp_codes
from data_modules.corpus import LEAD_NAMES, CorpusFormatError, CorpusNotFoundError
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts

SIZES = {"superclass": 5, "all": 71, "diagnostic": 44, "subdiagnostic": 23, "form": 19, "rhythm": 12}

TABLE = """ecg_id,patient_id,age,scp_codes,strat_fold
1003,7.0,50,"{'NORM': 100.0, 'SR': 0.0}",1
1001,7.0,50,"{'IMI': 35.0, 'LAO/LAE': 0.0, 'ABQRS': 0.0, 'SR': 0.0}",1
1002,,50,"{'NOSUCH': 100.0, 'NDT': 50}",10
1004,8,50,"{'NORM': 100.0}",3
1005,9,50,__import__('os'),3
"""


def write_record(root: Path, number: int, rate: int = 100) -> None:
    folder = root / f"records{rate}" / "01000"
    folder.mkdir(parents=True, exist_ok=True)
    codes = as_codes(synthetic_millivolts(10 * rate, rate, seed=number))
    names = [name.upper() for name in LEAD_NAMES]
    wfdb.wrsamp(f"{number:05d}_{'lr' if rate == 100 else 'hr'}", fs=rate, units=["mV"] * 12, sig_name=names,
                d_signal=codes.T, fmt=["16"] * 12, adc_gain=[1000.0] * 12, baseline=[0] * 12,
                write_dir=str(folder))  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ptbxl_database.csv").write_text(TABLE)
    for number in (1001, 1002, 1003, 1005, 1006):
        write_record(tmp_path, number)
    return tmp_path


def test_table_and_what_is_set_aside(root: Path) -> None:
    corpus = PTBXL(root)
    table = corpus.table
    assert table.record_ids == ("01001", "01002", "01003")
    assert table.label_names == ("NORM", "MI", "STTC", "HYP", "CD")
    np.testing.assert_array_equal(table.labels, [[0, 1, 0, 1, 0], [0, 0, 1, 0, 0], [1, 0, 0, 0, 0]])
    assert table.labels.dtype == np.uint8
    assert table.patient_ids == ("7", "record:01002", "7")
    assert table.folds is not None
    assert table.folds.tolist() == [1, 10, 1]
    assert table.set_aside == {"01004": "no_signal", "01005": "label_unknown", "01006": "no_labels"}
    assert [n for n in table.notices if "1 of 3 rows" in n]
    assert [n for n in table.notices if "NOSUCH (1)" in n]
    record = corpus.read("01002")
    np.testing.assert_allclose(record.signal, synthetic_millivolts(1000, 100, seed=1002), atol=0.0006)
    assert (record.sampling_rate, record.notes) == (100, ())
    assert (root / table.files[1]).is_file()


@pytest.mark.parametrize(("label_set", "size"), SIZES.items())
def test_the_six_official_label_sets(root: Path, label_set: str, size: int) -> None:
    corpus = PTBXL(root, label_set=label_set)
    assert len(corpus.label_names) == len(set(corpus.label_names)) == size
    assert corpus.table.labels.shape == (3, size)


def test_the_other_rate(root: Path) -> None:
    with pytest.raises(CorpusNotFoundError, match="records500"):
        _ = PTBXL(root, sampling_rate=500).table
    write_record(root, 1003, rate=500)
    corpus = PTBXL(root, sampling_rate=500)
    assert corpus.table.record_ids == ("01003",)
    assert corpus.read("01003").signal.shape == (12, 5000)
    assert pickle.loads(pickle.dumps(corpus)).read("01003").sampling_rate == 500


def test_wrong_uses_are_refused(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ValueError, match="superclass, all, diagnostic"):
        PTBXL(root, label_set="super")
    with pytest.raises(ValueError, match="100, 500"):
        PTBXL(root, sampling_rate=250)
    with pytest.raises(CorpusNotFoundError, match=r"ptbxl_database\.csv"):
        PTBXL(tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("line", ["1001,7,50,{},1\n", "x,7,50,{},1\n", "1e9,7,50,{},1\n", "2000,7\n", "2000,7,5,{},\n"])
def test_a_broken_table_is_refused(root: Path, line: str) -> None:
    (root / "ptbxl_database.csv").write_text(TABLE + line)
    with pytest.raises(CorpusFormatError, match="line 7"):
        _ = PTBXL(root).table


def test_a_table_without_its_columns_is_refused(root: Path) -> None:
    (root / "ptbxl_database.csv").write_text("ecg_id,patient_id,strat_fold\n")
    with pytest.raises(CorpusFormatError, match="scp_codes"):
        _ = PTBXL(root).table


@pytest.mark.parametrize("text", ["", "NORM", "{'NORM'}", "{'A': 1", "{'A': f()}", "{'A': 1} or x", "[('A', 1)]"])
def test_scp_codes_that_are_no_plain_dictionary_are_not_read(text: str) -> None:
    assert parse_scp_codes(text) is None


@pytest.mark.real
@pytest.mark.parametrize("label_set", SIZES)
def test_real_labels_equal_pandas_and_the_published_statement_table(label_set: str) -> None:
    root = real_folder("ptbxl")
    table = PTBXL(root, label_set=label_set).table
    rows = pd.read_csv(root / "ptbxl_database.csv", index_col="ecg_id", usecols=["ecg_id", "scp_codes", "strat_fold"])
    statements = pd.read_csv(root / "scp_statements.csv", index_col=0)
    if label_set in ("superclass", "subdiagnostic", "diagnostic"):
        chosen = statements[statements.diagnostic == 1]
        column = {"superclass": "diagnostic_class", "subdiagnostic": "diagnostic_subclass"}.get(label_set)
        label_of = chosen[column].to_dict() if column else {code: code for code in chosen.index}
    else:
        chosen = statements if label_set == "all" else statements[statements[label_set] == 1]
        label_of = {code: code for code in chosen.index}
    sets = rows.scp_codes.map(lambda text: {label_of[code] for code in ast.literal_eval(text) if code in label_of})
    expected = np.array([[name in labels for name in table.label_names] for labels in sets.sort_index()])
    assert set(table.label_names) == set(label_of.values())
    assert table.record_ids == tuple(f"{number:05d}" for number in sorted(rows.index))
    np.testing.assert_array_equal(table.labels, expected)
    np.testing.assert_array_equal(table.folds, rows.sort_index().strat_fold)


@pytest.mark.real
def test_real_corpus_has_all_signals_and_26_without_labels() -> None:
    table = PTBXL(real_folder("ptbxl")).table
    assert len(table) == 21_811
    assert list(table.set_aside.values()) == ["no_labels"] * 26
    assert dict(zip(table.label_names, table.labels.sum(axis=0), strict=True)) == {
        "NORM": 9518, "MI": 5472, "STTC": 5238, "HYP": 2651, "CD": 4900,
    }  # fmt: skip
