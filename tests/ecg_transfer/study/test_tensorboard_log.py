from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from ecg_transfer.runs import find_runs
from ecg_transfer.study.tensorboard_log import write_tensorboard

if TYPE_CHECKING:
    from conftest import FakeRuns

VALUES = (0.2, 0.4, 0.5)


def accumulator(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_a_pair_has_readable_names_and_its_curves(fake_runs: FakeRuns, tmp_path: Path) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018")
    finetune, scratch = fake_runs.pair(upstream=upstream, val_curve=VALUES)
    names = write_tensorboard(find_runs(fake_runs.output), tmp_path / "log")
    assert names == {
        "cpsc2018/resnet1d18/pretrain/seed 0": upstream,
        "ptb/resnet1d18/finetune from cpsc2018/seed 0": finetune,
        "ptb/resnet1d18/scratch/seed 0": scratch,
    }
    overlaid = [name for name in names if re.search("ptb/resnet1d18/.*seed 0", name)]
    for name in overlaid:
        log = accumulator(tmp_path / "log" / name)
        for tag in ("val/f1_weighted", "test/f1_weighted"):
            assert [event.step for event in log.Scalars(tag)] == [1, 2, 3]
            assert [event.value for event in log.Scalars(tag)] == pytest.approx(VALUES)
        assert [event.value for event in log.Scalars("train/loss")] == [0.5] * 3
        final = log.Scalars("final/val_selected/f1_weighted")[0].value
        assert final == pytest.approx(names[name].scores["val_selected"].f1_weighted)


def test_the_table_of_hyper_parameters(fake_runs: FakeRuns, tmp_path: Path) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018", simulated=True)
    fake_runs.run("finetune", upstream=upstream, simulated=True, overrides=["optim.lr=1e-3"], num_train=77)
    write_tensorboard(find_runs(fake_runs.output), tmp_path)
    log = accumulator(tmp_path / "ptb SIMULATED/resnet1d18/finetune from cpsc2018/seed 0")
    content = log.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    given = HParamsPluginData.FromString(content).session_start_info.hparams
    assert given["lr"].number_value == 1e-3
    assert given["train_records"].number_value == 77
    assert given["ECGs"].string_value == "SIMULATED"
    assert given["upstream"].string_value == "cpsc2018"
    table = accumulator(tmp_path / "experiment").PluginTagToContent("hparams")["_hparams_/experiment"]
    experiment = HParamsPluginData.FromString(table).experiment
    assert {info.name for info in experiment.hparam_infos} == set(given)
    assert "final/val_selected/f1_weighted" in {info.name.tag for info in experiment.metric_infos}


def test_equal_names_are_told_apart_and_logging_again_changes_nothing(fake_runs: FakeRuns, tmp_path: Path) -> None:
    one, two = (fake_runs.run(overrides=[f"optim.lr={lr}"]) for lr in (1e-2, 1e-3))
    names = write_tensorboard([one, two], tmp_path)
    assert sorted(names) == sorted(f"ptb/resnet1d18/scratch/seed 0 ({run.name[-8:]})" for run in (one, two))
    before = {path: path.read_bytes() for path in tmp_path.rglob("events*")}
    write_tensorboard([one, two], tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("events*")} == before


def test_what_is_logged_no_more_or_under_another_name_is_gone(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """A second grid gives the first one's runs longer names: each run was shown twice."""
    gone, one = fake_runs.run(corpus="ribeiro"), fake_runs.run()
    write_tensorboard([gone, one], tmp_path)
    (tmp_path / "ribeiro" / "notes.txt").write_text("mine")
    other = tmp_path / "ptb" / "resnet1d18" / "scratch" / "seed 0" / "events.out.tfevents.1.mine"
    other.touch()
    names = write_tensorboard([one, fake_runs.run(overrides=["optim.lr=1e-3"])], tmp_path)
    logged = {str(path.parent.relative_to(tmp_path)) for path in tmp_path.rglob("events*.study")}
    assert logged == {*names, "experiment"}
    assert [path.name for path in (tmp_path / "ribeiro").iterdir()] == ["notes.txt"]
    assert other.exists()


def test_unfinished_runs_are_left_out(fake_runs: FakeRuns, tmp_path: Path) -> None:
    run = fake_runs.run()
    (run.path / "DONE").unlink()
    assert write_tensorboard([run], tmp_path) == {}
