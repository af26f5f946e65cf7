"""Predicting from raw files is what the run's own evaluation was; bad files are named, long ones averaged."""

from __future__ import annotations

import csv
import io
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import expit

import ecg_transfer as et
from data_modules.corpus import LEAD_NAMES
from data_modules.reading import ReadingOptions
from data_modules.signal import prepare
from ecg_transfer.cli import main
from ecg_transfer.loaded_model import LoadedModel, load_model
from ecg_transfer.prediction import predict_files
from ecg_transfer.prediction_cli import write_table
from ecg_transfer.runs import Run
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts, write_challenge_record
from tests.data_modules.formats.ecg_writers import write_csv, write_dicom, write_edf, write_hdf5
from tests.ecg_transfer.tiny_backbone import NAME


def train(corpus: str, root: Path, output: Path, **more: object) -> Run:
    small = {"data.root": str(root), "data.num_simulated": 90, "optim.max_epochs": 2, "optim.min_updates": 0}
    overrides = small | {"optim.batch_size": 16, "trainer.accelerator": "cpu"} | more
    return et.train_from_scratch(corpus, backbone=NAME, recipe="modern", overrides=overrides, output=output)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def run(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train("cpsc2018", root, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def model(run: Run) -> LoadedModel:
    return load_model(run)


def headers_of(folder: Path, run: Run) -> list[Path]:
    """The header files of a run's test records, in the order of its predictions."""
    found = {path.stem: path for path in folder.rglob("*.hea")}
    return [found[Path(name).name] for name in run.predictions["val_selected/test"].record_ids]


def test_raw_files_give_the_stored_test_logits(run: Run, model: LoadedModel, root: Path) -> None:
    stored = run.predictions["val_selected/test"]
    files = headers_of(root / "simulated" / "cpsc2018-90", run)
    results = list(predict_files(model, files, device="cpu"))
    assert [result.error for result in results] == [None] * len(stored)
    logits = np.concatenate([result.logits for result in results if result.logits is not None])
    np.testing.assert_allclose(logits, stored.logits, atol=1e-5)
    np.testing.assert_allclose([result.probabilities for result in results], expit(stored.logits), atol=1e-5)


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.parametrize("corpus", ["cpsc2018", "georgia"])
@pytest.mark.parametrize("scale", ["minmax", "millivolt"])
def test_raw_real_files_give_the_stored_test_logits(corpus: str, scale: str, tmp_path: Path) -> None:
    (tmp_path / corpus).symlink_to(real_folder(corpus))
    run = train(corpus, tmp_path, tmp_path / "runs", **{"data.scale": scale, "data.source": "real"})
    stored = run.predictions["val_selected/test"]
    results = list(predict_files(load_model(run), headers_of(real_folder(corpus), run), device="cpu"))
    logits = np.concatenate([result.logits for result in results if result.logits is not None])
    np.testing.assert_allclose(logits, stored.logits, atol=1e-5)


def test_one_recording_has_the_same_probabilities_in_every_format(model: LoadedModel, tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(5000, 500))
    write_challenge_record(tmp_path, "a", codes)
    write_csv(tmp_path / "a.csv", codes / 1000)
    np.save(tmp_path / "a.npy", codes / 1000)
    write_hdf5(tmp_path / "a.h5", codes[None] / 1000, leads_last=True)
    write_edf(tmp_path / "a.edf", codes, 500)
    write_dicom(tmp_path / "a.dcm", codes, 500)
    said = ReadingOptions(unit="mV", sampling_rate=500, leads=LEAD_NAMES)
    full, silent = (
        [tmp_path / "a.hea", tmp_path / "a", tmp_path / "a.mat", tmp_path / "a.edf", tmp_path / "a.dcm"],
        [tmp_path / "a.npy", tmp_path / "a.h5"],
    )
    found = [*predict_files(model, full), *predict_files(model, silent, reading=said)]
    found += predict_files(model, [tmp_path / "a.csv"], reading=ReadingOptions(sampling_rate=500))
    assert [result.name for result in found][-2] == f"{tmp_path / 'a.h5'}:0"
    for result in found:
        np.testing.assert_allclose(result.probabilities, found[0].probabilities, atol=1e-5)


def test_windows_are_averaged_over_the_whole_recording(model: LoadedModel, tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(2500, 100))  # two windows side by side, and one that ends with it
    write_challenge_record(tmp_path, "a", codes, sampling_rate=100)
    (result,) = predict_files(model, [tmp_path / "a.hea"], windows=True)
    millivolts = (codes / 1000).astype(np.float32)
    starts = (0, 1000, 1500)
    parts = np.stack([prepare(millivolts[:, at : at + 1000], 100, model.preprocessing) for at in starts])
    expected = model.probabilities(parts, 100)
    assert result.logits is not None
    assert len(result.logits) == 3
    np.testing.assert_allclose(result.probabilities, expected.mean(axis=0), atol=1e-5)
    (first,) = predict_files(model, [tmp_path / "a.hea"])
    np.testing.assert_allclose(first.probabilities, expected[0], atol=1e-5)


def test_the_command_skips_bad_files_and_says_so(
    run: Run, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        write_challenge_record(tmp_path / "in", f"r{number}", as_codes(synthetic_millivolts(5000, 500, number)))
    (tmp_path / "in" / "r1.mat").write_bytes(b"cut short")
    table, plots = tmp_path / "out.csv", tmp_path / "plots"
    arguments = ["predict", "--trust", str(run.path), str(tmp_path / "in"), str(tmp_path / "none.hea")]
    monkeypatch.setattr("sys.argv", ["ecg-transfer", *arguments, "-o", str(table), "--plot", str(plots)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 3
    said = capsys.readouterr().err
    assert "r1.hea: truncated" in said
    assert f"none.hea: unreadable: there is no file or folder {tmp_path / 'none.hea'}" in said
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [Path(row["record"]).stem for row in rows] == ["r0", "r2"]
    assert sorted(path.name for path in plots.iterdir()) == ["r0.hea.png", "r2.hea.png"]
    for row in rows:
        probabilities = np.array([float(row[name]) for name in model.label_names])
        for column, thresholds in (("findings", model.thresholds), ("findings_at_0.5", 0.5)):
            above = [
                name for name, is_above in zip(model.label_names, probabilities > thresholds, strict=True) if is_above
            ]
            assert row[column] == ";".join(above)


def test_a_model_of_simulated_ecgs_says_so_beside_every_finding(
    run: Run, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    titles: list[str] = []

    def noted(*arguments: object, title: str, **more: object) -> Figure:
        titles.append(title)
        return Figure()

    monkeypatch.setattr("data_modules.plot.plot_ecg", noted)
    header = write_challenge_record(tmp_path, "r0", as_codes(synthetic_millivolts(5000, 500)))
    monkeypatch.setattr("sys.argv", ["ecg-transfer", "predict", "--trust", str(run.path), str(header)])
    monkeypatch.setattr("sys.argv", [*sys.argv, "--plot", str(tmp_path / "plots")])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr()
    (row,) = csv.DictReader(io.StringIO(said.out))
    for place in (row["notes"], said.err, *titles):
        assert "trained on SIMULATED ECGs" in place
    assert len(titles) == 1
    stream = io.StringIO(newline="")
    write_table(stream, replace(model, simulated=False), predict_files(model, [header]))
    assert "SIMULATED" not in stream.getvalue()


def test_masked_samples_are_missing_ones(model: LoadedModel) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed) for seed in range(2)])
    masked = np.ma.masked_array(signals, np.broadcast_to(np.arange(1000) == 7, signals.shape))
    with pytest.raises(ValueError, match="signals hold NaN"):
        model.probabilities(masked, 100)
    plain = np.ma.masked_array(signals)
    np.testing.assert_array_equal(model.probabilities(plain, 100), model.probabilities(signals, 100))


def test_nothing_wrong_exits_with_0_and_writes_to_the_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    header = write_challenge_record(tmp_path, "r0", as_codes(synthetic_millivolts(5000, 500)))
    monkeypatch.setattr("sys.argv", ["ecg-transfer", "predict", "--trust", str(run.path), str(header)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("record,")


def test_a_picture_of_a_long_recording_shows_its_beginning_and_says_so(
    model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[tuple[int, ...], str]] = []

    def noted(signal: np.ndarray, rate: int, *, title: str, findings: object) -> Figure:
        drawn.append((signal.shape, title))
        return Figure()

    monkeypatch.setattr("data_modules.plot.plot_ecg", noted)
    for name, seconds in (("a", 1000), ("b", 300)):
        np.save(tmp_path / f"{name}.npy", synthetic_millivolts(100 * seconds, 100))
    said = ReadingOptions(unit="mV", sampling_rate=100, leads=LEAD_NAMES)
    results = predict_files(model, [tmp_path], reading=said, keep_records=True)
    assert write_table(io.StringIO(), replace(model, simulated=False), results, tmp_path / "plots") == (2, 0)
    assert drawn == [((12, 30_000), "a.npy   the first 300 of 1,000 s"), ((12, 30_000), "b.npy")]


def test_pictures_of_an_earlier_call_are_drawn_anew(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("a", "b"):
        write_challenge_record(tmp_path / folder, "r0", as_codes(synthetic_millivolts(5000, 500)))
    plots = tmp_path / "plots"
    plots.mkdir()
    (plots / "r0.hea.png").write_bytes(b"an older model's")
    command = ["predict", "--trust", str(run.path), str(tmp_path / "a"), str(tmp_path / "b"), "--plot", str(plots)]
    monkeypatch.setattr("sys.argv", ["ecg-transfer", *command])
    for _ in range(2):
        with pytest.raises(SystemExit):
            main()
        assert sorted(path.name for path in plots.iterdir()) == ["r0.hea-2.png", "r0.hea.png"]
        assert (plots / "r0.hea.png").read_bytes() == (plots / "r0.hea-2.png").read_bytes()  # of equal recordings


def test_no_table_takes_the_place_of_a_recording_or_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    header = write_challenge_record(tmp_path / "in", "r0", as_codes(synthetic_millivolts(5000, 500)))
    signal = header.with_suffix(".mat")
    before = signal.read_bytes()
    for table in (header, signal, tmp_path / "in" / ".." / "in" / "r0.hea"):
        for given in (header, header.with_suffix(""), signal, header.parent):
            said = said_by(["predict", "no-such-model", str(given), "-o", str(table)], monkeypatch, capsys)
            assert "one of the recordings to be read; name another file" in said
    assert signal.read_bytes() == before
    said = said_by(["predict", "no-such-model", str(header), "-o", str(tmp_path)], monkeypatch, capsys)
    assert "which is a folder; name a file in it" in said
    said = said_by(["predict", "no-such-model", str(header), "-o", str(tmp_path / "out.csv")], monkeypatch, capsys)
    assert "no-such-model" in said


def said_by(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that stops says, its line breaks and frame taken out."""
    monkeypatch.setattr("sys.argv", ["ecg-transfer", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code not in (0, None)
    return " ".join(f"{stopped.value.code} {capsys.readouterr().err}".replace("│", " ").split())


def test_files_are_read_as_those_of_an_own_corpus(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed) for seed in range(4)])
    labels = {"AF": [0, 1, 0, 1]}
    et.corpus_from_arrays(signals, labels, sampling_rate=100, name="mine", root=tmp_path)
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path))
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "a.npy", signals[0])
    write_challenge_record(folder, "b", as_codes(signals[1]), sampling_rate=100)  # not of the corpus's format
    command = ["predict", "--trust", str(run.path), str(folder)]
    monkeypatch.setattr("sys.argv", ["ecg-transfer", *command, "--like", "mine"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == [str(folder / "a.npy")]
    for option in (["--unit", "uV"], ["--rate", "100"], ["--missing-leads", "zero"], ["--dataset", "x"]):
        said = said_by([*command, "--like", "mine", *option], monkeypatch, capsys)
        assert "--like reads as mine is read; leave the other options of reading out" in said
    assert "there is no corpus 'mime'" in said_by([*command, "--like", "mime"], monkeypatch, capsys)
    assert "--like is ptb, the published" in said_by([*command, "--like", "ptb"], monkeypatch, capsys)
    plot = said_by([*command, "--plot", str(folder / "a.npy")], monkeypatch, capsys)
    assert "which is a file; name a folder for the pictures" in plot


def test_a_format_that_is_none_and_a_file_that_is_not_there_are_said(model: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no format 'xyz': there are wfdb, csv"):
        next(predict_files(model, [tmp_path], format_name="xyz"))
    (result,) = predict_files(model, [tmp_path / "nosuchfile"])
    assert str(result.error) == f"unreadable: there is no file or folder {tmp_path / 'nosuchfile'}"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_records(model: LoadedModel, tmp_path: Path) -> None:
    header = write_challenge_record(tmp_path, "r0", as_codes(synthetic_millivolts(5000, 500)))

    def peak(num_records: int) -> int:
        tracemalloc.start()
        for result in predict_files(model, [header] * num_records, device="cpu"):
            assert result.error is None
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak_bytes

    assert peak(1600) < 1.2 * peak(800)
