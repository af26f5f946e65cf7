from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_modules.corpora.ptb import PTB
from data_modules.corpus import LEAD_NAMES, CorpusFormatError, CorpusNotFoundError
from data_modules.quality import screen
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts

ECG = synthetic_millivolts(3000, 1000)


def write(root: Path, patient: str, name: str, reason: str | None, gain: str = "2000") -> None:
    folder = root / patient
    folder.mkdir(exist_ok=True)
    as_codes(ECG, 2000).T.tofile(folder / f"{name}.dat")
    lines = [f"{name} 15 1000 3000"]
    lines += [f"{name}.dat 16 {gain} 16 0 {round(ECG[i, 0] * 2000)}" for i in range(12)]
    lines = [lines[0]] + [f"{line} {total} 0 {lead.lower()}" for line, total, lead in zip(
        lines[1:], as_codes(ECG, 2000).astype(int).sum(axis=1), LEAD_NAMES, strict=True)]  # fmt: skip
    lines += [f"{name}.xyz 16 2000 16 0 0 0 0 {lead}" for lead in ("vx", "vy", "vz")]
    lines += ["", "# age: 81", "# Diagnose:"]
    lines += [] if reason is None else [f"# Reason for admission: {reason}"]
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n")


def test_labels_patients_and_what_is_set_aside(tmp_path: Path) -> None:
    write(tmp_path, "patient002", "s0015lre", "Healthy control")
    write(tmp_path, "patient001", "s0016lre", "Myocardial infarction")
    write(tmp_path, "patient001", "s0010_re", "Myocardial infarction")
    write(tmp_path, "patient003", "s0003_re", "Bundle branch block")
    write(tmp_path, "patient004", "s0004_re", "n/a")
    write(tmp_path, "patient005", "s0005_re", None)
    write(tmp_path, "patient006", "s0006_re", "Healthy control")
    (tmp_path / "patient006" / "s0006_re.dat").unlink()
    corpus = PTB(tmp_path)
    table = corpus.table
    assert table.record_ids == ("s0003_re", "s0010_re", "s0015lre", "s0016lre")
    assert table.patient_ids == ("patient003", "patient001", "patient002", "patient001")
    np.testing.assert_array_equal(table.labels, [[0, 0], [0, 1], [1, 0], [0, 1]])
    assert table.set_aside == {"s0004_re": "no_diagnosis", "s0005_re": "no_diagnosis", "s0006_re": "no_signal"}
    record = corpus.read("s0015lre")  # there is no .xyz file: only the twelve leads are read
    np.testing.assert_allclose(record.signal, ECG, atol=0.0003)
    assert record.notes == ()


def test_a_wrong_gain_is_replaced_by_2000(tmp_path: Path) -> None:
    write(tmp_path, "patient001", "s0010_re", "Healthy control", gain="200")
    record = PTB(tmp_path).read("s0010_re")
    assert record.notes == ("gain_replaced",)
    np.testing.assert_allclose(record.signal, ECG, atol=0.0003)


def test_what_is_no_ptb(tmp_path: Path) -> None:
    with pytest.raises(CorpusNotFoundError, match="patient001"):
        PTB(tmp_path)
    write(tmp_path, "patient001", "s0010_re", "Healthy control")
    write(tmp_path, "patient002", "s0010_re", "Healthy control")
    with pytest.raises(CorpusFormatError, match="twice"):
        _ = PTB(tmp_path).table


@pytest.mark.real
def test_real_record() -> None:
    corpus = PTB(real_folder("ptb"))
    assert corpus.table.record_ids == ("s0010_re",)
    np.testing.assert_array_equal(corpus.table.labels, [[0, 1]])
    record = screen(corpus.read("s0010_re"), 10)
    assert record.signal.shape == (12, 38400)
    assert record.notes == ()
    assert record.signal[0, 0] == np.float32(-489 / 2000)  # the header's initial value
