"""Faults planted in a small corpus are named, and nothing else is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules import record_checks
from data_modules.config import DataConfig
from data_modules.corpus_check import check_corpus, leaks
from data_modules.datamodule import ECGDataModule
from data_modules.findings import LEAKS, MEANINGS, Finding, summarise
from data_modules.lead_swaps import FROM_CHEST
from data_modules.reread import changed_records
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.data_modules.test_near_copies import recordings

NUMBER = 40
FOLDS = [9 if number in (5, 6, 7) else 10 if number in (10, 11, 12) else 1 for number in range(NUMBER)]


def write(
    root: Path, signals: NDArray[np.float32], folds: Sequence[int] | None = FOLDS, patients: Sequence[str] | None = None
) -> FakeCorpus:
    corpus = write_fake_corpus(root, random_labels(len(signals), shares=(1, 0.5, 0.3)), folds=folds, patients=patients)
    for record_id, signal in zip(corpus.table.record_ids, signals, strict=True):
        np.save(root / f"{record_id}.npy", signal.T)
    return FakeCorpus(root)


def opened(corpus: FakeCorpus, **fields: object) -> ECGDataModule:
    config = DataConfig(corpus="fake", root=str(corpus.root.parent), **fields)  # type: ignore[arg-type]
    data = ECGDataModule(config, corpus=corpus, progress=False)
    data.setup()
    return data


def hearts(number: int = NUMBER, seed: int = 0) -> NDArray[np.float32]:
    """Limb leads that agree with each other, and with the chest leads as far as nobody's arms are swapped."""
    signals = recordings(number, seed=seed)
    one, two = (signals[:, :, 6:] @ (weights.astype(np.float32) + np.float32(0.05)) for weights in FROM_CHEST)
    limbs = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.concatenate([np.stack(limbs, 2), signals[:, :, 6:]], axis=2).astype(np.float32)


def of(code: str, findings: Sequence[Finding]) -> list[tuple[str, ...]]:
    return [finding.records for finding in findings if finding.code == code]


def test_a_sound_corpus_has_no_findings(tmp_path: Path) -> None:
    assert check_corpus(opened(write(tmp_path / "fake", hearts()))) == []


def test_each_fault_is_named_once(tmp_path: Path) -> None:
    signals = hearts()
    signals[6] = signals[20] * np.float32(0.7)  # validation and train
    signals[33] = signals[30]  # both in train
    signals[15] *= 12
    signals[16, :, 8] = 0
    one, three = signals[17, :, 0].copy(), signals[17, :, 2].copy()
    signals[17, :, :6] = np.stack([-one, three, three + one, (one - three) / 2, -one - three / 2, three + one / 2], 1)
    signals[18, :, 0] *= -1
    data = opened(write(tmp_path / "fake", signals))
    findings = check_corpus(data)
    assert of("copy_across_parts", findings) == [("r006", "r020")]
    assert of("copy", findings) == [("r006", "r020"), ("r030", "r033")]
    assert of("gain", findings) == [("r015",)]
    assert of("flat_lead", findings) == [("r016",)]
    assert ("r017",) in of("right_arm_swapped", findings)
    assert of("lead_identity", findings) == [("r018",)]
    codes = [finding.code for finding in findings]
    assert codes == sorted(codes, key=list(MEANINGS).index)
    assert summarise(findings)["copy"] == 2
    details = {finding.records: finding.detail for finding in findings if finding.code == "copy"}
    assert details["r030", "r033"] == "sample by sample"
    assert "times the corpus's median" in next(finding.detail for finding in findings if finding.code == "gain")
    assert [finding.code for finding in leaks(data)] == ["copy_across_parts"]


@pytest.mark.parametrize("num_short", [20, 24])
def test_short_recordings_are_measured_without_the_zeros_behind_them(tmp_path: Path, num_short: int) -> None:
    signals = hearts() + np.float32(5)  # the electrodes' offset: padding ends it with a step
    signals[2, :, :6] = signals[2][:, (0, 2, 1, 4, 3, 5)] * np.float32([-1, 1, 1, 1, 1, 1])  # right arm for left arm
    signals[18] = signals[17]
    corpus = write(tmp_path / "fake", signals)
    for number in range(num_short):
        np.save(corpus.root / f"r{number:03d}.npy", signals[number, :330].T)
    data = opened(FakeCorpus(corpus.root), short="pad")
    assert len(data.cache.notes) == num_short
    findings = check_corpus(data)
    assert {(finding.code, finding.records) for finding in findings} == {
        ("right_arm_swapped", ("r002",)),
        ("copy", ("r017", "r018")),
    }
    measured = record_checks.record_checks(data.cache, 100).amplitudes
    for number, signal in enumerate(signals):
        seconds = signal[: 300 if number < num_short else 1000].reshape(-1, 100, 12)
        assert measured[number] == pytest.approx(np.median(np.ptp(seconds, axis=1)), rel=1e-6)


def test_a_corpus_of_which_a_model_gets_flat_lines_is_named(tmp_path: Path) -> None:
    signals = np.concatenate([hearts()] * 3, axis=1)
    signals[:30, :1000] = np.arange(1, 31)[:, None, None]  # what follows is an ECG, so that the records are kept
    data = opened(write(tmp_path / "fake", signals), crop="first")
    amplitudes = record_checks.record_checks(data.cache, 100).amplitudes
    assert np.median(amplitudes) == 0
    assert summarise(check_corpus(data))["gain_of_corpus"] == 1


