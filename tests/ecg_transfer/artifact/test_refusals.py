"""An exported model is not believed: what is refused, and with which words."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

import ecg_transfer as et
from ecg_transfer.artifact import ExportError, ModelFolderError, export_run, load_model, read_model_folder
from ecg_transfer.runs import Run
from ecg_transfer.weights import UntrustedCodeError
from tests.ecg_transfer.artifact.exported import Folders, settings
from tests.ecg_transfer.tiny_backbone import NAME


def change(folder: Path, **fields: Any) -> None:  # noqa: ANN401
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def ecgs(number: int, factors: Sequence[float] = (1,)) -> np.ndarray:
    """Simulated recordings at 500 Hz, millivolts times a factor each, (number, 12, 5000)."""
    return np.stack([et.simulate_ecg(seed=seed) * factors[seed % len(factors)] for seed in range(number)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema_version": 3}, "schema version 3"),
        ({"schema_version": "1"}, "`schema_version` is a str, expected int"),
        ({"label_names": []}, "0 entries"),
        ({"label_names": ["AF", "AF"]}, "expected different names"),
        ({"label_names": [1]}, "expected str"),
        ({"thresholds": {"NORM": 0.5}}, "`thresholds` is no probability"),
        ({"units": "uV"}, "other leads or units"),
        ({"lead_names": ["I"]}, "other leads or units"),
        ({"preprocessing": {}}, "Preprocessing has"),
        ({"windows": {"length": 0, "stride": 1, "aggregate": "max"}}, "at least one sample"),
        ({"windows": {"length": 9, "stride": 1, "aggregate": "sum"}}, "expected one of"),
        ({"windows": {"length": 2000, "stride": 1, "aggregate": "max"}}, "do not fit into an input of 1000"),
        ({"windows": {"length": 9}}, "Windows has"),
        ({"weights": {"sha256": "../../x"}}, "expected a SHA-256"),
        ({"backbone": "resnet1d18"}, "do not fit a resnet1d18"),
        ({"training_records": [{"corpus": "x"}]}, "RecordSet has"),
        ({"pretrained_on": ["ptb"]}, "expected dict"),
    ],
)
def test_a_config_that_is_wrong_is_named(copy: Path, fields: dict[str, Any], message: str) -> None:
    change(copy, **fields)
    with pytest.raises(ModelFolderError, match=message):
        load_model(copy)


@pytest.mark.parametrize("backbone", ["os:system", "nothing"])
def test_a_backbone_that_would_have_to_be_imported_is_not(copy: Path, backbone: str) -> None:
    change(copy, backbone=backbone)
    with pytest.raises(UntrustedCodeError, match="trust=True"):
        load_model(copy)


@pytest.mark.parametrize("field", ["sampling_rate", "num_samples", "resample", "crop", "scale"])
@pytest.mark.parametrize("value", [0, -1, 10**12, 1.5, None, "x", True])
def test_a_preprocessing_that_cannot_be_is_refused(copy: Path, field: str, value: object) -> None:
    config = json.loads((copy / "config.json").read_text())
    change(copy, preprocessing=config["preprocessing"] | {field: value})
    with pytest.raises(ModelFolderError):
        load_model(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"[" * 100_000])
def test_a_torn_config_is_refused(copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    with pytest.raises(ModelFolderError):
        load_model(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    for content, message in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "has SHA-256"),
        (whole[:-10], "cannot be read"),
        (b"", "cannot be read"),
        (b"\xff" * 100, "cannot be read"),
    ):
        (copy / "model.safetensors").write_bytes(content)
        with pytest.raises(ModelFolderError, match=message):
            load_model(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError):
        load_model(copy)


def test_weights_of_other_shapes_or_without_numbers_are_refused(copy: Path) -> None:
    state = safetensors.numpy.load_file(copy / "model.safetensors")

    def replace(changed: dict[str, np.ndarray]) -> None:
        safetensors.numpy.save_file(changed, copy / "model.safetensors")
        digest = hashlib.sha256((copy / "model.safetensors").read_bytes()).hexdigest()
        change(copy, weights={"sha256": digest})

    for changed, message in (
        (state | {"head.bias": np.zeros(3, np.float32)}, r"head\.bias is \(3,\), expected \(9,\)"),
        (state | {"extra": np.zeros(3, np.float32)}, "extra is none of its weights"),
        ({name: value for name, value in state.items() if name != "head.bias"}, r"head\.bias is missing"),
        (state | {"head.bias": np.full(9, np.nan, np.float32)}, "NaN"),
    ):
        replace(changed)
        with pytest.raises(ModelFolderError, match=message):
            load_model(copy)


def test_digests_that_are_not_there_are_named(copy: Path) -> None:
    folder = read_model_folder(copy)
    safetensors.numpy.save_file({"records.0": np.zeros(3, np.int64)}, copy / "training_records.safetensors")
    with pytest.raises(ModelFolderError, match=r"records\.0 is int64 \(3,\)"):
        folder.digests(folder.record_sets[0])
    (copy / "training_records.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="has no training_records"):
        folder.digests(folder.record_sets[0])


def test_only_a_finished_untouched_run_is_exported_and_nothing_is_overwritten(
    exported: Folders, tmp_path: Path
) -> None:
    run = Run(Path(shutil.copytree(exported[0].path, tmp_path / "run")))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    with pytest.raises(ExportError, match="is there already"):
        export_run(run, tmp_path / "full")
    content = (run.path / "predictions.npz").read_bytes()
    (run.path / "predictions.npz").write_bytes(content[:-1] + b"?")
    with pytest.raises(ExportError, match=r"was changed since it finished: predictions\.npz"):
        export_run(run, tmp_path / "new")
    (run.path / "DONE").unlink()
    with pytest.raises(ExportError, match="unfinished"):
        export_run(run, tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "run"], "nothing half-written is left"


def test_ones_own_network_is_loaded_only_when_trusted(data: Path, tmp_path: Path) -> None:
    run = et.train_from_scratch(
        "cpsc2018", backbone=NAME, recipe="modern", overrides=settings(data), output=tmp_path / "runs"
    )
    folder = export_run(run, tmp_path / "model")
    with pytest.raises(UntrustedCodeError, match="trust=True"):
        load_model(folder)
    signal = np.random.default_rng(0).normal(size=(2, 12, 5000))
    expected = load_model(run).probabilities(signal, 500)
    assert np.array_equal(load_model(folder, trust=True).probabilities(signal, 500), expected)


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "config.json"])
def test_a_single_file_of_a_folder_says_which_folder_to_name(copy: Path, name: str) -> None:
    with pytest.raises(ValueError, match=f"single file of an exported model: name its folder, {copy}$"):
        load_model(copy / name)


def test_a_folder_that_was_copied_in_part_says_what_is_missing(copy: Path) -> None:
    (copy / "config.json").unlink()
    with pytest.raises(ModelFolderError, match=r"has model\.safetensors, .* and lacks config\.json"):
        load_model(copy)


def test_runs_are_given_by_name_or_directory_too(exported: Folders, tmp_path: Path) -> None:
    run, folder = exported
    assert load_model(run.name, output=str(run.path.parents[1])).source == run.name
    assert et.evaluate(str(run.path), device="cpu").as_dict() == run.scores["val_selected"].as_dict()
    again = export_run(str(run.path), str(tmp_path / "again"))
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="part is 'testt', expected one of train, val, test"):
        et.evaluate(run, "testt")


@pytest.mark.parametrize(
    ("signal", "rate", "message"),
    [
        (np.zeros((12, 5000)), 500, "have shape"),
        (np.zeros((1, 8, 5000)), 500, "have shape"),
        (np.full((1, 12, 5000), np.nan), 500, "NaN"),
        (np.zeros((1, 12, 4999)), 500, "shorter than the 10 s"),
        (np.zeros((1, 12, 5000)), 0, "sampling rate is 0"),
        (np.full((1, 12, 5000), -1234.0), 500, r"1\.23e\+03 mV.*are the signals in millivolts"),
        (np.zeros((1, 12, 5000)), 500, "12 leads of record 0 are flat"),
        (np.full((1, 12, 5000), 0.7), 500, "12 leads of record 0 are flat"),
        (ecgs(2, [1, 200]), 500, r"record 1 is .* mV high, expected 0\.05 to 20\.0 mV.*in millivolts"),
        (ecgs(2, [1, 0.001]), 500, "12 leads of record 1 are flat"),
        (ecgs(1), 257.3, r"257\.3, expected a whole number of Hz"),
        (ecgs(1), float("nan"), "nan, expected a whole number of Hz"),
    ],
)
def test_recordings_it_cannot_take_are_named(exported: Folders, signal: np.ndarray, rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(exported[1]).probabilities(signal, rate)


def test_lists_tensors_and_whole_floats_are_taken_as_arrays_are(exported: Folders) -> None:
    model, signals = load_model(exported[1]), ecgs(2)
    expected = model.probabilities(signals, 500)
    for same, rate in ((signals.tolist(), 500.0), (torch.from_numpy(signals), np.int64(500)), (list(signals), 500)):
        np.testing.assert_array_equal(model.probabilities(same, rate), expected)
