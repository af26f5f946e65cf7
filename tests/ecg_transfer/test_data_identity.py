"""A finished run on a published corpus is found again by a look at its files, and refused when they changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import ecg_transfer as et
from data_modules import datamodule
from data_modules.corpus import SIMULATION_MARKER
from data_modules.simulation import simulate_corpus
from ecg_transfer.data_identity import DataChangedError, require_same_data
from ecg_transfer.files import write_json
from ecg_transfer.runs import Run
from tests.ecg_transfer.tiny_backbone import NAME


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A run on a corpus in a published layout that passes for a real copy, since its marker is gone."""
    folder = tmp_path_factory.mktemp("published")
    simulate_corpus("cpsc2018", folder / "data" / "cpsc2018", num_records=60, progress=False)
    (folder / "data" / "cpsc2018" / SIMULATION_MARKER).unlink()
    return folder, scratch(folder)


def scratch(folder: Path) -> Run:
    overrides = {"optim.max_epochs": 1, "optim.min_updates": 0, "optim.batch_size": 16, "trainer.accelerator": "cpu"}
    return et.train_from_scratch(
        "cpsc2018",
        backbone=NAME,
        recipe="modern",
        overrides=overrides | {"data.root": str(folder / "data")},
        output=folder / "runs",
        progress=False,
    )


def copied(made: tuple[Path, Run], folder: Path) -> tuple[Path, Run]:
    """A copy that a test may change, its run's configuration pointing to the original's root."""
    shutil.copytree(made[0], folder / "copy")
    run = Run(folder / "copy" / made[1].path.relative_to(made[0]))
    return folder / "copy", run


def check(folder: Path, run: Run) -> None:
    config = run.config
    config.data.root = str(folder / "data")
    require_same_data(run, config)


def first_signal(folder: Path) -> Path:
    return min((folder / "data" / "cpsc2018").rglob("*.mat"))


def test_the_same_files_need_no_signal_read(made: tuple[Path, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, run = made
    assert run.path.parent.name == "real"
    assert run.manifest["checks"].keys() <= {"copy", "gain", "right_arm_swapped", "flat_lead", "lead_identity"}
    shutil.rmtree(folder / "data" / "cache")
    monkeypatch.setattr(datamodule, "open_cache", None)  # is not called
    assert scratch(folder).path == run.path
    assert not (folder / "data" / "cache").exists()


def test_touched_and_copied_files_are_the_same_data(made: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = copied(made, tmp_path)
    for path in (folder / "data" / "cpsc2018").rglob("*"):
        path.touch()
    check(folder, run)


@pytest.mark.parametrize("change", ["sample", "label", "record"])
def test_other_content_is_refused(made: tuple[Path, Run], tmp_path: Path, change: str) -> None:
    folder, run = copied(made, tmp_path)
    signal = first_signal(folder)
    header = signal.with_suffix(".hea")
    if change == "sample":  # the size stays
        content = bytearray(signal.read_bytes())
        content[2000] ^= 1
        signal.write_bytes(content)
    elif change == "label":
        text = header.read_text()
        header.write_text(
            text.replace("Dx: ", "Dx: 164889003,")
            if "164889003" not in text
            else text.replace("164889003", "426783006")
        )
    else:
        header.unlink()
    with pytest.raises(DataChangedError, match="was made with other data"):
        check(folder, run)


def test_a_run_from_before_this_look_is_compared_by_content(made: tuple[Path, Run], tmp_path: Path) -> None:
    folder, run = copied(made, tmp_path)
    manifest = run.manifest
    del manifest["data"]["files_digest"]
    write_json(run.path / "manifest.json", manifest)
    run.seal()
    check(folder, run)
    header = first_signal(folder).with_suffix(".hea")
    header.unlink()
    with pytest.raises(DataChangedError):
        check(folder, run)
