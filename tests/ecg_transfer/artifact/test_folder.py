"""A run taken away: the folder gives the run's own numbers, and says what it is."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
import yaml
from scipy.special import expit

import ecg_transfer as et
from data_modules.corpora.cpsc2018 import CPSC2018
from data_modules.signal import prepare
from ecg_transfer.artifact import ExportError, export_run, load_model, read_model_folder
from ecg_transfer.export import RecordsUnknownWarning
from ecg_transfer.model_card import model_card
from tests.ecg_transfer.artifact.exported import Folders, settings
from tests.ecg_transfer.tiny_backbone import NAME


def test_the_weights_are_the_runs(exported: Folders) -> None:
    run, folder = exported
    theirs = safetensors.numpy.load_file(folder / "model.safetensors")
    ours = {name: value.numpy() for name, value in run.model().state_dict().items()}
    assert theirs.keys() == ours.keys()
    assert all(np.array_equal(theirs[name], ours[name]) for name in ours)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert json.loads((folder / "config.json").read_text())["weights"]["sha256"] == digest


def test_it_gives_the_runs_own_logits_from_the_record_files(exported: Folders, data: Path) -> None:
    run, folder = exported
    corpus = CPSC2018(data / "simulated" / "cpsc2018-90")
    test = run.predictions["val_selected/test"]
    for model in (load_model(folder), load_model(run), load_model(run.name, output=run.path.parents[1])):
        found = [model.probabilities(corpus.read(name).signal[None], 500)[0] for name in test.record_ids]
        np.testing.assert_allclose(found, expit(test.logits.astype(np.float64)), atol=1e-6)
    assert load_model(folder).source == f"{run.name}@{read_model_folder(folder).weights_sha256[:8]}"


def test_thresholds_are_those_tuned_on_validation(exported: Folders) -> None:
    from ecg_transfer.metrics import tune_thresholds

    run, folder = exported
    val = run.predictions["val_selected/val"]
    expected = tune_thresholds(val.logits, val.targets)
    for model in (load_model(folder), load_model(run)):
        np.testing.assert_array_equal(model.thresholds, expected)


def test_the_card_is_what_the_hub_reads(exported: Folders) -> None:
    run, folder = exported
    text = (folder / "README.md").read_text()
    _, front, body = text.split("---\n", 2)
    card = yaml.safe_load(front)
    assert card["license"] == "apache-2.0", "simulated recordings have no licence of their own"
    assert {"ecg", "simulated", "gru_last"} <= set(card["tags"])
    (result,) = card["model-index"][0]["results"]
    scores = run.scores["val_selected"]
    values = {metric["name"].partition(";")[0]: metric["value"] for metric in result["metrics"]}
    assert values["F1, weighted by prevalence (threshold 0.5)"] == pytest.approx(scores.f1_weighted, abs=5e-5)
    assert values["AUROC, mean of labels"] == pytest.approx(scores.auroc_macro, abs=5e-5)
    assert "SIMULATED" in body
    assert "no medical device" in body
    for entry in json.loads((folder / "config.json").read_text())["scores"].values():
        assert entry["low"] <= entry["value"] <= entry["high"] or abs(entry["value"] - entry["low"]) < 0.1


def test_a_label_of_two_lines_has_one_row(exported: Folders) -> None:
    config = json.loads((exported[1] / "config.json").read_text())
    (name, *_), values = config["per_label"], config["per_label"].values()
    config["per_label"] = {f"{name}\nin two lines | and parts": next(iter(values))}
    config["thresholds"] = dict.fromkeys(config["per_label"], 0.5)
    (row,) = [line for line in model_card(config).splitlines() if "in two lines" in line]
    assert row.startswith(f"| {name} in two lines \\| and parts | ")
    assert row.count(" | ") == 6


def test_the_hub_library_reads_the_card(exported: Folders) -> None:
    hub = pytest.importorskip("huggingface_hub")
    card = hub.ModelCard.load(exported[1] / "README.md")
    results = card.data.eval_results
    assert {result.metric_type for result in results} == {"f1", "roc_auc", "ap_macro"}
    assert card.data.library_name == "ecg_transfer"


def test_licences_of_real_corpora_reach_the_card(exported: Folders) -> None:
    config = json.loads((exported[1] / "config.json").read_text())
    config["data"] |= {"simulated": False}
    front = yaml.safe_load(model_card(config).split("---\n", 2)[1])
    assert front["license"] == "cc-by-4.0"
    config["pretrained_on"] = [config["data"] | {"corpus": "ptb", "licence": "ODC-By-1.0", "title": 'a: "b" - {c}'}]
    front = yaml.safe_load(model_card(config).split("---\n", 2)[1])
    assert (front["license"], front["license_name"]) == ("other", "CC-BY-4.0 and ODC-By-1.0")
    assert "Liu F" in model_card(config)
    config["pretrained_on"] = [config["data"] | {"simulated": True}]  # of the corpus's own name
    front = yaml.safe_load(model_card(config).split("---\n", 2)[1])
    assert (front["license"], front["license_name"]) == ("other", "Apache-2.0 and CC-BY-4.0")
    assert "simulated" in front["tags"]
    config["pretrained_on"], config["data"] = [], config["data"] | {"licence": "", "url": "", "version": "1"}
    card = model_card(config)
    assert yaml.safe_load(card.split("---\n", 2)[1])["license"] == "unknown"
    assert ", version 1; licence unknown." in card
    facts = dict.fromkeys(("version", "url", "licence", "citation"), "unknown") | {"title": "mine (own corpus)"}
    config["pretrained_on"] = [{"corpus": "mine", "simulated": False, "num_train": 30} | facts]
    card = model_card(config)
    assert "- Pre-trained on mine (own corpus); licence unknown; 30 training records.\n" in card
    assert "Cite: unknown" not in card


def test_what_makes_scores_too_good_is_on_the_card(exported: Folders) -> None:
    config = json.loads((exported[1] / "config.json").read_text())
    assert "too good" not in model_card(config)
    config["leaks"] = {"copy_in_upstream": 7}
    assert "may be too good:** 7 x an evaluated recording that the upstream is trained on." in model_card(config)


def test_the_folder_names_no_place_of_this_machine(exported: Folders, data: Path) -> None:
    for path in exported[1].iterdir():
        content = path.read_bytes()
        assert str(data).encode() not in content
        assert str(exported[0].path.parent).encode() not in content


def test_digests_are_of_the_training_recordings(exported: Folders, data: Path) -> None:
    folder = exported[1]
    (records,) = read_model_folder(folder).record_sets
    found = read_model_folder(folder).digests(records)
    module = et.datamodule("cpsc2018", recipe="modern", overrides=settings(data))
    corpus = CPSC2018(data / "simulated" / "cpsc2018-90")
    preprocessing = load_model(folder).preprocessing
    expected = set()
    for row in module.rows["train"]:
        prepared = prepare(corpus.read(module.record_ids[row]).signal, 500, preprocessing)
        digest = hashlib.blake2b(prepared.tobytes(), digest_size=8).digest()
        expected.add(int.from_bytes(digest, "little", signed=True))
    assert set(found.tolist()) == expected
    assert records.count == len(module.rows["train"]) == len(expected)


def test_a_run_whose_recordings_are_gone_is_exported_with_a_warning(data: Path, tmp_path: Path) -> None:
    run = et.train_from_scratch(
        "ptb", backbone=NAME, recipe="modern", overrides=settings(data), output=tmp_path / "runs"
    )
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["data"]["digest"] = "0" * 64
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    run.seal()
    with pytest.warns(RecordsUnknownWarning, match="are not those that"):
        folder = export_run(run, tmp_path / "model")
    assert read_model_folder(folder).record_sets == ()
    assert "Without digests" in (folder / "README.md").read_text()


def test_batches_do_not_matter(exported: Folders) -> None:
    model = load_model(exported[1])
    signals = np.random.default_rng(0).normal(size=(7, 12, 5000)).astype(np.float32)
    whole = model.probabilities(signals, 500)
    np.testing.assert_allclose(model.probabilities(signals, 500, batch_size=2), whole, atol=1e-6)
    assert model.probabilities(signals[:0], 500).shape == (0, 9)
    assert torch.is_grad_enabled()


def run_command(*arguments: object) -> Any:  # noqa: ANN401
    from typer import Typer
    from typer.testing import CliRunner

    from ecg_transfer.export_cli import export

    app = Typer()
    app.command()(export)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_writes_the_folder(exported: Folders, tmp_path: Path) -> None:
    run = exported[0]
    done = run_command(run.name, "-o", tmp_path / "model", "--output", run.path.parents[1])
    assert done.exit_code == 0, done.output
    assert "SIMULATED" in done.output
    names = [path.name for path in sorted((tmp_path / "model").iterdir())]
    assert names == [".gitattributes", "README.md", "config.json", "model.safetensors", "training_records.safetensors"]
    again = run_command(run.path, "-o", tmp_path / "model")
    assert isinstance(again.exception, ExportError)


@pytest.mark.slow
def test_the_onnx_file_is_part_of_the_folder(data: Path, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = et.train_from_scratch(
        "cpsc2018", backbone=NAME, recipe="modern", overrides=settings(data), output=tmp_path / "runs"
    )
    folder = export_run(run, tmp_path / "model", onnx=True, rate=250)
    about = read_model_folder(folder).config["onnx"]
    assert about["sampling_rate"] == 250
    assert about["max_difference"] <= 1e-5
    signals = np.random.default_rng(0).normal(size=(3, 12, 2500)).astype(np.float32)
    (found,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {"millivolts": signals})
    np.testing.assert_allclose(found, load_model(folder, trust=True).probabilities(signals, 250), atol=1e-5)
    assert "at 250 Hz" in (folder / "README.md").read_text()
