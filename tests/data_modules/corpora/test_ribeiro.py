from __future__ import annotations

import csv
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from data_modules.corpora.ribeiro import Ribeiro
from data_modules.corpus import CorpusFormatError, CorpusNotFoundError, RecordError
from data_modules.quality import screen
from tests.data_modules.ecg_files import real_folder, synthetic_millivolts

NAMES = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")


def write_annotations(root: Path, rows: list[tuple[int, ...]]) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    lines = [",".join(NAMES), *(",".join(map(str, row)) for row in rows)]
    (root / "annotations" / "gold_standard.csv").write_text("\n".join(lines) + "\n")


def padded(seconds: int, seed: int) -> NDArray[np.float32]:
    tracing = np.zeros((4096, 12), dtype=np.float32)
    start = (4096 - 400 * seconds) // 2
    tracing[start : start + 400 * seconds] = synthetic_millivolts(400 * seconds, 400, seed).T
    return tracing


@pytest.fixture
def tracings() -> NDArray[np.float32]:
    return np.stack([padded(10, 0), padded(7, 1), padded(10, 2)])


@pytest.fixture
def root(tmp_path: Path, tracings: NDArray[np.float32]) -> Path:
    write_annotations(tmp_path, [(0,) * 6, (1, 0, 1, 0, 0, 0), (0, 0, 0, 0, 0, 1)])
    write(tmp_path, tracings)
    return tmp_path


def write(root: Path, tracings: NDArray[np.floating], **options: object) -> None:
    with h5py.File(root / "ecg_tracings.hdf5", "w") as file:
        file.create_dataset("tracings", data=tracings, **options)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 4096, 12), "compression": "gzip"}])
def test_labels_and_the_recorded_part(root: Path, tracings: NDArray[np.float32], options: dict[str, object]) -> None:
    write(root, tracings, **options)
    corpus = Ribeiro(root)
    table = corpus.table
    assert table.record_ids == ("0000", "0001", "0002")
    assert table.label_names == ("NORM", *NAMES)
    expected = [[1, 0, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1]]
    np.testing.assert_array_equal(table.labels, expected)
    assert table.notices == ()
    for row, seconds in enumerate((10, 7, 10)):
        record = corpus.read(f"{row:04d}")
        assert record.signal.shape == (12, 400 * seconds)
        np.testing.assert_array_equal(record.signal, synthetic_millivolts(400 * seconds, 400, row).astype(np.float32))
        assert screen(record).notes == ()
    again = pickle.loads(pickle.dumps(corpus))
    np.testing.assert_array_equal(again.read("0001").signal, corpus.read("0001").signal)


@pytest.mark.parametrize("order", [(4, 5, 3), (3, 5, 4), (5, 4, 3), (4, 3, 5), (5, 3, 4)])
def test_order_of_the_augmented_leads_is_found_and_said(
    root: Path, tracings: NDArray[np.float32], order: tuple[int, int, int]
) -> None:
    write(root, tracings[:, :, [0, 1, 2, *order, *range(6, 12)]])
    corpus = Ribeiro(root)
    names = ", ".join({3: "aVR", 4: "aVL", 5: "aVF"}[column] for column in order)
    assert f"augmented leads as {names}" in corpus.table.notices[0]
    np.testing.assert_array_equal(corpus.read("0000").signal, tracings[0, 48:4048].T)


def test_leads_that_fit_in_no_order_are_refused(root: Path, tracings: NDArray[np.float32]) -> None:
    write(root, tracings[:, :, ::-1])
    with pytest.raises(CorpusFormatError, match="identities"):
        _ = Ribeiro(root).table


