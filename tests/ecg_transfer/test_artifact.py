"""A run taken away: the folder gives the run's own numbers, starts trainings, and is not believed."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
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
from ecg_transfer.artifact import ExportError, ModelFolderError, export_run, load_model, read_model_folder
from ecg_transfer.export import RecordsUnknownWarning
from ecg_transfer.model_card import model_card
from ecg_transfer.resolve import UpstreamError, resolve
from ecg_transfer.runs import Run
from ecg_transfer.upstream import RecordsOverlapWarning
from ecg_transfer.weights import UntrustedCodeError
from tests.ecg_transfer.tiny_backbone import NAME

Folders = tuple[Run, Path]


def settings(data: Path, **more: object) -> dict[str, object]:
    small = {"data.root": str(data), "data.num_simulated": 90, "optim.max_epochs": 2, "optim.batch_size": 16}
    return small | {"optim.min_updates": 0, "optim.lr": 0.003, "trainer.accelerator": "cpu"} | more


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def exported(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A pre-training of a built-in backbone on simulated CPSC2018, and its folder."""
    output = tmp_path_factory.mktemp("runs")
    run = et.pretrain("cpsc2018", backbone="gru_last", recipe="modern", overrides=settings(data), output=output)
    return run, export_run(run, output / "model")


@pytest.fixture
def copy(exported: Folders, tmp_path: Path) -> Path:
    """A folder that a test may damage."""
    return Path(shutil.copytree(exported[1], tmp_path / "copy"))


def change(folder: Path, **fields: Any) -> None:  # noqa: ANN401
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


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


def test_a_fine_tuning_starts_from_the_folder_wherever_it_lies(exported: Folders, copy: Path, data: Path) -> None:
    run, folder = exported
    names = set()
    for place in (folder, copy):
        config = et.make_config(
            "finetune", "ptb", backbone="gru_last", recipe="modern", upstream=str(place), overrides=settings(data)
        )
        resolved = resolve(config, run.path.parents[1])
        assert resolved.upstream is not None
        assert resolved.config.transfer.upstream == f"{run.name}@{resolved.upstream.weights_sha256[:8]}"
        names.add(resolved.run.name)
    assert len(names) == 1, "the same weights give the same run"
    assert names.pop().startswith("finetune-ptb-from-cpsc2018-gru_last-s0-")


@pytest.fixture(scope="module")
def fine_tuned(exported: Folders, data: Path) -> Run:
    run, folder = exported
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordsOverlapWarning)
        return et.finetune(
            "ptb",
            upstream=str(folder),
            backbone="gru_last",
            recipe="modern",
            overrides=settings(data),
            output=run.path.parents[1],
        )


def test_its_manifest_says_where_it_started(exported: Folders, fine_tuned: Run) -> None:
    upstream = fine_tuned.manifest["upstream"]
    assert upstream["corpus"] == "cpsc2018"
    assert upstream["weights_sha256"] == read_model_folder(exported[1]).weights_sha256
    assert upstream["evaluated_records_in_its_training"] == {"val": 0, "test": 0}
    assert fine_tuned.manifest["model"]["numbers_from_upstream"] == sum(
        value.numel() for name, value in exported[0].model().state_dict().items() if name.startswith("backbone.")
    )


def test_an_export_of_a_fine_tuning_remembers_its_pre_training(
    exported: Folders, fine_tuned: Run, tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RecordsUnknownWarning)
        folder = read_model_folder(export_run(fine_tuned, tmp_path / "model"))
    assert [(records.corpus, records.role) for records in folder.record_sets] == [
        ("ptb", "training"),
        ("cpsc2018", "pre-training"),
    ]
    before = read_model_folder(exported[1])
    assert np.array_equal(folder.digests(folder.record_sets[1]), before.digests(before.record_sets[0]))
    assert [entry["corpus"] for entry in folder.config["pretrained_on"]] == ["cpsc2018"]
    assert "Pre-trained on SIMULATED" in (folder.path / "README.md").read_text()


def test_evaluating_on_its_training_recordings_is_noticed(exported: Folders, data: Path) -> None:
    run, folder = exported
    other_split = settings(data, **{"data.split_seed": 7, "optim.max_epochs": 1})
    with pytest.warns(RecordsOverlapWarning, match=r"\d+ of \d+ test records of cpsc2018 are exact copies"):
        again = et.finetune(
            "cpsc2018",
            upstream=str(folder),
            backbone="gru_last",
            recipe="modern",
            overrides=other_split,
            output=run.path.parents[1],
        )
    trained = set(et.datamodule("cpsc2018", recipe="modern", overrides=settings(data)).rows["train"].tolist())
    module = et.datamodule("cpsc2018", recipe="modern", overrides=other_split)
    assert again.manifest["upstream"]["evaluated_records_in_its_training"] == {
        part: len(trained & set(module.rows[part].tolist())) for part in ("val", "test")
    }


def test_another_backbone_or_input_is_refused_as_for_a_run(exported: Folders, data: Path, tmp_path: Path) -> None:
    for fields, message in (({"model.backbone": "gru_mean"}, "gru_mean is wanted"), ({"data.scale": "none"}, "scale")):
        config = et.make_config(
            "finetune",
            "ptb",
            backbone="gru_last",
            recipe="modern",
            upstream=str(exported[1]),
            overrides=settings(data, **fields),
        )
        with pytest.raises(UpstreamError, match=message):
            resolve(config, tmp_path)


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


@pytest.mark.parametrize(
    ("signal", "rate", "message"),
    [
        (np.zeros((12, 5000)), 500, "have shape"),
        (np.zeros((1, 8, 5000)), 500, "have shape"),
        (np.full((1, 12, 5000), np.nan), 500, "NaN"),
        (np.zeros((1, 12, 4999)), 500, "shorter than the 10 s"),
        (np.zeros((1, 12, 5000)), 0, "sampling_rate is 0"),
    ],
)
def test_recordings_it_cannot_take_are_named(exported: Folders, signal: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_model(exported[1]).probabilities(signal, rate)


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
