"""Arrays in memory become a corpus that a run finds again; a call that fails changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_modules.cache import open_cache
from data_modules.config import DataConfig
from data_modules.corpus import CorpusFormatError
from data_modules.own.adding import describe
from data_modules.own.arrays import corpus_from_arrays
from data_modules.own.definition import definition_path
from data_modules.sources import open_corpus, will_simulate
from tests.data_modules.ecg_files import synthetic_millivolts


def test_arrays_become_a_corpus(tmp_path: Path) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed=n) for n in range(12)])
    labels = np.stack([np.arange(12) % 2, np.arange(12) % 3 == 0], axis=1)
    folds = [1] * 8 + [9, 9, 10, 10]
    corpus = corpus_from_arrays(
        signals.swapaxes(1, 2), labels, label_names=("AF", "MI"), sampling_rate=100, name="memory", root=tmp_path,
        patients=list(range(12)), folds=folds,
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