@pytest.mark.parametrize("factor", [0.2, 4.88])
def test_the_wrong_gain_of_a_whole_corpus_is_seen(tmp_path: Path, factor: float) -> None:
    signals = hearts()
    typical = np.median(signals[:, :100].max(axis=1) - signals[:, :100].min(axis=1))
    sound = (signals * (0.98 / typical)).astype(np.float32)  # PTB-XL's median
    assert of("gain_of_corpus", check_corpus(opened(write(tmp_path / "fake", sound)))) == []
    wrong = opened(write(tmp_path / "wrong" / "fake", sound * np.float32(factor)))
    (finding,) = [finding for finding in check_corpus(wrong) if finding.code == "gain_of_corpus"]
    assert "expected 0.25 to 2.5 mV" in finding.detail


def test_patients_on_two_sides_are_named_where_the_split_ignores_them(tmp_path: Path) -> None:
    patients = [f"p{number // 4}" for number in range(NUMBER)]
    corpus = write(tmp_path / "fake", hearts(), folds=None, patients=patients)
    assert leaks(opened(corpus)) == []
    data = opened(corpus, split="paper")
    part_of = {data.record_ids[row]: part for part, rows in data.rows.items() for row in rows}
    expected = {
        patient: sorted({part_of[f"r{number:03d}"] for number in range(NUMBER) if patients[number] == patient})
        for patient in patients
    }
    found = of("patient_across_parts", leaks(data))
    assert len(found) == sum(len(parts) > 1 for parts in expected.values()) > 0
    assert all(len({patients[int(name[1:])] for name in records}) == 1 for records in found)


def test_an_upstreams_recordings_are_found_at_another_rate_and_gain(tmp_path: Path) -> None:
    theirs = hearts(30, seed=5)
    ours = hearts()
    ours[10], ours[20] = theirs[3] * np.float32(4.88), theirs[4]  # a test and a training record
    upstream = opened(write(tmp_path / "up" / "fake", theirs, folds=[9, 10, *[1] * 28]))
    data = opened(write(tmp_path / "fake", ours))
    found = leaks(data, upstream)
    assert of("copy_in_upstream", found) == [("r010", "r003")]
    assert {finding.code for finding in found} <= set(LEAKS)


def test_patients_of_one_publication_are_compared_by_their_ids(tmp_path: Path) -> None:
    patients = [f"p{number // 2}" for number in range(NUMBER)]
    corpus = write(tmp_path / "fake", hearts(), folds=None, patients=patients)
    same = leaks(opened(corpus), opened(corpus))
    assert of("patient_in_upstream", same) == []
    other = opened(corpus, split_seed=5)
    data = opened(corpus)
    trained = {patients[row] for row in other.rows["train"]}
    wanted = {patients[row] for part in ("val", "test") for row in data.rows[part]} & trained
    found = of("patient_in_upstream", leaks(data, other))
    assert {patients[int(names[0][1:])] for names in found} == wanted != set()


def test_measurements_are_made_once_and_again_when_torn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signals = hearts()
    signals[33] = signals[30]
    data = opened(write(tmp_path / "fake", signals))
    first = check_corpus(data)
    (path,) = (tmp_path / "cache").glob("*.checks.npz")
    with monkeypatch.context() as patched:
        patched.setattr(record_checks, "sketch", None)  # is not called
        assert check_corpus(data) == first
    path.write_bytes(path.read_bytes()[:1000])
    assert check_corpus(data) == first
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_beyond_some_size_only_exact_copies_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_checks, "MAX_COMPARED", 10)
    signals = hearts()
    signals[33], signals[6] = signals[30], signals[20] * np.float32(0.7)
    findings = check_corpus(opened(write(tmp_path / "fake", signals)))
    assert of("copy", findings) == [("r030", "r033")]
    assert len(of("not_compared", findings)) == 1


def test_an_edit_that_keeps_size_and_time_is_found_by_reading_again(tmp_path: Path) -> None:
    corpus = write(tmp_path / "fake", hearts())
    data = opened(corpus)
    before = data.files_digest()
    assert changed_records(data) == {}
    path = corpus.root / "r004.npy"
    status = path.stat()
    np.save(path, np.load(path)[:, ::-1].copy())
    assert opened(corpus).files_digest() != before
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = opened(corpus)
    assert again.files_digest() == before  # cheap, and blind to this
    assert list(changed_records(again)) == ["r004"]
    np.save(path, np.full((12, 3), 0.1, np.float32))
    assert "short" in changed_records(again)["r004"]


def test_a_damaged_cache_is_found_by_reading_again(tmp_path: Path) -> None:
    data = opened(write(tmp_path / "fake", hearts()))
    mapped = data.cache.signals
    assert isinstance(mapped, np.memmap)
    signals = np.memmap(data.cache.path, np.float32, "r+", offset=mapped.offset, shape=mapped.shape)
    signals[7, 500, 3] += 1
    signals.flush()
    assert list(changed_records(data)) == ["r007"]
    assert "is damaged" in changed_records(data)["r007"]
