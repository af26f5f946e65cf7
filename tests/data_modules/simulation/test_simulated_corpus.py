"""Every simulated layout, read by software that is not ours."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.signal
import wfdb

from data_modules.corpora.scp_statements import SCP_STATEMENTS
from data_modules.corpus import LEAD_NAMES
from data_modules.simulation import SIMULATED_SIZES, is_simulated, simulate_corpus
from data_modules.simulation.corpora.cinc import CPSC2018, GEORGIA, QUIRKS

NUM_RECORDS = 110


@pytest.fixture(scope="module", params=SIMULATED_SIZES)
def any_corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, simulate_corpus(request.param, tmp_path_factory.mktemp("any") / "corpus", num_records=12)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("corpora")
    return {name: simulate_corpus(name, root / name, num_records=NUM_RECORDS) for name in SIMULATED_SIZES}


def digest(root: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes() if path.is_file() else b"")
    return total.hexdigest()


def test_the_same_seed_gives_the_same_bytes(any_corpus: tuple[str, Path], tmp_path: Path) -> None:
    name, root = any_corpus
    assert digest(root) == digest(simulate_corpus(name, tmp_path / "again", num_records=12))
    other = digest(simulate_corpus(name, tmp_path / "other", num_records=12, seed=1))
    assert other != digest(root)


def test_a_finished_folder_is_found_and_another_order_replaces_it(any_corpus: tuple[str, Path], tmp_path: Path) -> None:
    name, _ = any_corpus
    root = simulate_corpus(name, tmp_path / "corpus", num_records=3)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert simulate_corpus(name, root, num_records=3) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    simulate_corpus(name, root, num_records=4)
    assert json.loads((root / "SIMULATED.json").read_text())["num_records"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"], "nothing half-made is left behind"


def test_the_marker_says_what_it_is(any_corpus: tuple[str, Path]) -> None:
    name, root = any_corpus
    marker = json.loads((root / "SIMULATED.json").read_text())
    assert {key: marker[key] for key in ("corpus", "num_records", "seed")} == {
        "corpus": name,
        "num_records": 12,
        "seed": 0,
    }
    assert "Simulated" in marker["note"]
    assert is_simulated(root)


def test_real_recordings_are_never_touched(tmp_path: Path) -> None:
    real = tmp_path / "georgia"
    real.mkdir()
    assert not is_simulated(real)
    (real / "E00001.hea").write_text("real")
    with pytest.raises(FileExistsError, match=r"no SIMULATED\.json"):
        simulate_corpus("georgia", real, num_records=2)
    assert [path.name for path in real.iterdir()] == ["E00001.hea"]
    empty = tmp_path / "empty"
    empty.mkdir()
    assert is_simulated(simulate_corpus("georgia", empty, num_records=2))


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data_modules.simulation.corpora.cinc.write_mat", fail)
    with pytest.raises(KeyboardInterrupt):
        simulate_corpus("georgia", tmp_path / "georgia", num_records=2)
    assert not list(tmp_path.iterdir())


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cpsc2018"):
        simulate_corpus("cpsc", tmp_path / "x", num_records=2)
    with pytest.raises(ValueError, match="at least 1"):
        simulate_corpus("ptb", tmp_path / "x", num_records=0)


def check_wfdb(path: Path, rate: int, names: tuple[str, ...], gain: float) -> wfdb.Record:
    """Read with wfdb; compare checksums and first values of the header with wfdb's own of the samples."""
    record = wfdb.rdrecord(str(path), physical=False)
    stated = wfdb.rdheader(str(path))
    assert record.fs == rate
    assert tuple(record.sig_name) == names
    assert set(record.adc_gain) == {gain}
    assert [total % 65536 for total in stated.checksum] == record.calc_checksum()
    assert stated.init_value == record.d_signal[0].tolist()
    return record


