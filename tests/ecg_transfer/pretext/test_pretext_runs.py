"""A run without labels from start to end on simulated ECGs, and all that is asked of runs and upstreams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

import ecg_transfer as et
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.cli import app
from ecg_transfer.config import ConfigError
from ecg_transfer.curve import read_curve
from ecg_transfer.resolve import UpstreamError
from ecg_transfer.runs import NoLabelsError, Run, RunNotFoundError
from ecg_transfer.upstream import Upstream
from ecg_transfer.upstream_choice.evidence import evidence_table
from tests.ecg_transfer.tiny_backbone import NAME


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data and runs that the tests of this file share."""
    return tmp_path_factory.mktemp("all")


def settings(folder: Path, **more: object) -> dict[str, object]:
    small = {"data.root": str(folder / "data"), "data.num_simulated": 60, "data.source": "simulated"}
    small |= {"optim.max_epochs": 2, "optim.min_updates": 0, "optim.batch_size": 16, "trainer.accelerator": "cpu"}
    return small | more


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    fields = settings(folder, **{"pretext.task": "contrastive"})
    return et.pretrain("cpsc2018", backbone=NAME, recipe="modern", overrides=fields, output=folder / "runs")


@pytest.fixture(scope="module")
def tuned(folder: Path, run: Run) -> Run:
    fields = settings(folder)
    et.train_from_scratch("ptb", backbone=NAME, recipe="modern", overrides=fields, output=folder / "runs")
    return et.finetune(
        "ptb", upstream=run.name, backbone=NAME, recipe="modern", overrides=fields, output=folder / "runs"
    )


def test_it_is_a_finished_sealed_run_with_its_own_loss(run: Run) -> None:
    assert run.name.startswith("pretrain-cpsc2018-tests.ecg_transfer.tiny_backbone-TinyBackbone-contrastive-s0-")
    assert (run.status, run.verify()) == ("done", [])
    curve = read_curve(run.path / "metrics.jsonl")
    best = int(np.argmin([record["val"]["loss"] for record in curve]))
    assert run.results["val_selected"] == {"epoch": best, "val": curve[best]["val"], "test": curve[best]["test"]}
    assert set(curve[0]["val"]) == {"loss", "retrieval"}
    assert run.convergence == {}
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    drawn = [point.value for point in events.Scalars("val/loss")]
    assert drawn == pytest.approx([record["val"]["loss"] for record in curve])
    (run.path / "best.ckpt").rename(run.path / "moved")
    assert run.status == "unfinished", "DONE vouches for the weights"
    (run.path / "moved").rename(run.path / "best.ckpt")
    assert run.is_done


def test_a_fine_tuning_takes_over_every_tensor_of_the_backbone(run: Run, tuned: Run) -> None:
    state = torch.load(run.path / "best.ckpt", weights_only=True)["state_dict"]
    classifier = ECGClassifier(NAME, tuned.manifest["data"]["label_names"])
    num_loaded = classifier.load_backbone(Upstream.from_run(run).state_dict())
    ours = {f"backbone.{name}": value for name, value in classifier.backbone.state_dict().items()}
    assert ours.keys() == {name for name in state if name.startswith("backbone.")}
    assert all(torch.equal(value, state[name]) for name, value in ours.items())
    assert tuned.manifest["model"]["numbers_from_upstream"] == num_loaded == sum(x.numel() for x in ours.values())
    upstream = tuned.manifest["upstream"]
    assert (upstream["run"], upstream["pretext"]) == (run.name, "contrastive")
    assert tuned.config.is_supervised
    (pair,) = et.find_pairs(tuned.path.parents[1])
    assert pair.upstream == "cpsc2018, contrastive"


def test_what_needs_labels_is_refused_in_a_sentence(run: Run, folder: Path) -> None:
    for ask in (run.model, lambda: run.scores, lambda: run.predictions, lambda: et.load_model(run)):
        with pytest.raises(NoLabelsError, match=r"was trained without labels \(contrastive\): .*--upstream pretrain-"):
            ask()
    with pytest.raises(NoLabelsError):
        et.export_run(run, folder / "exported")
    assert not (folder / "exported").exists()
    with pytest.raises(NoLabelsError):
        et.evaluate(run)
    fields = settings(folder, **{"transfer.head": "shared"})
    with pytest.raises(ConfigError, match="was trained without labels and has no head"):
        et.finetune("ptb", upstream=run.name, backbone=NAME, recipe="modern", overrides=fields, output=folder / "runs")


def test_lists_say_what_it_is(run: Run, tuned: Run, folder: Path) -> None:
    runner, output = CliRunner(), str(folder / "runs")
    listed = runner.invoke(app, ["runs", "--output", output], env={"COLUMNS": "250"})
    assert listed.exit_code == 0
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith(run.name)]
    assert f"contrastive, val loss {run.results['val_selected']['val']['loss']:.3f}" in line
    compared = runner.invoke(app, ["compare", "--output", output], env={"COLUMNS": "250"})
    assert "cpsc2018, contrastive" in compared.stdout
    labels = runner.invoke(app, ["labels", run.name, "ptb", "--output", output, f"data.root={folder / 'data'}"])
    assert isinstance(labels.exception, NoLabelsError)


def test_a_corpus_name_means_its_labels_unless_a_pretext_is_asked_for(run: Run, tuned: Run, folder: Path) -> None:
    asked: dict[str, object] = {"upstream": "cpsc2018", "backbone": NAME, "recipe": "modern"}
    with pytest.raises(RunNotFoundError, match="no finished pre-training of"):
        et.finetune("ptb", overrides=settings(folder), output=folder / "runs", **asked)  # type: ignore[arg-type]
    fields = settings(folder, **{"pretext.task": "contrastive"})
    again = et.finetune("ptb", overrides=fields, output=folder / "runs", **asked)  # type: ignore[arg-type]
    assert again == tuned
    fields = settings(folder, **{"pretext.task": "masked"})
    with pytest.raises(UpstreamError, match=r"was not trained with pretext\.task=masked"):
        et.finetune("ptb", overrides=fields, output=folder / "runs", **asked | {"upstream": run.name})  # type: ignore[arg-type]


def test_it_is_scored_as_an_upstream_by_what_needs_no_head(run: Run, tuned: Run, folder: Path) -> None:
    data = {name: value for name, value in settings(folder).items() if name.startswith("data.")}
    found = et.transferability("ptb", [run.name], overrides=data, output=folder / "runs", trust=True)
    (one,) = found.candidates
    assert (one.corpus, one.leep, one.melep) == ("cpsc2018, contrastive", None, None)
    assert np.isfinite([one.probe, one.knn, one.logme]).all()
    table = evidence_table([run, *et.find_runs(folder / "runs")], output=folder / "runs", trust=True)
    (row,) = table.to_dict("records")
    assert row["upstream"] == "cpsc2018, contrastive"
    assert np.isnan([row["leep"], row["melep"]]).all()
    assert row["logme"] == pytest.approx(one.logme)
