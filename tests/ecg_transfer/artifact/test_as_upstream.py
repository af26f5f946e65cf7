"""Fine-tunings that start from an exported model."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import ecg_transfer as et
from ecg_transfer.artifact import export_run, read_model_folder
from ecg_transfer.cli import main
from ecg_transfer.export import RecordsUnknownWarning
from ecg_transfer.loaded_model import is_of_simulated
from ecg_transfer.resolve import UpstreamError, resolve
from ecg_transfer.runs import Run
from ecg_transfer.tables import print_run
from ecg_transfer.upstream import RecordsOverlapWarning
from tests.ecg_transfer.artifact.exported import Folders, settings


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


def test_what_simulated_ecgs_are_behind_is_said_wherever_it_is_shown(
    exported: Folders, fine_tuned: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    print_run(fine_tuned)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("started from: ")]
    assert line.endswith("[SIMULATED ECGs]")
    monkeypatch.setattr("sys.argv", ["ecg-transfer", "evaluate", str(fine_tuned.path)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().out.startswith(f"{fine_tuned.name}: test [SIMULATED ECGs]")
    for model in (et.load_model(exported[1]), et.load_model(fine_tuned)):
        assert model.title == f"{model.source} [trained on SIMULATED ECGs]"
    real, simulated = {"simulated": False}, {"simulated": True}
    assert is_of_simulated(real, [real, simulated])
    assert not is_of_simulated(real, [real])


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
    card = (folder.path / "README.md").read_text()
    (line,) = (line for line in card.splitlines() if line.startswith("- Pre-trained on SIMULATED"))
    num_train = exported[0].manifest["data"]["parts"]["train"]["records"]
    assert line.endswith(f"; {num_train} training records.")


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
    for backbone, fields, message in (
        ("gru_mean", {}, "gru_mean is wanted"),
        ("gru_last", {"data.scale": "none"}, "scale"),
    ):
        config = et.make_config(
            "finetune",
            "ptb",
            backbone=backbone,
            recipe="modern",
            upstream=str(exported[1]),
            overrides=settings(data, **fields),
        )
        with pytest.raises(UpstreamError, match=message):
            resolve(config, tmp_path)
