from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_modules.corpus import RecordError
from data_modules.published_record import read_published
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts, write_challenge_record

ECG = synthetic_millivolts(5000, 500)


@pytest.mark.parametrize("scale", ["4880/mV", "200/mV", "2000000/mV", "0/mV", "nan/mV", "1000/mmHg", "(0)/mV"])
def test_a_wrong_gain_is_replaced_and_named_where_the_published_one_fits(tmp_path: Path, scale: str) -> None:
    header = write_challenge_record(tmp_path, "E00001", as_codes(ECG), scale=scale)
    record = read_published(header, "E00001", gain=1000, sampling_rate=500)
    assert record.notes == ("gain_replaced",)
    np.testing.assert_allclose(record.signal, ECG, atol=0.0006)


@pytest.mark.parametrize("scale", ["1000/mV", "1000.0(0)/mV", "1000/mv", "1/uV"])
def test_the_right_gain_is_used_without_a_note(tmp_path: Path, scale: str) -> None:
    header = write_challenge_record(tmp_path, "E00001", as_codes(ECG), scale=scale)
    assert read_published(header, "E00001", gain=1000, sampling_rate=500).notes == ()


@pytest.mark.parametrize("true_gain", [10, 20_000])
def test_a_wrong_gain_is_refused_where_the_published_one_does_not_fit(tmp_path: Path, true_gain: int) -> None:
    codes = np.clip(ECG * true_gain, -32767, 32767).astype(np.int16)
    header = write_challenge_record(tmp_path, "E00001", codes, scale="4880/mV")
    with pytest.raises(RecordError, match="4880 A/D units per mV where 1000 are published"):
        read_published(header, "E00001", gain=1000, sampling_rate=500)


def test_a_changed_sample_is_noted(tmp_path: Path) -> None:
    codes = as_codes(ECG)
    header = write_challenge_record(tmp_path, "A0001", codes)
    raw = bytearray((tmp_path / "A0001.mat").read_bytes())
    raw[5000] ^= 1
    (tmp_path / "A0001.mat").write_bytes(raw)
    assert read_published(header, "A0001", gain=1000, sampling_rate=500).notes == ("checksum_mismatch",)


def test_another_sampling_rate_is_refused(tmp_path: Path) -> None:
    header = write_challenge_record(tmp_path, "A0001", as_codes(ECG), sampling_rate=250)
    with pytest.raises(RecordError, match="250 Hz, this corpus at 500 Hz"):
        read_published(header, "A0001", gain=1000, sampling_rate=500)


def test_without_a_published_gain_the_header_is_trusted_or_refused(tmp_path: Path) -> None:
    header = write_challenge_record(tmp_path, "A0001", as_codes(ECG, 500), scale="500/mV")
    np.testing.assert_allclose(read_published(header, "A0001", gain=None, sampling_rate=500).signal, ECG, atol=0.002)
    header = write_challenge_record(tmp_path, "A0002", as_codes(ECG), scale="0/mV")
    with pytest.raises(RecordError, match="gain"):
        read_published(header, "A0002", gain=None, sampling_rate=500)
