"""Runs from start to end on simulated corpora: what they leave, that they repeat, resume, pair and refuse."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.utils.deterministic
from sklearn.metrics import f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ecg_transfer as et
from data_modules.claim import RunClaimedError
from data_modules.machine import this_machine
from ecg_transfer import fitting
from ecg_transfer import trainer as run_trainer
from ecg_transfer.config import make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.evaluation import evaluate, predict
from ecg_transfer.resolve import UpstreamError, resolve
from ecg_transfer.runs import Run, RunNotFoundError
from tests.ecg_transfer.tiny_backbone import NAME

TINY = NAME
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root whose simulated corpora all tests of this file share."""
    return tmp_path_factory.mktemp("data")


def settings(data: Path, **more: object) -> dict[str, object]:
    small = {"data.root": str(data), "data.num_simulated": 90, "optim.max_epochs": 3, "optim.batch_size": 16}
    small |= {"optim.min_updates": 0, "optim.lr": 0.003, "trainer.accelerator": "cpu", "trainer.checkpoint_seconds": 0}
    return small | more


def scratch(data: Path, output: Path, **more: object) -> Run:
    return et.train_from_scratch(
        "cpsc2018", backbone=TINY, recipe="modern", overrides=settings(data, **more), output=output
    )


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return scratch(data, tmp_path_factory.mktemp("runs"))


def timeless(run: Run) -> list[dict[str, Any]]:
    times = ("seconds", "train_seconds", "records_per_second")
    return [
        {name: value for name, value in record.items() if name not in times}
        for record in read_curve(run.path / "metrics.jsonl")
    ]


def drawn(run: Run) -> list[tuple[int, float]]:
    """A curve as TensorBoard shows it: (epoch, score)."""
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    return [(point.step, point.value) for point in events.Scalars("val/f1_weighted")]


def same_weights(one: Run, other: Run) -> bool:
    ours, theirs = (run.model().state_dict() for run in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def same_predictions(one: Run, other: Run) -> bool:
    ours, theirs = one.predictions, other.predictions
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[name].logits, theirs[name].logits)
        and np.array_equal(ours[name].record_ids, theirs[name].record_ids)
        for name in ours
    )


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


