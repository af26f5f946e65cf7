from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score
from typer.testing import CliRunner

import ecg_transfer as et
from data_modules.label_map import match_labels
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.cli import app
from ecg_transfer.config import ConfigError
from ecg_transfer.runs import Run
from ecg_transfer.study.results import read_study
from ecg_transfer.upstream import Upstream
from ecg_transfer.upstream_choice.zero_shot import zero_shot
from tests.ecg_transfer.tiny_backbone import NAME

SHARED = {"NORM": "NORM", "AF": "AF", "IAVB": "IAVB", "PAC": "PAC"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("overlap")
    et.pretrain("cpsc2018", backbone=NAME, overrides=fields(folder), output=folder / "runs")
    return folder


def fields(folder: Path, **more: object) -> dict[str, object]:
    return {
        "optim.max_epochs": 1, "optim.min_updates": 0, "optim.batch_size": 64, "data.num_simulated": 90,
        "trainer.accelerator": "cpu", "data.root": str(folder / "data"), **more,
    }  # fmt: skip


def upstream_of(home: Path) -> Run:
    return next(run for run in et.find_runs(home / "runs") if run.config.phase == "pretrain")


def test_a_shared_head_starts_with_the_upstreams_rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads: dict[str, torch.Tensor] = {}
    loaded = ECGClassifier.load_head

    def watched(self: ECGClassifier, *arguments: object) -> None:
        heads["before"] = self.head.weight.detach().clone()
        loaded(self, *arguments)  # type: ignore[arg-type]
        heads["after"] = self.head.weight.detach().clone()

    monkeypatch.setattr(ECGClassifier, "load_head", watched)  # of the copy that then gives its head
    options = {"upstream": "cpsc2018", "backbone": NAME, "output": home / "runs"}
    run = et.finetune("georgia", overrides=fields(home, **{"transfer.head": "shared"}), **options)  # type: ignore[arg-type]
    assert run.manifest["model"]["head_rows_from_upstream"] == SHARED
    assert "shared_head" in run.name
    theirs, ours = upstream_of(home).model(trust=True), run.manifest["data"]["label_names"]
    for row, label in enumerate(ours):
        if label in SHARED:
            expected = theirs.head.weight[theirs.label_names.index(SHARED[label])]
            torch.testing.assert_close(heads["after"][row], expected, rtol=0, atol=0)
        else:
            torch.testing.assert_close(heads["after"][row], heads["before"][row], rtol=0, atol=0)
    new = et.finetune("georgia", overrides=fields(home), **options)  # type: ignore[arg-type]
    assert new.name != run.name
    assert new.manifest["model"]["head_rows_from_upstream"] == {}
    scratch = et.train_from_scratch("georgia", backbone=NAME, overrides=fields(home), output=home / "runs")
    pairs = et.find_pairs(home / "runs", ["georgia"])
    assert {(pair.finetune.name, pair.scratch.name) for pair in pairs} == {
        (run.name, scratch.name), (new.name, scratch.name),
    }  # fmt: skip


def test_a_fine_tuning_and_the_study_say_what_the_upstreams_head_scored_untrained(home: Path) -> None:
    run = et.finetune("georgia", upstream="cpsc2018", backbone=NAME, overrides=fields(home), output=home / "runs")
    stored = run.results["zero_shot"]
    assert stored["labels"] == SHARED
    theirs, test = upstream_of(home).model(trust=True), run.predictions["val_selected/test"]
    data = et.datamodule("georgia", overrides={"data.root": str(home / "data"), "data.num_simulated": 90})
    with torch.inference_mode():
        logits = theirs(torch.cat([batch["signal"] for batch in data.ordered_loader("test")])).numpy()
    table = read_study([run]).labels.set_index("label")
    names = run.manifest["data"]["label_names"]
    for label in names:
        if label not in SHARED:
            assert table.loc[label, ["zero_shot/f1", "zero_shot/auroc"]].isna().all()
            continue
        scores, ours = logits[:, theirs.label_names.index(SHARED[label])], test.targets[:, names.index(label)]
        assert table.loc[label, "zero_shot/f1"] == pytest.approx(f1_score(ours, scores > 0, zero_division=0))
        if 0 < ours.sum() < len(ours):
            assert table.loc[label, "zero_shot/auroc"] == pytest.approx(roc_auc_score(ours, scores))
    assert "zero_shot" not in upstream_of(home).results


def test_nothing_in_common_is_said(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"no label of .* means the same"):
        et.finetune(
            "ptb",
            upstream="cpsc2018",
            backbone=NAME,
            overrides=fields(home, **{"transfer.head": "shared"}),
            output=home / "runs",
        )


def test_zero_shot_scores_are_scikit_learns(home: Path) -> None:
    upstream = Upstream.from_run(upstream_of(home))
    data = et.datamodule("georgia", overrides={"data.root": str(home / "data"), "data.num_simulated": 90})
    matches = match_labels("cpsc2018", upstream.label_names, "georgia", data.label_names)
    found = zero_shot(upstream, data, matches, trust=True)
    assert {one.downstream: one.upstream for one in found} == SHARED
    model = upstream_of(home).model(trust=True)
    with torch.inference_mode():
        logits = model(torch.cat([batch["signal"] for batch in data.ordered_loader("val")])).numpy()
    targets = data.labels[data.rows["val"]]
    for one in found:
        theirs = logits[:, model.label_names.index(one.upstream)]
        ours = targets[:, data.label_names.index(one.downstream)]
        assert one.num_positives == ours.sum()
        assert one.f1 == pytest.approx(f1_score(ours, theirs > 0, zero_division=0))
        if 0 < ours.sum() < len(ours):
            assert one.auroc == pytest.approx(roc_auc_score(ours, theirs))
            assert one.auroc_limits[0] <= one.auroc <= one.auroc_limits[1]
        else:
            assert np.isnan(one.auroc)
    assert zero_shot(upstream, data, []) == []


def test_the_command_shows_the_map_and_the_scores(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(home / "data"))
    shown = CliRunner().invoke(app, ["labels", "ptbxl", "cpsc2018"])
    assert shown.exit_code == 0, shown.output
    assert "ptbxl (superclass) -> cpsc2018" in shown.stdout
    assert "SNOMED CT 59118001" in shown.stdout
    run = upstream_of(home).name
    scored = CliRunner().invoke(
        app, ["labels", run, "georgia", "data.num_simulated=90", "--trust", "--output", str(home / "runs")]
    )
    assert scored.exit_code == 0, scored.output
    assert "SIMULATED" in scored.stdout
    assert "without a counterpart: SB, LAD" in scored.stdout