def check_identities(codes: np.ndarray) -> None:
    """Einthoven and Goldberger, to the rounding of three integers."""
    one, two, three, avr, avl, avf = codes.T[:6].astype(float)
    for rest in (three - two + one, avr + (one + two) / 2, avl - (one - three) / 2, avf - (two + three) / 2):
        assert np.abs(rest).max() <= 1.5


@pytest.mark.parametrize("name", ["cpsc2018", "georgia"])
def test_cinc_files(corpora: dict[str, Path], name: str) -> None:
    corpus = {"cpsc2018": CPSC2018, "georgia": GEORGIA}[name]
    headers = sorted(corpora[name].rglob("*.hea"))
    assert len(headers) == NUM_RECORDS
    assert {path.parent.name for path in headers} == {f"g{k}" for k in range(1, corpus.published // 1000 + 2)}
    for header in headers[::9]:
        path = header.with_suffix("")
        record = check_wfdb(path, 500, LEAD_NAMES, 1000.0)
        check_identities(record.d_signal)
        matrix = scipy.io.loadmat(path.with_suffix(".mat"))["val"]
        assert matrix.dtype == np.int16
        assert np.array_equal(matrix, record.d_signal.T)
        assert record.comments[2].startswith("Dx: ")
    listed = sorted(line for path in corpora[name].rglob("RECORDS") for line in path.read_text().split())
    assert listed == sorted(path.stem for path in headers)


@pytest.mark.parametrize("name", ["cpsc2018", "georgia"])
def test_cinc_labels(corpora: dict[str, Path], name: str) -> None:
    corpus = {"cpsc2018": CPSC2018, "georgia": GEORGIA}[name]
    diagnoses = [
        set(line.removeprefix("#Dx: ").split(","))
        for path in corpora[name].rglob("*.hea")
        for line in path.read_text().splitlines()
        if line.startswith("#Dx")
    ]
    for code, (_, published) in corpus.labels.items():
        positives = sum(code in found for found in diagnoses)
        assert positives >= 4
        assert positives == pytest.approx(published / corpus.published * NUM_RECORDS, abs=7)
    normal = next(iter(corpus.labels))
    assert all(found == {normal} for found in diagnoses if normal in found)


def test_cpsc_lengths_and_georgia_lengths(corpora: dict[str, Path]) -> None:
    lengths = {
        name: np.array([int(path.read_text().split()[3]) for path in corpora[name].rglob("*.hea")])
        for name in ("cpsc2018", "georgia")
    }
    assert 3000 <= lengths["cpsc2018"].min() < 5000 < lengths["cpsc2018"].max() <= 30000
    assert np.median(lengths["georgia"]) == 5000 == lengths["georgia"].max()
    assert lengths["georgia"].min() < 5000


def test_cinc_quirks(tmp_path: Path) -> None:
    root = simulate_corpus("georgia", tmp_path / "georgia", num_records=len(QUIRKS), quirks=True)
    headers = sorted(root.rglob("*.hea"), key=lambda path: path.stem)
    texts = [path.read_text() for path in headers]
    samples = [scipy.io.loadmat(path.with_suffix(".mat"))["val"] for path in headers]
    by_quirk = {quirk: texts[index] for index, quirk in enumerate(QUIRKS)}
    assert by_quirk["mat in first line"].split()[0].endswith(".mat")
    assert by_quirk["gain 4880"].count("4880/mV") == 12
    assert by_quirk["empty Dx"].splitlines()[15] == "#Dx:"
    assert "male\n" in by_quirk["lower case"]
    assert by_quirk["no age"].splitlines()[13] == "#Age: NaN"
    assert (samples[QUIRKS.index("missing")] == -32768).sum() == 12 * 30
    duplicate = QUIRKS.index("duplicate")
    same_length = samples[duplicate].shape == samples[duplicate - 1].shape
    assert np.array_equal(samples[duplicate], samples[duplicate - 1]) == same_length


def test_ptbxl_files(corpora: dict[str, Path]) -> None:
    root = corpora["ptbxl"]
    table = pd.read_csv(root / "ptbxl_database.csv", index_col="ecg_id")
    assert len(table) == NUM_RECORDS
    names = tuple(name.upper() for name in LEAD_NAMES)
    for _, row in table.iloc[::11].iterrows():
        fast = check_wfdb(root / row.filename_hr, 500, names, 1000.0)
        slow = check_wfdb(root / row.filename_lr, 100, names, 1000.0)
        check_identities(fast.d_signal)
        check_identities(slow.d_signal)
        assert (fast.sig_len, slow.sig_len) == (5000, 1000)
        reference = scipy.signal.decimate(fast.d_signal.astype(float), 5, ftype="fir", axis=0)
        inner = slice(50, -50)
        assert np.corrcoef(reference[inner].ravel(), slow.d_signal[inner].ravel())[0, 1] > 0.99


def test_ptbxl_tables(corpora: dict[str, Path]) -> None:
    table = pd.read_csv(corpora["ptbxl"] / "ptbxl_database.csv", index_col="ecg_id")
    statements = pd.read_csv(corpora["ptbxl"] / "scp_statements.csv", index_col=0)
    assert list(statements.index) == [statement.code for statement in SCP_STATEMENTS]
    diagnostic = statements[statements.diagnostic == 1]
    superclasses = table.scp_codes.apply(
        lambda text: {diagnostic.diagnostic_class[code] for code in ast.literal_eval(text) if code in diagnostic.index}
    )
    for name, published in {"NORM": 9528, "MI": 5486, "STTC": 5250, "HYP": 2655, "CD": 4907}.items():
        share = np.mean([name in found for found in superclasses])
        assert share == pytest.approx(published / 21837, abs=0.03)
    assert set(table.strat_fold) == set(range(1, 11))
    assert (table.groupby("patient_id").strat_fold.nunique() == 1).all()
    assert table.patient_id.nunique() < len(table)


def test_ptbxl_quirks(tmp_path: Path) -> None:
    root = simulate_corpus("ptbxl", tmp_path / "ptbxl", num_records=60, quirks=True)
    table = pd.read_csv(root / "ptbxl_database.csv")
    signals = {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*_lr.hea")}
    assert len(signals) == 60
    assert len(signals - set(table.filename_lr)) == 1, "one record has signals and no row"
    assert ((table.age <= 85) | (table.age == 300)).all()


def test_ptbxl_patients_keep_age_and_sex(corpora: dict[str, Path]) -> None:
    table = pd.read_csv(corpora["ptbxl"] / "ptbxl_database.csv")
    assert (table.groupby("patient_id").sex.nunique() == 1).all()
    assert (table.groupby("patient_id").age.nunique() == 1).all()


def test_ptb_files(corpora: dict[str, Path]) -> None:
    root = corpora["ptb"]
    listed = (root / "RECORDS").read_text().split()
    assert len(listed) == NUM_RECORDS
    assert sorted(listed) == sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.hea"))
    names = (*(name.lower() for name in LEAD_NAMES), "vx", "vy", "vz")
    reasons: dict[str, set[str]] = {}
    for line in listed:
        record = wfdb.rdheader(str(root / line))
        reason = next(comment for comment in record.comments if comment.startswith("Reason for admission: "))
        reasons.setdefault(line.split("/")[0], set()).add(reason.removeprefix("Reason for admission: "))
    assert all(len(found) == 1 for found in reasons.values()), "a patient has one reason"
    for line in listed[::15]:
        record = check_wfdb(root / line, 1000, names, 2000.0)
        check_identities(record.d_signal[:, :12])
        assert 12000 <= record.sig_len <= 16000
    assert len(reasons) < 0.75 * NUM_RECORDS
    assert {"Myocardial infarction", "Healthy control", "n/a"} <= {name for found in reasons.values() for name in found}


def test_ribeiro_files(corpora: dict[str, Path]) -> None:
    root = corpora["ribeiro"]
    gold = pd.read_csv(root / "annotations" / "gold_standard.csv")
    attributes = pd.read_csv(root / "attributes.csv")
    assert list(gold.columns) == ["1dAVb", "RBBB", "LBBB", "SB", "AF", "ST"]
    assert list(attributes.columns) == ["age", "sex"]
    assert set(attributes.sex) == {"M", "F"}
    assert (gold.sum() >= 4).all()
    with h5py.File(root / "ecg_tracings.hdf5") as file:
        tracings = file["tracings"][:]
    assert tracings.shape == (NUM_RECORDS, 4096, 12)
    assert tracings.dtype == np.float32
    assert len(gold) == len(attributes) == NUM_RECORDS
    margins = np.argmax((tracings != 0).any(axis=2), axis=1)
    assert set(margins) == {48, 648}
    for tracing, margin in zip(tracings, margins, strict=True):
        assert not tracing[4096 - margin :].any()
        np.testing.assert_allclose(tracing[:, 2], tracing[:, 1] - tracing[:, 0], atol=1e-4)
        np.testing.assert_allclose(tracing[:, 3], -(tracing[:, 0] + tracing[:, 1]) / 2, atol=1e-4)


def test_a_record_does_not_depend_on_the_others(tmp_path: Path) -> None:
    """Person and recording come from the record's own stream: the same labels give the same ECG in any corpus size."""
    small, large = (simulate_corpus("ribeiro", tmp_path / str(size), num_records=size) for size in (20, 21))
    rows = []
    for root in (small, large):
        with h5py.File(root / "ecg_tracings.hdf5") as file:
            rows.append(file["tracings"][:20])
    gold = [pd.read_csv(root / "annotations" / "gold_standard.csv").to_numpy()[:20] for root in (small, large)]
    same = (gold[0] == gold[1]).all(axis=1)
    assert same.any()
    assert np.array_equal(rows[0][same], rows[1][same])


@pytest.mark.real
def test_headers_are_worded_as_the_authentic_ones(corpora: dict[str, Path], real_data: Path) -> None:
    """Line by line, with numbers and names of records wiped out."""

    def shape(path: Path) -> list[str]:
        lines = path.read_bytes().decode().split("\n")
        signals = [
            re.sub(r"-?\d{3,}", "N", " ".join([line.split()[0][-4:], *line.split()[1:5]])) for line in lines[1:13]
        ]
        names = [line.split()[-1] for line in lines[1:13]]
        return [re.sub(r"[\d.:-]+", "N", lines[0].replace(path.stem, "")), *signals, *names, lines[1][-1]]

    for simulated, real in (
        ("cpsc2018/g1/A0001.hea", "cpsc2018/g1/A0001.hea"),
        ("georgia/g1/E00001.hea", "georgia/g1/E00001.hea"),
        ("ptbxl/records500/00000/00001_hr.hea", "ptbxl/records500/00000/00001_hr.hea"),
        ("ptbxl/records100/00000/00001_lr.hea", "ptbxl/records100/00000/00001_lr.hea"),
        ("ptb/patient001/s0010_re.hea", "ptb/patient001/s0010_re.hea"),
    ):
        assert shape(corpora["ptb"].parent / simulated) == shape(real_data / real)
    comments = [
        {line.split(":")[0] for line in (root / "patient001/s0010_re.hea").read_text().splitlines() if line[:1] == "#"}
        for root in (corpora["ptb"], real_data / "ptb")
    ]
    assert comments[0] <= comments[1]
    authentic = pd.read_csv(real_data / "ptbxl" / "ptbxl_database.csv", nrows=1).columns.drop("row_source")
    simulated = pd.read_csv(corpora["ptbxl"] / "ptbxl_database.csv", nrows=1).columns
    assert list(simulated) == list(authentic)
    statements = [pd.read_csv(root / "scp_statements.csv") for root in (corpora["ptbxl"], real_data / "ptbxl")]
    assert list(statements[0].columns) == list(statements[1].columns)
