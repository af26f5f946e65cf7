"""Trainings in processes of their own: commands, several processes, another's claim, a full disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ecg_transfer as et
from data_modules.claim import RunClaimedError
from ecg_transfer.config_reading import make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.evaluation import evaluate
from ecg_transfer.resolve import resolve
from ecg_transfer.resume import newest_state
from tests.ecg_transfer.tiny_runs import (
    REPOSITORY,
    TINY,
    console,
    scratch,
    settings,
)


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
@pytest.mark.parametrize("ema", ["null", "0.9"])
def test_two_processes_train_on_the_same_global_batches(data: Path, tmp_path: Path, ema: str) -> None:
    small = [f"{name}={value}" for name, value in settings(data).items() if name != "data.root"]
    arguments = ("scratch", "cpsc2018", "--backbone", TINY, "--recipe", "modern", *small)
    result = console(*arguments, "trainer.devices=2", f"optim.ema={ema}", data=data, output=tmp_path)
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
    by_epoch = {record["epoch"]: record["val"] for record in read_curve(run.path / "metrics.jsonl")}
    chosen = by_epoch[run.results["val_selected"]["epoch"]]
    assert evaluate(run, "val", device="cpu", trust=True).f1_macro == pytest.approx(chosen["f1_macro"], abs=1e-12)


SIGNALLED = """
import os, signal
from ecg_transfer import cli
from ecg_transfer.callbacks.checkpoints import LastEpoch

whole = LastEpoch.on_train_epoch_end

def signalled(self, trainer, module):
    whole(self, trainer, module)
    if trainer.current_epoch == 1 and trainer.global_rank == int(os.environ["SIGNALLED"]):
        os.kill(os.getpid(), signal.SIGTERM)

LastEpoch.on_train_epoch_end = signalled
cli.main()
"""
"""The command line, whose process of a rank gets SIGTERM after its second epoch."""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_two_processes_stop_together_with_their_last_epoch_on_the_disk(data: Path, tmp_path: Path, rank: int) -> None:
    (tmp_path / "signalled.py").write_text(SIGNALLED)
    small = [f"{name}={value}" for name, value in settings(data).items() if name != "data.root"]
    command = [sys.executable, "signalled.py", "scratch", "cpsc2018", "--backbone", TINY, "--recipe", "modern", *small]
    command += ["trainer.checkpoint_seconds=1e9", "trainer.devices=2", "--output", str(tmp_path)]
    surroundings = os.environ | {"ECG_DATA_ROOT": str(data), "PYTHONPATH": str(REPOSITORY), "SIGNALLED": str(rank)}
    result = subprocess.run(command, capture_output=True, text=True, env=surroundings, cwd=tmp_path, check=False)
    assert result.returncode == 143, result.stderr
    (run,) = et.find_runs(tmp_path)
    assert run.status == "unfinished"
    state, said = newest_state(run.path)
    assert (state, said) == (run.path / "last.ckpt", [])
    assert torch.load(run.path / "last.ckpt", weights_only=True)["epoch"] == 1
    assert [record["epoch"] for record in read_curve(run.path / "metrics.jsonl")] == [0, 1]


SIGNALLED_AT_ITS_END = """
import os, signal, sys
from ecg_transfer import cli

class Last:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.{second}):
        kill(pid, number)

last = Last()  # goes when Python has given up its own handlers

def app():
    os.kill(os.getpid(), signal.{first})

cli.app = app
cli.main()
"""


@pytest.mark.parametrize(("first", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("second", ["SIGINT", "SIGTERM"])
def test_a_second_signal_while_python_ends_changes_no_exit_code(first: str, second: str, code: int) -> None:
    command = [sys.executable, "-c", SIGNALLED_AT_ITS_END.format(first=first, second=second)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert (result.returncode, "the same command goes on" in result.stderr) == (code, True)


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


@pytest.mark.slow
def test_a_finished_run_is_recognised_without_waiting_for_torch(data: Path, tmp_path: Path) -> None:
    small = [f"{name}={value}" for name, value in settings(data).items() if name != "data.root"]
    plain = ("--backbone", "lstm_last", "--recipe", "modern", *small, "optim.max_epochs=1")
    commands = [("pretrain", "cpsc2018", *plain), ("finetune", "ptb", "--upstream", "cpsc2018", *plain)]
    for arguments in commands:
        assert console(*arguments, data=data, output=tmp_path).returncode == 0
    for arguments in commands:
        again = console(*arguments, data=data, output=tmp_path, PYTHONPROFILEIMPORTTIME="1")
        imported = {line.rpartition("|")[2].strip() for line in again.stderr.splitlines()}
        assert "nothing to do" in again.stdout
        assert "numpy" in imported
        assert not imported & {"torch", "pytorch_lightning", "scipy.signal", "pandas"}


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
    more = {"transfer.way": way, "transfer.batch_norm": "reestimate"}
    more |= {"transfer.unfreeze_share": 0.7} if way == "gradual" else {}
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