@pytest.mark.parametrize(("unit", "factor"), [("1e-4V", 10), ("uV", 1000), ("V", 0.001)])
def test_a_unit_is_never_guessed_but_asked_for(
    root: Path, tracings: NDArray[np.float32], unit: str, factor: float
) -> None:
    write(root, tracings * np.float32(factor))
    with pytest.raises(CorpusFormatError, match="unit= one of: mV, 1e-4V"):
        _ = Ribeiro(root).table
    corpus = Ribeiro(root, unit=unit)  # type: ignore[arg-type]
    np.testing.assert_allclose(corpus.read("0000").signal, tracings[0, 48:4048].T, rtol=1e-5)
    with pytest.raises(ValueError, match="furlong"):
        Ribeiro(root, unit="furlong")  # type: ignore[arg-type]


def test_hostile_hdf5_files_are_refused_before_anything_is_read(root: Path, tracings: NDArray[np.float32]) -> None:
    path = root / "ecg_tracings.hdf5"
    secret = root / "secret.h5"
    write(root, tracings)
    path.rename(secret)

    def refused(match: str) -> None:
        with pytest.raises(CorpusFormatError, match=match):
            _ = Ribeiro(root).table

    with h5py.File(path, "w") as file:
        file["tracings"] = h5py.ExternalLink("secret.h5", "tracings")
    refused("no dataset `tracings` in the file itself")
    with h5py.File(path, "w") as file:
        file["tracings"] = h5py.SoftLink("/elsewhere")
    refused("no dataset `tracings`")
    with h5py.File(path, "w") as file:
        layout = h5py.VirtualLayout(shape=tracings.shape, dtype="f4")
        layout[:] = h5py.VirtualSource("secret.h5", "tracings", shape=tracings.shape)
        file.create_virtual_dataset("tracings", layout)
    refused("lies in the file itself")
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", shape=tracings.shape, dtype="f4", external=[(str(secret), 0, 3 * 4096 * 48)])
    refused("lies in the file itself")
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", shape=(10**9, 4096, 12), dtype="f4", chunks=(1, 4096, 12))
    assert path.stat().st_size < 10_000
    refused("shape")
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", shape=tracings.shape, dtype="f4", chunks=(1, 4096, 12))
    refused("holds 0 of")
    write(root, tracings.astype(np.int16))
    refused("int16")
    path.write_bytes(b"no HDF5")
    refused("file signature not found")


def test_annotations_and_tracings_must_match(root: Path) -> None:
    write_annotations(root, [(0,) * 6] * 4)
    with pytest.raises(CorpusFormatError, match=r"\(3, 4096, 12\), expected \(4, 4096, 12\)"):
        _ = Ribeiro(root).table
    (root / "annotations" / "gold_standard.csv").write_text(",".join(NAMES) + "\n0,0,2,0,0,0\n")
    with pytest.raises(CorpusFormatError, match="0 and 1"):
        _ = Ribeiro(root).table
    (root / "annotations" / "gold_standard.csv").write_text("RBBB,LBBB\n0,1\n")
    with pytest.raises(CorpusFormatError, match="1dAVb, SB, AF, ST"):
        _ = Ribeiro(root).table


def test_an_empty_tracing_is_set_aside(root: Path, tracings: NDArray[np.float32]) -> None:
    tracings[1] = 0
    write(root, tracings)
    with pytest.raises(RecordError, match="flat"):
        Ribeiro(root).read("0001")


def test_both_files_are_needed(root: Path) -> None:
    (root / "ecg_tracings.hdf5").unlink()
    with pytest.raises(CorpusNotFoundError, match=r"ecg_tracings\.hdf5"):
        Ribeiro(root)


@pytest.mark.real
def test_real_annotations_have_the_published_counts(tmp_path: Path) -> None:
    with (real_folder("ribeiro") / "annotations" / "gold_standard.csv").open() as file:
        rows = [tuple(int(row[name]) for name in NAMES) for row in csv.DictReader(file)]
    write_annotations(tmp_path, rows)
    signals = np.zeros((len(rows), 4096, 12), dtype=np.float16)
    signals[:] = padded(10, 0)
    write(tmp_path, signals)
    table = Ribeiro(tmp_path).table
    assert dict(zip(table.label_names, table.labels.sum(axis=0).tolist(), strict=True)) == Ribeiro.spec.label_counts
