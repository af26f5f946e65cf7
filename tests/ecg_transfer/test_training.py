"""A run from start to end on a simulated corpus: what it leaves, that it repeats, resumes and refuses."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.utils.deterministic
from sklearn.metrics import f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

import ecg_transfer as et
from data_modules.machine import this_machine
from ecg_transfer import fitting
from ecg_transfer import trainer as run_trainer
from ecg_transfer.cli import app
from ecg_transfer.config import ConfigError
from ecg_transfer.config_reading import make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.evaluation import UnfinishedRunWarning, evaluate, predict, predict_again
from ecg_transfer.runs import Run
from tests.ecg_transfer.tiny_runs import (
    TINY,
    drawn,
    same_predictions,
    same_weights,
    scratch,
    settings,
    timeless,
)


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scratch(data, tmp_path_factory.mktemp("runs"))


def test_deterministic_training_does_not_pay_for_filling_new_tensors(
    finished: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory
    monkeypatch.setattr(run_trainer, "fill_no_new_tensors", lambda: None)
    torch.utils.deterministic.fill_uninitialized_memory = True
    filled = scratch(data, tmp_path)
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert same_weights(filled, finished)
    assert same_predictions(filled, finished)


def test_a_finished_run_holds_all_it_promises(finished: Run) -> None:
    assert finished.status == "done"
    assert finished.verify() == []
    assert not (finished.path / "last.ckpt").exists()
    events = EventAccumulator(str(finished.path / "tensorboard"))
    events.Reload()
    points = [(point.step, point.value) for point in events.Scalars("test/f1_weighted")]
    curve = [record["test"]["f1_weighted"] for record in read_curve(finished.path / "metrics.jsonl")]
    assert points == [(epoch, pytest.approx(value, abs=1e-6)) for epoch, value in enumerate(curve)]
    assert [record["epoch"] for record in read_curve(finished.path / "metrics.jsonl")] == [0, 1, 2]
    manifest = finished.manifest
    assert manifest["data"]["simulated"] is True
    parts = manifest["data"]["parts"]
    predictions = finished.predictions
    assert len(predictions["val_selected/test"]) == parts["test"]["records"]
    assert len(predictions["val_selected/val"]) == parts["val"]["records"]
    assert predictions["last_epoch/test"].targets.sum() == sum(parts["test"]["positives"].values())
    assert manifest["updates_per_epoch"] == -(-parts["train"]["records"] // 16)


def test_published_f1_is_scikit_learns(finished: Run) -> None:
    for name, scores in finished.scores.items():
        stored = finished.predictions[f"{name}/test"]
        predicted = (1 / (1 + np.exp(-stored.logits.astype(np.float64)))) > 0.5
        for average in ("weighted", "macro"):
            expected = f1_score(stored.targets, predicted, average=average, zero_division=0)
            assert getattr(scores, f"f1_{average}") == pytest.approx(expected, abs=1e-12)


def test_the_three_scores_are_of_the_epochs_they_name(finished: Run) -> None:
    curve = read_curve(finished.path / "metrics.jsonl")
    results = finished.results
    val = [record["val"]["f1_weighted"] for record in curve]
    test = [record["test"]["f1_weighted"] for record in curve]
    assert results["val_selected"]["epoch"] == int(np.argmax(val))
    assert results["best_on_test"]["epoch"] == int(np.argmax(test))
    assert results["last_epoch"]["epoch"] == len(curve) - 1
    assert results["best_on_test"]["test"]["f1_weighted"] == pytest.approx(max(test), abs=1e-12)
    assert results["optimism"] == pytest.approx(max(test) - test[int(np.argmax(val))], abs=1e-12)


def test_the_same_configuration_finds_its_finished_run(data: Path, finished: Run) -> None:
    before = (finished.path / "DONE").stat().st_mtime_ns
    again = scratch(data, finished.path.parents[1])
    assert again.path == finished.path
    assert (again.path / "DONE").stat().st_mtime_ns == before


def test_two_runs_are_equal_to_the_bit(data: Path, finished: Run, tmp_path: Path) -> None:
    again = scratch(data, tmp_path)
    assert again.path != finished.path
    assert timeless(again) == timeless(finished)
    assert same_weights(again, finished)
    assert same_predictions(again, finished)


class StopAfter(pl.Callback):
    """Raise at the end of an epoch, as Ctrl-C would, once its checkpoint is written."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self._epoch + 1:
            raise KeyboardInterrupt