@pytest.mark.parametrize("epoch", [0, 1])
def test_interrupted_after_any_epoch_it_resumes_as_if_nothing_had_been(
    data: Path, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    callbacks = run_trainer.callbacks_of
    with monkeypatch.context() as patch:
        patch.setattr(run_trainer, "callbacks_of", lambda *arguments: [*callbacks(*arguments), StopAfter(epoch)])
        with pytest.raises(KeyboardInterrupt):
            scratch(data, tmp_path)
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


def test_evaluated_every_other_epoch_it_ends_with_the_same_weights(data: Path, tmp_path: Path) -> None:
    often = scratch(data, tmp_path, **{"optim.max_epochs": 4})
    seldom = scratch(data, tmp_path, **{"optim.max_epochs": 3, "optim.evaluate_every": 2})
    assert [record["epoch"] for record in read_curve(seldom.path / "metrics.jsonl")] == [1, 3]
    assert timeless(seldom) == timeless(often)[1::2]
    last = "last_epoch/test"
    assert np.array_equal(seldom.predictions[last].logits, often.predictions[last].logits)
    val = [record["val"]["f1_weighted"] for record in read_curve(seldom.path / "metrics.jsonl")]
    assert seldom.results["val_selected"]["epoch"] == (1, 3)[int(np.argmax(val))]


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


@pytest.fixture(scope="module")
def pair(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    """A pre-training on CPSC2018, and both arms on PTB."""
    output = tmp_path_factory.mktemp("pair")
    common: dict[str, Any] = {"backbone": TINY, "recipe": "modern", "overrides": settings(data), "output": output}
    upstream = et.pretrain("cpsc2018", **common)
    return upstream, et.finetune("ptb", upstream="cpsc2018", **common), et.train_from_scratch("ptb", **common)


def test_a_fine_tuning_starts_from_its_upstream_and_differs_in_nothing_else(
    pair: tuple[Run, Run, Run], data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upstream, finetune, scratch_run = pair
    assert finetune.manifest["upstream"]["run"] == upstream.name
    assert finetune.manifest["data"]["digest"] == scratch_run.manifest["data"]["digest"]
    assert finetune.manifest["model"]["numbers_from_upstream"] > 0
    starts = {}

    def note_the_start(trainer: object, classifier: et.ECGClassifier, *rest: object) -> None:
        starts[len(starts)] = {name: value.clone() for name, value in classifier.state_dict().items()}
        raise InterruptedError

    monkeypatch.setattr(fitting, "fit", note_the_start)
    output = finetune.path.parents[1]
    common: dict[str, Any] = {"backbone": TINY, "recipe": "modern", "output": output}
    common["overrides"] = settings(data, **{"optim.max_epochs": 4})
    for call in (
        lambda: et.finetune("ptb", upstream=str(upstream.path), **common),
        lambda: et.train_from_scratch("ptb", **common),
    ):
        with pytest.raises(InterruptedError):
            call()
    trained = upstream.model().state_dict()
    for name, value in starts[0].items():
        if name.startswith("backbone."):
            assert torch.equal(value, trained[name])
        else:
            assert torch.equal(value, starts[1][name]), "both arms start with the same head"


def test_both_arms_pair_up(pair: tuple[Run, Run, Run]) -> None:
    upstream, finetune, scratch_run = pair
    (found,) = et.find_pairs(upstream.path.parents[1])
    assert (found.finetune, found.scratch) == (finetune, scratch_run)
    assert (found.upstream, found.downstream) == ("cpsc2018", "ptb")


def test_a_missing_upstream_names_the_command_that_makes_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="ecg-transfer pretrain georgia --backbone"):
        et.finetune("ptb", upstream="georgia", overrides=settings(data), output=tmp_path)


def test_with_pretrain_makes_it(data: Path, tmp_path: Path) -> None:
    run = et.finetune(
        "ptb",
        upstream="cpsc2018",
        backbone=TINY,
        recipe="modern",
        overrides=settings(data, **{"optim.max_epochs": 1}),
        output=tmp_path,
        with_pretrain=True,
    )
    assert run.is_done
    assert run.manifest["upstream"]["corpus"] == "cpsc2018"


def test_an_upstream_with_other_inputs_is_refused(pair: tuple[Run, Run, Run], data: Path) -> None:
    upstream = pair[0]
    for field, value in (("data.scale", "zscore"), ("data.num_samples", 500)):
        with pytest.raises(UpstreamError, match=field):
            et.finetune(
                "ptb",
                upstream=upstream.name,
                backbone=TINY,
                recipe="modern",
                overrides=settings(data, **{field: value}),
                output=upstream.path.parents[1],
            )


def test_an_unfinished_run_that_failed_says_why(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ArithmeticError, match=r"records A\d+"):
        scratch(data, tmp_path, **{"optim.lr": 1e30, "optim.schedule": "constant"})
    (failed,) = et.find_runs(tmp_path)
    assert failed.status == "failed"
    assert "LossNotFiniteError" in str(failed.failure)
    assert not (failed.path / "DONE").exists()


def console(*arguments: str, data: Path, output: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user would, in a process of its own."""
    command = [sys.executable, "-m", "ecg_transfer", *arguments, "--output", str(output)]
    surroundings = os.environ | {"ECG_DATA_ROOT": str(data), "PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=output, check=False)


@pytest.mark.slow
def test_a_full_disk_is_named_and_what_was_finished_stays(data: Path, tmp_path: Path) -> None:
    small_disk = tmp_path / "disk"
    small_disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", small_disk], check=False).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        finished = scratch(data, small_disk, **{"optim.max_epochs": 1})
        with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - some of them still fit
            for seed in range(9):
                scratch(data, small_disk, **{"seed": 100 + seed, "optim.max_epochs": 1})
        assert finished.is_done
        assert finished.verify() == []
    finally:
        subprocess.run(["umount", small_disk], check=True)


@pytest.mark.slow
def test_two_processes_train_on_the_same_global_batches(data: Path, tmp_path: Path) -> None:
    small = [f"{name}={value}" for name, value in settings(data).items() if name != "data.root"]
    arguments = ("scratch", "cpsc2018", "--backbone", TINY, "--recipe", "modern", *small)
    result = console(*arguments, "trainer.devices=2", data=data, output=tmp_path)
    assert result.returncode == 0, result.stderr
    (run,) = et.find_runs(tmp_path)
    assert run.is_done
    stored = run.predictions
    parts = run.manifest["data"]["parts"]
    assert len(stored["last_epoch/test"]) == parts["test"]["records"] == len(set(stored["last_epoch/test"].record_ids))
    updates = [record["updates"] for record in read_curve(run.path / "metrics.jsonl")]
    assert updates == [run.manifest["updates_per_epoch"] * epoch for epoch in (1, 2, 3)]
    np.testing.assert_allclose(
        stored["last_epoch/test"].targets, scratch(data, tmp_path).predictions["last_epoch/test"].targets
    )
    assert evaluate(run, device="cpu", trust=True).as_dict() == run.scores["val_selected"].as_dict()


@pytest.mark.slow
def test_commands_end_with_their_codes(data: Path, tmp_path: Path) -> None:
    small = [f"{name}={value}" for name, value in settings(data).items() if name != "data.root"]
    tiny = ("--backbone", TINY, "--recipe", "modern", *small, "optim.max_epochs=1")
    assert console("pretrain", "cpsc2018", *tiny, data=data, output=tmp_path).returncode == 0
    done = console("finetune", "ptb", "--upstream", "cpsc2018", *tiny, data=data, output=tmp_path)
    assert done.returncode == 0
    for shown in ("SIMULATED", "epoch chosen on validation", "best epoch on test", "NORM", "MI", str(tmp_path)):
        assert shown in done.stdout
    typo = console("scratch", "ptb", "optim.lrr=1", data=data, output=tmp_path)
    assert (typo.returncode, "Did you mean: 'lr'" in typo.stderr) == (1, True)
    unknown = console("scratch", "ptbx", data=data, output=tmp_path)
    assert (unknown.returncode, "did you mean 'ptb" in unknown.stderr) == (1, True)
    absent = console("scratch", "georgia", "data.source=real", data=data, output=tmp_path)
    assert (absent.returncode, "physionet.org" in absent.stderr) == (1, True)
    assert "Traceback" not in typo.stderr + unknown.stderr + absent.stderr


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


def test_a_run_that_another_process_is_at_is_left_to_it(data: Path, tmp_path: Path) -> None:
    config = make_config("scratch", "cpsc2018", backbone=TINY, recipe="modern", overrides=settings(data))
    path = str(resolve(config, tmp_path).run.path)
    holding = (
        "import sys; from pathlib import Path; from data_modules.claim import claimed\n"
        f"with claimed(Path({path!r})): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunClaimedError, match=str(holder.pid)):
            scratch(data, tmp_path)
        assert holder.stdin is not None
        holder.stdin.close()
    assert scratch(data, tmp_path).is_done


@pytest.mark.slow
@pytest.mark.parametrize("way", ["gradual", "linear_probe"])
def test_two_processes_fine_tune_as_one_where_batch_norm_is_frozen(data: Path, tmp_path: Path, way: str) -> None:
    """Frozen weights get no gradient in either process, and those unfrozen later are averaged like all."""
    staged = "tests.ecg_transfer.tiny_backbone:staged_without_dropout"
    upstream = et.pretrain("cpsc2018", backbone=staged, recipe="modern", overrides=settings(data), output=tmp_path)
    more = {"transfer.way": way, "transfer.batch_norm": "reestimate", "transfer.unfreeze_share": 0.7}
    wanted = settings(data, **more)
    small = [f"{name}={value}" for name, value in wanted.items() if name != "data.root"]
    arguments = ("finetune", "ptb", "--upstream", upstream.name, "--backbone", staged, "--recipe", "modern", *small)
    result = console(*arguments, "trainer.devices=2", data=data, output=tmp_path)
    assert result.returncode == 0, result.stderr
    one = et.finetune(
        "ptb", upstream=upstream.name, backbone=staged, recipe="modern", overrides=wanted, output=tmp_path
    )
    (two,) = (run for run in et.find_runs(tmp_path) if run.config.trainer.devices == 2)
    logits = [run.predictions["last_epoch/test"].logits for run in (two, one)]
    np.testing.assert_allclose(*logits, rtol=1e-3, atol=1e-4)
    moved = [
        [record["movement"]["distance"] for record in read_curve(run.path / "metrics.jsonl")] for run in (two, one)
    ]
    for ours, theirs in zip(*moved, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-6)
    assert (moved[0][-1]["embedding"] > 0, moved[0][0]["embedding"]) == (way == "gradual", 0)
