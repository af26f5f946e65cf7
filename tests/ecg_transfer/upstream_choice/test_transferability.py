from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import ecg_transfer as et
from ecg_transfer.cli import app
from ecg_transfer.resolve import UpstreamError
from ecg_transfer.runs import Run, RunNotFoundError
from ecg_transfer.upstream_choice.forward import MAX_FEATURES, _Hashing, embed
from ecg_transfer.upstream_choice.measures import melep
from ecg_transfer.upstream_choice.transferability import Transferability
from tests.data_modules.ecg_files import synthetic_millivolts
from tests.ecg_transfer.tiny_backbone import NAME

FIELDS = {
    "optim.max_epochs": 2, "optim.min_updates": 0, "optim.batch_size": 32, "data.num_simulated": 90,
    "trainer.accelerator": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pre-trainings on two simulated corpora, one of them at another scale."""
    folder = tmp_path_factory.mktemp("transferability")
    fields = FIELDS | {"data.root": str(folder / "data")}
    et.pretrain("georgia", backbone=NAME, overrides=fields, output=folder / "runs")
    et.pretrain("cpsc2018", backbone=NAME, recipe="modern", overrides=fields, output=folder / "runs")
    return folder / "runs"


def on_ptb(output: Path, *upstreams: str, **options: object) -> Transferability:
    fields = {"data.root": str(output.parent / "data"), "data.num_simulated": 120}
    return et.transferability("ptb", list(upstreams) or None, overrides=fields, output=output, trust=True, **options)


def test_every_pretraining_is_scored_from_its_own_scale(output: Path) -> None:
    found = on_ptb(output)
    assert found.simulated
    assert {one.corpus for one in found.candidates} == {"georgia", "cpsc2018"}
    assert [one.probe for one in found.candidates] == sorted((one.probe for one in found.candidates), reverse=True)
    for one in found.candidates:
        run = Run(output / "simulated" / one.upstream)
        assert one.size == run.manifest["data"]["parts"]["train"]["records"]
        fields = {"data.root": str(output.parent / "data"), "data.num_simulated": 120}
        data = et.datamodule("ptb", overrides=fields | {"data.scale": run.config.data.scale})
        model = run.model(trust=True)
        with torch.inference_mode():
            parts = {part: next(iter(data.ordered_loader(part)))["signal"] for part in ("train", "val")}
            features = {part: model.backbone(signal).numpy() for part, signal in parts.items()}
            logits = model(parts["train"]).numpy()
        targets = {part: data.labels[data.rows[part]] for part in parts}
        assert found.num_train == len(targets["train"]) == len(logits)
        assert one.melep == pytest.approx(melep(logits, targets["train"]), abs=1e-5)
        scaler = StandardScaler().fit(features["train"])
        predicted = np.column_stack(
            [
                LogisticRegression(max_iter=2000)
                .fit(scaler.transform(features["train"]), label)
                .predict(scaler.transform(features["val"]))
                for label in targets["train"].T
            ]
        )
        expected = f1_score(targets["val"], predicted, average="weighted", zero_division=0)
        assert one.probe == pytest.approx(expected, abs=1e-9)


def test_upstreams_are_named_as_everywhere_else(output: Path) -> None:
    run = next(run for run in et.find_runs(output) if run.config.data.corpus == "georgia")
    fields = {"data.root": str(output.parent / "data"), "data.num_simulated": 120}
    for upstreams in (run, run.path, [run], iter([run.path]), str(run.path)):
        found = et.transferability("ptb", upstreams, overrides=fields, output=output, trust=True)
        assert [one.upstream for one in found.candidates] == [run.name]


def test_test_records_are_never_looked_at(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_modules.datamodule import ECGDataModule

    asked: list[str] = []
    loader = ECGDataModule.ordered_loader

    def watched(self: ECGDataModule, part: str, **options: bool) -> object:
        asked.append(part)
        return loader(self, part, **options)

    monkeypatch.setattr(ECGDataModule, "ordered_loader", watched)
    on_ptb(output, "georgia")
    assert sorted(asked) == ["train", "val"]


def test_a_subset_is_the_one_that_a_run_would_train_on(output: Path) -> None:
    whole, part = on_ptb(output, "georgia"), on_ptb(output, "georgia", subset=30, seed=3)
    assert (part.num_train, part.num_val) == (30, whole.num_val)
    assert on_ptb(output, "georgia", subset=30, seed=3).candidates[0].logme == part.candidates[0].logme
    assert on_ptb(output, "georgia", subset=30, seed=4).candidates[0].logme != part.candidates[0].logme


def test_upstreams_are_named_as_for_a_finetuning(output: Path, tmp_path: Path) -> None:
    run = next(run for run in et.find_runs(output) if "georgia" in run.name)
    model = et.export_run(run, tmp_path / "model", trust=True)
    by_name, by_path = on_ptb(output, run.name), on_ptb(output, str(run.path))
    assert [one.upstream for one in by_name.candidates] == [one.upstream for one in by_path.candidates] == [run.name]
    exported = on_ptb(output, str(model)).candidates[0]
    assert exported.upstream.startswith(run.name)
    assert exported.size == by_name.candidates[0].size
    assert exported.logme == pytest.approx(by_name.candidates[0].logme, abs=1e-4)
    assert len(on_ptb(output, run.name, "georgia").candidates) == 1  # the same one, named twice


def test_a_single_upstream_need_not_be_a_list(output: Path) -> None:
    fields = {"data.root": str(output.parent / "data"), "data.num_simulated": 120}
    one = et.transferability("ptb", "georgia", overrides=fields, output=output, trust=True)
    listed = on_ptb(output, "georgia")
    assert [replace(each, seconds=0.0) for each in one.candidates] == [
        replace(each, seconds=0.0) for each in listed.candidates
    ]


def test_sorting_knows_that_a_low_melep_is_good(output: Path) -> None:
    melep_first = [one.melep for one in on_ptb(output, sort_by="melep").candidates]
    assert melep_first == sorted(melep_first)


def test_what_cannot_be_scored_says_why(output: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="ecg-transfer pretrain ptbxl"):
        on_ptb(output, "ptbxl")
    with pytest.raises(RunNotFoundError, match="no finished pre-training on another corpus"):
        et.transferability("ptb", overrides={"data.root": str(tmp_path)}, output=tmp_path)
    with pytest.raises(ValueError, match="expected one of probe, knn"):
        on_ptb(output, sort_by="luck")
    signals, labels = np.stack([synthetic_millivolts(1000, 100, seed=n) for n in range(40)]), np.arange(40) % 2
    et.corpus_from_arrays(signals, {"AF": labels}, sampling_rate=100, name="mine", root=tmp_path)
    with pytest.raises(UpstreamError, match="simulated ECGs and mine is real"):
        et.transferability("mine", ["georgia"], overrides={"data.root": str(tmp_path)}, output=output)


def test_the_command_prints_the_table(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(output.parent / "data"))
    arguments = [
        "transferability",
        "ptb",
        "data.num_simulated=120",
        "--from",
        "georgia",
        "--trust",
        "--output",
        str(output),
    ]
    plain = CliRunner().invoke(app, arguments)
    assert plain.exit_code == 0, plain.output
    assert "SIMULATED" in plain.stdout
    assert "no test record was looked at" in plain.stdout
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["candidates"][0]["corpus"] == "georgia"


def test_hashing_keeps_inner_products_in_expectation() -> None:
    torch.manual_seed(0)
    wide = torch.randn(6, 20_000, dtype=torch.float64)
    hashed = torch.stack([_Hashing(seed)(wide) for seed in range(40)])
    assert hashed.shape == (40, 6, MAX_FEATURES)
    products = (hashed @ hashed.transpose(1, 2)).mean(dim=0) / 20_000
    torch.testing.assert_close(products, wide @ wide.T / 20_000, atol=0.02, rtol=0)
    narrow = torch.randn(2, 5)
    assert _Hashing(0)(narrow) is narrow


def test_embedding_gives_rows_in_order(output: Path) -> None:
    data = et.datamodule("ptb", overrides={"data.root": str(output.parent / "data"), "data.num_simulated": 120})
    run = next(run for run in et.find_runs(output) if "georgia" in run.name)
    train = embed(run.model(trust=True), data)["train"]
    some = train.rows[[1, 4, 5]]
    np.testing.assert_array_equal(train.at(some).features, train.features[[1, 4, 5]])
    np.testing.assert_array_equal(train.at(some).targets, data.labels[some])


def test_a_model_for_crops_is_shown_its_windows(tmp_path: Path) -> None:
    fields = FIELDS | {"data.root": str(tmp_path / "data"), "crops.seconds": 2.5, "optim.max_epochs": 1}
    run = et.pretrain("cpsc2018", backbone=NAME, overrides=fields, output=tmp_path / "runs")
    data = et.datamodule("ptb", overrides={"data.root": str(tmp_path / "data"), "data.num_simulated": 30})
    model = run.model(trust=True)
    assert model.windows is not None
    train = embed(model, data)["train"]
    signal = next(iter(data.ordered_loader("train", sharded=False)))["signal"]
    with torch.inference_mode():
        logits = model(signal)
        starts = model.windows.starts(signal.shape[2])
        windows = [model.backbone(signal[:, :, start : start + model.windows.length]) for start in starts]
    assert len(windows) > 1
    np.testing.assert_allclose(train.logits[: len(signal)], logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(train.features[: len(signal)], torch.stack(windows).mean(dim=0).numpy(), atol=1e-5)