def interrupted_after(epoch: int, data: Path, output: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> None:
    callbacks = run_trainer.callbacks_of
    with monkeypatch.context() as patch:
        patch.setattr(run_trainer, "callbacks_of", lambda *arguments: [*callbacks(*arguments), StopAfter(epoch)])
        with pytest.raises(KeyboardInterrupt):
            scratch(data, output, **more)


@pytest.mark.parametrize("epoch", [0, 1, 2, 3])
def test_interrupted_before_its_first_evaluation_too(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    rarely = {"optim.evaluate_every": 3, "optim.max_epochs": 5}
    whole = scratch(data, tmp_path / "whole", **rarely)
    interrupted_after(epoch, data, tmp_path / "again", monkeypatch, **rarely)
    resumed = scratch(data, tmp_path / "again", **rarely)
    assert len(resumed.manifest["attempts"]) == 2
    assert timeless(resumed) == timeless(whole)
    assert same_weights(resumed, whole)
    assert same_predictions(resumed, whole)


def test_more_devices_than_training_records_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\d+ training records are not one for each of 5000 devices"):
        scratch(data, tmp_path, **{"trainer.devices": 5000, "optim.batch_size": 5000})


def test_going_on_with_other_threads_is_said_and_noted(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    interrupted_after(0, data, tmp_path, monkeypatch)
    torch.set_num_threads(threads + 1)
    try:
        with pytest.warns(UserWarning, match=f"begun with {threads} threads, this run goes on with {threads + 1}"):
            resumed = scratch(data, tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert [attempt["threads"] for attempt in resumed.manifest["attempts"]] == [threads, threads + 1]


@pytest.mark.parametrize("epoch", [0, 1])
def test_interrupted_after_any_epoch_it_resumes_as_if_nothing_had_been(
    data: Path, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    interrupted_after(epoch, data, tmp_path, monkeypatch)
    (interrupted,) = (Run(path.parent) for path in tmp_path.glob("*/*/config.yaml"))
    assert interrupted.status == "unfinished"
    assert len(read_curve(interrupted.path / "metrics.jsonl")) == epoch + 1
    (events,) = interrupted.path.glob("tensorboard/events.*")
    events.write_bytes(events.read_bytes()[:-200])
    resumed = scratch(data, tmp_path)
    assert len(resumed.manifest["attempts"]) == 2
    assert drawn(resumed) == drawn(finished)
    assert timeless(resumed) == timeless(finished)
    assert same_weights(resumed, finished)
    assert same_predictions(resumed, finished)


def test_scores_of_an_unfinished_run_say_so(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_after(1, data, tmp_path, monkeypatch)
    (run,) = et.find_runs(tmp_path)
    with pytest.warns(UnfinishedRunWarning, match=f"{run.name} is unfinished, the best of 2 epochs so far"):
        again = evaluate(run, "val", device="cpu", trust=True)
    so_far = [record["val"]["f1_weighted"] for record in read_curve(run.path / "metrics.jsonl")]
    assert again.f1_weighted == pytest.approx(max(so_far), abs=1e-6)
    arguments = ["evaluate", run.name, "--trust", "--output", str(tmp_path)]
    with pytest.warns(UnfinishedRunWarning):
        told = CliRunner().invoke(app, arguments).stdout
    assert f"{run.name}: test [SIMULATED ECGs] (unfinished, the best of 2 epochs so far)" in told
    scratch(data, tmp_path)
    told = CliRunner().invoke(app, arguments).stdout
    assert told.startswith(f"{run.name}: test [SIMULATED ECGs]\n")


def test_a_finished_run_whose_file_is_gone_begins_anew_and_says_so(
    data: Path, finished: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / finished.path.relative_to(finished.path.parents[1]))
    shutil.copytree(finished.path, run.path)
    (run.path / "best.ckpt").unlink()
    assert run.damaged == ["best.ckpt"]
    assert same_weights(scratch(data, tmp_path), finished)
    assert f"{run.path} was finished, and best.ckpt is missing or cut: it begins anew" in capfd.readouterr().err
    assert run.damaged == []


def test_a_run_killed_after_it_stopped_early_trains_no_further(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = {"optim.early_stop_patience": 1, "optim.max_epochs": 30, "optim.lr": 1e-6}
    whole = scratch(data, tmp_path / "whole", **patient)
    epochs = len(read_curve(whole.path / "metrics.jsonl"))
    assert epochs < 30

    def kill(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "write_scores", kill)
        with pytest.raises(KeyboardInterrupt):
            scratch(data, tmp_path / "killed", **patient)
    resumed = scratch(data, tmp_path / "killed", **patient)
    assert timeless(resumed) == timeless(whole)
    assert same_predictions(resumed, whole)


@pytest.mark.parametrize(("num_epochs", "evaluated"), [(4, (1, 3)), (3, (1, 2)), (1, (0,))])
def test_evaluated_every_other_epoch_and_after_the_last_it_ends_with_the_same_weights(
    data: Path, tmp_path: Path, num_epochs: int, evaluated: tuple[int, ...]
) -> None:
    often = scratch(data, tmp_path, **{"optim.max_epochs": num_epochs})
    seldom = scratch(data, tmp_path, **{"optim.max_epochs": num_epochs, "optim.evaluate_every": 2})
    assert [record["epoch"] for record in read_curve(seldom.path / "metrics.jsonl")] == list(evaluated)
    assert timeless(seldom) == [timeless(often)[epoch] for epoch in evaluated]
    last = "last_epoch/test"
    assert np.array_equal(seldom.predictions[last].logits, often.predictions[last].logits)
    val = [record["val"]["f1_weighted"] for record in read_curve(seldom.path / "metrics.jsonl")]
    assert seldom.results["val_selected"]["epoch"] == evaluated[int(np.argmax(val))]


def test_scores_come_back_from_the_record_files(finished: Run) -> None:
    again = evaluate(finished, device="cpu")
    assert again.as_dict() == finished.scores["val_selected"].as_dict()


def test_scores_do_not_depend_on_the_batch_size(data: Path, finished: Run) -> None:
    one_by_one = et.datamodule("cpsc2018", recipe="modern", overrides=settings(data, **{"optim.batch_size": 1}))
    logits = predict(finished.model(), one_by_one, "test", torch.device("cpu")).logits
    stored = finished.predictions["val_selected/test"]
    np.testing.assert_allclose(logits, stored.logits, atol=1e-5)
    ours = et.score(logits, stored.targets, one_by_one.label_names)
    assert ours.f1_weighted == pytest.approx(finished.scores["val_selected"].f1_weighted, abs=1e-12)


def test_what_a_kill_right_after_done_left_is_removed(data: Path, finished: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / finished.path.relative_to(finished.path.parents[1]))
    shutil.copytree(finished.path, run.path)
    names = {path.name for path in run.path.iterdir()}
    for name in ("last.ckpt", "last.previous.ckpt", ".DONE.elsewhere.999999999.tmp"):
        (run.path / name).touch()
    os.utime(run.path / ".DONE.elsewhere.999999999.tmp", (1, 1))
    dead = {"host": "here", "machine": this_machine(), "pid": 999999999, "started": "1", "token": "t"}
    (run.path.parent / f".{run.name}.claim").write_text(json.dumps(dead))
    assert scratch(data, tmp_path).path == run.path
    assert {path.name for path in run.path.iterdir()} == names
    assert list(run.path.parent.iterdir()) == [run.path]


def test_an_unfinished_run_that_failed_says_why(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match=r"records A\d+"):
        scratch(data, tmp_path, **{"optim.lr": 1e30, "optim.schedule": "constant"})
    (failed,) = et.find_runs(tmp_path)
    assert failed.status == "failed"
    assert "LossNotFiniteError" in str(failed.failure)
    assert not (failed.path / "DONE").exists()


@pytest.mark.real
def test_real_recordings_from_files_to_scores(tmp_path: Path) -> None:
    real = os.environ.get("ECG_REAL_DATA")
    if not real:
        pytest.skip("ECG_REAL_DATA is not set")
    data = tmp_path / "data"
    data.mkdir()
    (data / "cpsc2018").symlink_to(Path(real) / "cpsc2018")
    run = et.train_from_scratch(
        "cpsc2018",
        backbone=TINY,
        recipe="modern",
        overrides={"data.root": str(data), "data.source": "real", "optim.max_epochs": 2, "optim.min_updates": 0},
        output=tmp_path / "runs",
    )
    assert run.path.parent.name == "real"
    assert run.manifest["data"]["simulated"] is False
    assert json.dumps(run.manifest["data"]["set_aside"]) == '{"short": 1}'
    assert sum(part["records"] for part in run.manifest["data"]["parts"].values()) == 309


def test_an_evaluation_heeds_what_it_is_told_or_refuses_it(data: Path, tmp_path: Path) -> None:
    pieces = {"crops.seconds": 2.5, "crops.windows": "mean"}
    run = scratch(data, tmp_path, **pieces)
    (mean, names), (highest, _) = (
        predict_again(run, overrides={"crops.windows": windows}) for windows in ("mean", "max")
    )
    assert names == tuple(run.results["label_names"])
    np.testing.assert_array_equal(mean.logits, run.predictions["val_selected/test"].logits)
    assert (highest.logits >= mean.logits).all()
    assert (highest.logits > mean.logits).any()
    for field, value, message in (
        ("optim.lr", 0.1, r"optim\.lr=0\.1 changes nothing in an evaluation"),
        ("data.scale", "minmax", r"data\.scale=minmax: the model was trained with millivolt"),
        ("data.num_samples", 500, r"data\.num_samples=500: the model was trained with 1000"),
    ):
        with pytest.raises(ConfigError, match=message):
            evaluate(run, overrides={field: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_devices_that_are_not_there_are_refused_before_anything_is_read(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accelerator=gpu: PyTorch sees no GPU here"):
        scratch(data, tmp_path, **{"trainer.accelerator": "gpu"})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("asked", "is_said"),
    [
        ({"optim.max_epochs": 2, "optim.min_updates": 12}, True),
        ({"optim.max_epochs": 2, "optim.min_updates": 0}, False),
        ({"optim.max_epochs": 20, "optim.min_updates": 400}, False),
    ],
    ids=["epochs that are overruled", "epochs", "the recipe's epochs and updates"],
)
def test_epochs_that_the_recipes_updates_overrule_are_said(
    data: Path, asked: dict[str, object], is_said: bool, recwarn: pytest.WarningsRecorder
) -> None:
    """4 updates an epoch: 12 are 3 epochs, 400 are 100."""
    config = make_config("scratch", "cpsc2018", recipe="modern", overrides=settings(data) | asked)
    fitting._say_what_overrules(config, config.optim.num_epochs(4))
    said = [str(found.message) for found in recwarn]
    assert [sentence.partition(":")[0] for sentence in said] == ["3 epochs and not optim.max_epochs=2"] * is_said
