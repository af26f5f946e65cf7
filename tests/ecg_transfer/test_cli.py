"""What the command line says to who mistypes."""

from __future__ import annotations

import errno
import re
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ecg_transfer.cli import _fell_in_a_thread, app
from ecg_transfer.config_reading import make_config
from ecg_transfer.resolve import pretrain_config
from tests.ecg_transfer.made_runs import make_run


@pytest.fixture(autouse=True)
def no_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("finetune cpsc2018", "would start from a pre-training on cpsc2018 itself: name the upstream with --upstream"),
        ("finetune cpsc2018 --upstream cpsc2018", "no finished pre-training of resnet1d18 on cpsc2018"),
        ("finetune cpsc2018 transfer.upstream=ptbxl", "no finished pre-training of resnet1d18 on ptbxl"),
        ("finetune ptb", "no finished pre-training of resnet1d18 on cpsc2018"),
        ("finetune ptb --upstream ptbx", "there is a corpus ptbxl"),
        ("finetune ptb --recipe moderne", "did you mean 'modern'?"),
        ("scratch ptb transfer.upstream=cpsc2018", "transfer.upstream=cpsc2018 is for fine-tunings"),
        ("pretrain ptb transfer.upstream=cpsc2018", "transfer.upstream=cpsc2018 is for fine-tunings"),
        ("compare ptbx", "did you mean 'ptbxl'?"),
        ("finetune ptb --upstream cpsc2018 --backbone resnet1d81", "did you mean resnet1d18"),
        ("evaluate {run} --part testt", "part is 'testt', expected one of train, val, test"),
    ],
)
def test_a_mistake_is_answered(tmp_path: Path, command: str, message: str) -> None:
    run = make_run(tmp_path, make_config("pretrain", "georgia"), simulated=True)
    arguments = [*command.format(run=run.path).split(), "--output", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert message in str(done.exception)


def test_the_default_upstream_is_told() -> None:
    assert "[default: (cpsc2018)]" in " ".join(CliRunner().invoke(app, ["finetune", "--help"]).stdout.split())


def test_the_help_names_what_a_pretraining_does_not_take_over() -> None:
    told = {
        "label_set": "all",
        "subset": 5,
        "num_simulated": 50,
        "original_rate": 500,
        "unlabelled": "keep",
        "split_seed": 2,
    }
    overrides = {f"data.{name}": value for name, value in {**told, "scale": "zscore", "val_fraction": 0.1}.items()}
    ours = make_config("finetune", "ptbxl", upstream="georgia", overrides=overrides).data
    theirs = pretrain_config(make_config("finetune", "ptbxl", upstream="georgia", overrides=overrides)).data
    left = {name for name, value in vars(ours).items() if getattr(theirs, name) != value} - {"corpus"}
    words = set(re.findall(r"\w+", CliRunner().invoke(app, ["finetune", "--help"]).stdout))
    assert left == told.keys() - {"split_seed"}
    assert left <= words


@pytest.mark.parametrize(("number", "is_told"), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True)])
def test_a_full_disk_is_told_by_the_command_and_not_by_a_thread_too(
    number: int, is_told: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write() -> None:
        raise OSError(number, "cannot write")

    monkeypatch.setattr(threading, "excepthook", _fell_in_a_thread)
    writer = threading.Thread(target=write)
    writer.start()
    writer.join()
    assert ("cannot write" in capsys.readouterr().err) == is_told


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            "transferability ptb --evidence --json --subset 10 --by size",
            "--json, --subset, --by changes nothing beside",
        ),
        ("transferability --evidence ptb data.subset=9", "data.subset=9 changes nothing beside --evidence"),
        ("transferability ptb --study some.yaml", "--study changes nothing without --evidence"),
        ("transferability ptb optim.lr=5", "optim.lr=5.0 changes nothing here: nothing is trained"),
        ("advise ptb model.backbone=lstm", "model.backbone=lstm changes nothing here"),
        ("advise ptb --subset nan", "data.subset=nan, expected a share"),
        ("labels cpsc2018 ptb optim.lr=5", "optim.lr=5.0 changes nothing here"),
        ("labels cpsc2018 ptb --part test", "--part and --trust are for a run or an exported model"),
    ],
)
def test_what_changes_nothing_is_refused(
    command: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in str(CliRunner().invoke(app, command.split()).exception)
