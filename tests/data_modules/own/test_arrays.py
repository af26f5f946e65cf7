"""Arrays in memory become a corpus that a run finds again; a call that fails changes nothing."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_modules.cache import open_cache
from data_modules.config import DataConfig
from data_modules.corpus import LEAD_NAMES, CorpusFormatError
from data_modules.own.adding import add_corpus, describe
from data_modules.own.alarm import CorpusWarning
from data_modules.own.arrays import corpus_from_arrays
from data_modules.own.definition import definition_path
from data_modules.reading import ReadingOptions
from data_modules.sources import open_corpus, will_simulate
from tests.data_modules.ecg_files import synthetic_millivolts


def test_arrays_become_a_corpus(tmp_path: Path) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed=n) for n in range(12)])
    labels = np.stack([np.arange(12) % 2, np.arange(12) % 3 == 0], axis=1)
    folds = [1] * 8 + [9, 9, 10, 10]
    corpus = corpus_from_arrays(
        signals.swapaxes(1, 2), labels, label_names=("AF", "MI"), sampling_rate=100, name=np.str_("memory"),
        root=tmp_path, patients=list(range(12)), folds=folds,
    )  # fmt: skip
    again = open_corpus("memory", root=tmp_path)
    np.testing.assert_array_equal(again.table.labels, labels)
    assert again.table.folds is not None
    assert again.table.folds.tolist() == folds
    cache = open_cache(again, DataConfig().preprocessing(again.spec), tmp_path / "cache")
    assert not any("nothing can be learnt" in line for line in describe(again, cache))
    assert "patients: 12; the folds say which are on which side of a split" in describe(again, cache)
    np.testing.assert_allclose(again.read("05").signal, signals[5], atol=1e-6)
    assert corpus.root == again.root
    assert not again.is_simulated
    made = corpus_from_arrays(
        signals, {"AF": labels[:, 0]}, sampling_rate=100, name="made", root=tmp_path, simulated=True
    )
    assert made.is_simulated
    assert will_simulate("made", tmp_path, "auto")
    with pytest.raises(CorpusFormatError, match="replace=True"):
        corpus_from_arrays(signals, {"AF": labels[:, 0]}, sampling_rate=100, name="memory", root=tmp_path)
    for ids in (["../x", *"abcdefghijk"], ["a"] * 12):
        with pytest.raises(CorpusFormatError, match="record ids"):
            corpus_from_arrays(
                signals, {"AF": labels[:, 0]}, sampling_rate=100, name="m2", root=tmp_path, record_ids=ids
            )


def test_patients_whom_the_folds_tear_apart_are_told(tmp_path: Path) -> None:
    given = {
        "labels": {"AF": np.arange(12) % 2},
        "sampling_rate": 100,
        "root": tmp_path,
        "folds": [1, 2, 8, 1] * 2 + [9, 9, 10, 10],
    }
    said: list[str] = []
    corpus_from_arrays(arrays(), name="torn", patients=[*"ababcdcdaeef"], say=said.append, **given)  # type: ignore[arg-type]
    (line,) = [line for line in said if "SEVERAL SIDES" in line]
    assert line.startswith("  2 OF THEM")  # a trains and validates, e validates and tests
    with warnings.catch_warnings():
        warnings.simplefilter("error", CorpusWarning)
        corpus_from_arrays(arrays(), name="whole", patients=[*"ababcdcdeeff"], **given)  # type: ignore[arg-type]


def test_masked_samples_are_none_and_masked_labels_are_refused(tmp_path: Path) -> None:
    signals = np.ma.masked_array(arrays(), mask=np.zeros((12, 12, 1000), dtype=bool))
    signals[:, :, 100:102] = np.ma.masked
    np.ma.getdata(signals)[:, :, 100:102] = 9.0
    labels = {"AF": np.arange(12) % 2}
    corpus = corpus_from_arrays(signals, labels, sampling_rate=100, name="masked", root=tmp_path)
    assert np.isnan(corpus.read("03").signal[:, 100:102]).all()
    np.testing.assert_allclose(corpus.read("03").signal[:, 102:], arrays()[3, :, 102:], atol=1e-6)
    unknown = np.ma.masked_array(labels["AF"], mask=np.arange(12) == 5)
    table = pd.DataFrame({"AF": pd.array([True, None] * 6, dtype="boolean")})
    for given in ({"AF": unknown}, table, dict(table)):
        with pytest.raises(CorpusFormatError, match="the label AF should be 0 or 1 in each record"):
            corpus_from_arrays(arrays(), given, sampling_rate=100, name="other", root=tmp_path)


def arrays(number: int = 12) -> NDArray[np.float64]:
    return np.stack([synthetic_millivolts(1000, 100, seed=seed) for seed in range(number)])


def test_a_call_that_fails_leaves_the_old_corpus(tmp_path: Path) -> None:
    signals, labels = arrays(), {"AF": np.arange(12) % 2}
    corpus = corpus_from_arrays(signals, labels, sampling_rate=100, name="kept", root=tmp_path)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "kept").rglob("*")) if path.is_file()}
    yaml_before = definition_path(tmp_path, "kept").read_bytes()
    for bad, options in ((signals[:5], {}), (signals * 1e6, {}), (signals[:, :, :9], {}), (signals, {"unit": "kV"})):
        with pytest.raises((ValueError, KeyError)):
            corpus_from_arrays(
                bad, {"MI": [0, 1] * (len(bad) // 2)}, sampling_rate=100, name="kept", root=tmp_path, replace=True,
                **options,  # type: ignore[arg-type]
            )  # fmt: skip
        assert {p: p.read_bytes() for p in sorted((tmp_path / "kept").rglob("*")) if p.is_file()} == before
        assert definition_path(tmp_path, "kept").read_bytes() == yaml_before
    np.testing.assert_array_equal(open_corpus("kept", root=tmp_path).read("03").signal, corpus.read("03").signal)
    corpus_from_arrays(-signals, labels, sampling_rate=100, name="kept", root=tmp_path, replace=True)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["labels.csv", "signals"]
    np.testing.assert_allclose(open_corpus("kept", root=tmp_path).read("03").signal, -signals[3], atol=1e-6)
    with pytest.raises(CorpusFormatError):
        corpus_from_arrays(signals * 1e6, labels, sampling_rate=100, name="new", root=tmp_path)
    assert not (tmp_path / "new").exists()


def test_arrays_are_described_as_notebooks_do(tmp_path: Path) -> None:
    frame = pd.DataFrame({"AF": np.arange(12) % 2, "sinus rhythm": np.arange(12) % 3 == 0})
    patients = [None, float("nan"), np.nan, *[np.int64(5)] * 3, "a", "a", None, 1.5, 2, 3]
    corpus = corpus_from_arrays(
        arrays(), frame, sampling_rate=100, name="frame", root=tmp_path, record_ids=np.arange(12) * 10,
        patients=patients, folds=np.array([1.0] * 8 + [9.0, 9.0, 10.0, 10.0]),
    )  # fmt: skip
    table = corpus.table
    assert table.record_ids == tuple(sorted(str(10 * row) for row in range(12)))
    rows = [int(name) // 10 for name in table.record_ids]
    np.testing.assert_array_equal(table.labels, frame.to_numpy()[rows])
    assert table.label_names == ("AF", "sinus rhythm")
    assert table.patient_ids is not None
    assert len(set(table.patient_ids)) == 4 + 1 + 1 + 3
    assert table.folds is not None
    assert sorted(table.folds.tolist()) == [1] * 8 + [9, 9, 10, 10]
    with pytest.raises(KeyError, match=r"frame has no record '7'; its 12 records are 0, 10, 100"):
        corpus.read("7")


@pytest.mark.parametrize("name", ["record", "Patient", "fold", "split", "a=b", "a;b", "a,b", " AF", ""])
def test_labels_that_a_table_cannot_hold_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CorpusFormatError, match="a label cannot be called"):
        corpus_from_arrays(arrays(4), {name: [0, 1, 0, 1]}, sampling_rate=100, name="mine", root=tmp_path)
    assert not (tmp_path / "mine").exists()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("is_added", [True, False])
def test_what_the_user_put_there_is_never_replaced(tmp_path: Path, is_added: bool) -> None:
    folder = tmp_path / "hosp"
    (folder / "signals").mkdir(parents=True)
    for number, signal in enumerate(arrays()):
        np.save(folder / "signals" / f"r{number:02d}.npy", signal)
    (folder / "labels.csv").write_text("record,AF\n" + "".join(f"r{n:02d},{n % 2}\n" for n in range(12)))
    if is_added:  # of the very form that this function writes
        reading = ReadingOptions(unit="mV", leads=LEAD_NAMES, sampling_rate=100)
        add_corpus("hosp", folder / "signals", root=tmp_path, labels=folder / "labels.csv", reading=reading)
    before = contents(tmp_path)
    with pytest.raises(CorpusFormatError, match=r"hosp/signals and .*labels\.csv.* would be lost, .* another name"):
        corpus_from_arrays(arrays(), {"AF": [0, 1] * 6}, sampling_rate=100, name="hosp", root=tmp_path, replace=True)
    assert contents(tmp_path) == before


def test_a_description_of_records_elsewhere_is_not_replaced(tmp_path: Path) -> None:
    options = {"sampling_rate": 100, "root": tmp_path, "replace": True}
    corpus_from_arrays(arrays(), {"AF": [0, 1] * 6}, name="one", **options)  # type: ignore[arg-type]
    definition_path(tmp_path, "two").write_text(
        definition_path(tmp_path, "one").read_text().replace("name: one", "name: two")
    )
    with pytest.raises(CorpusFormatError, match=r"two\.yaml would be lost"):
        corpus_from_arrays(arrays(), {"AF": [0, 1] * 6}, name="two", **options)  # type: ignore[arg-type]
    shutil.move(tmp_path / "one" / "signals", tmp_path / "one" / ".signals.before")  # as a killed process leaves it
    corpus_from_arrays(arrays(), {"AF": [1, 0] * 6}, name="one", **options)  # type: ignore[arg-type]
    assert open_corpus("one", root=tmp_path).table.labels[:, 0].tolist() == [1, 0] * 6


@pytest.mark.parametrize("rate", [np.int64(100), np.float32(100), 100.0, np.array(100)])
def test_a_rate_is_a_whole_number_of_any_kind_and_leads_are_texts_of_any_kind(tmp_path: Path, rate: float) -> None:
    corpus_from_arrays(
        arrays(), {"AF": [0, 1] * 6}, sampling_rate=rate, name="mine", root=tmp_path, leads=np.array(LEAD_NAMES)
    )
    corpus = open_corpus("mine", root=tmp_path)
    assert corpus.spec.sampling_rates == (100,)
    np.testing.assert_allclose(corpus.read("03").signal, arrays()[3], atol=1e-6)


@pytest.mark.parametrize("rate", [257.5, 0, -100, float("nan"), float("inf")])
def test_other_rates_are_refused_before_anything_is_written(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="expected a whole number of Hz from 1 to 10000"):
        corpus_from_arrays(arrays(), {"AF": [0, 1] * 6}, sampling_rate=rate, name="mine", root=tmp_path)
    assert not (tmp_path / "mine").exists()


def test_a_column_of_texts_is_told_how_it_becomes_labels(tmp_path: Path) -> None:
    texts = pd.Series(["AF", "NORM;MI", "AF;MI", ""] * 3)
    with pytest.raises(CorpusFormatError, match=r"of texts labels\.str\.get_dummies\(';'\) makes them"):
        corpus_from_arrays(arrays(), texts, sampling_rate=100, name="mine", root=tmp_path)
    labels = texts.str.get_dummies(";")
    table = corpus_from_arrays(arrays(), labels, sampling_rate=100, name="mine", root=tmp_path).table
    assert table.label_names == ("AF", "MI", "NORM")
    assert table.labels[:4].tolist() == [[1, 0, 0], [0, 1, 1], [1, 1, 0], [0, 0, 0]]


ALARMS = [
    ({"sampling_rate": 300}, {}, r"heart rate: 180 a minute .* IS THE SAMPLING RATE RIGHT"),
    ({"leads": ("II", "I", *LEAD_NAMES[2:])}, {}, "limb leads do NOT satisfy"),
    ({"folds": [1] * 20 + [9] * 20}, {}, "^NO RECORD IS LEFT TO TEST"),
    ({}, {7: np.nan}, "^set aside: missing_samples 1$|^07: missing_samples: 07 lacks 10 s in a row of lead I,"),
    ({"labels": {"AF": [0, 1] * 20, "MI": [0] * 40}}, {}, "nothing can be learnt of MI"),
]


@pytest.mark.parametrize(("options", "broken", "alarm"), ALARMS)
def test_what_looks_wrong_is_warned_of(
    tmp_path: Path, options: dict[str, object], broken: dict[int, float], alarm: str
) -> None:
    signals = arrays(40)
    for number, value in broken.items():
        signals[number] = value
    given = {"labels": {"AF": [0, 1] * 20}, "sampling_rate": 100, "name": "mine", "root": tmp_path} | options
    with pytest.warns(CorpusWarning, match=alarm) as warned:
        corpus_from_arrays(signals, **given)  # type: ignore[arg-type]
    assert {warning.filename for warning in warned} == {__file__}
    lines: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus_from_arrays(signals, **given, replace=True, say=lines.append)  # type: ignore[arg-type]
    assert {str(warning.message) for warning in warned} < {line.strip() for line in lines}


def test_of_a_sound_corpus_nothing_is_warned(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corpus_from_arrays(arrays(40), {"AF": [0, 1] * 20}, sampling_rate=100, name="mine", root=tmp_path)
