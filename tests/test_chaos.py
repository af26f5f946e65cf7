"""A short `make chaos`: faults at a few instants, in processes of their own; and that what is lost would be seen."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import ecg_transfer as et
from ecg_transfer.files import write_json
from ecg_transfer.predictions import load_predictions, save_predictions
from ecg_transfer.runs import Run
from tests.ecg_transfer.tiny_backbone import NAME

ROOT = Path(__file__).resolve().parents[1]
CHAOS = ROOT / "experiments" / "chaos"


@pytest.mark.slow
def test_a_few_faults_lose_nothing(tmp_path: Path) -> None:
    result = tmp_path / "chaos.json"
    command = [sys.executable, str(CHAOS), "--seed", "7", "--kills", "1", "--only", "training", "--json", str(result)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(result.read_text())
    assert [fault["lost"] for fault in content["faults"]] == ["", "", ""]
    assert "SIGKILL at .last.ckpt" in content["faults"][1]["what"]
    assert [fault["how"] for fault in content["faults"]] == ["drawn", "aimed", "aimed"]
    assert content["summary"]["all"] == content["summary"]["all"] | {"injected": 3, "survived": 3, "lost": 0}
    assert content["seed"] == 7
    left = [path for path in tmp_path.iterdir() if not path.name.startswith("torchinductor")]  # PyTorch's own
    assert left == [result], "it cleans up"


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(CHAOS))
    module = importlib.import_module("no_room")
    if not module.can_refuse_writes():
        pytest.skip("this system cannot refuse a process's writes")
    return module


def _three_files(folder: Path) -> None:
    (folder / "elsewhere").write_text("never refused")
    (folder / "disk" / "one").write_text("1")
    with (folder / "disk" / "two").open("wb", buffering=0) as stream:
        os.write(stream.fileno(), b"2")
        os.fsync(stream.fileno())
    (folder / "disk" / "three").mkdir()
    (folder / "disk" / "one").read_bytes()


WRITES = ["openat one", "write one", "openat two", "write two", "fsync two", "mkdir three"]


@pytest.mark.parametrize("refused", [None, *range(len(WRITES))])
def test_any_write_can_be_refused(no_room: ModuleType, tmp_path: Path, refused: int | None) -> None:
    (tmp_path / "disk").mkdir()
    disk = no_room.FullDisk(tmp_path / "disk", refused)
    child = disk.watch(lambda: _three_files(tmp_path), tmp_path / "log")
    assert disk.struck == (refused is not None)
    assert child.code == (0 if refused is None else 70), child.said()
    assert ("[Errno 28] No space left on device" in child.said()) == (refused is not None)
    first = len(WRITES) if refused is None else refused + 1
    assert disk.writes[:first] == WRITES[:first]
    assert set(disk.writes[first:]) <= set(WRITES[first - 1 : first]), "Python tries a refused write again at the end"
    assert (tmp_path / "elsewhere").read_text() == "never refused"


@pytest.mark.parametrize("once", [True, False])
def test_a_disk_stays_full_unless_once(no_room: ModuleType, tmp_path: Path, once: bool) -> None:
    (tmp_path / "disk").mkdir()

    def work() -> None:
        for name in "abcd":
            with suppress(OSError):
                (tmp_path / "disk" / name).mkdir()

    disk = no_room.FullDisk(tmp_path / "disk", 1, once)
    assert disk.watch(work, tmp_path / "log").code == 0
    assert len(disk.writes) == 4
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == (["a", "c", "d"] if once else ["a"])


@pytest.mark.usefixtures("no_room")
def test_hdf5_says_at_any_write_that_the_disk_is_full(tmp_path: Path) -> None:
    """HDF5 alone crashes, or is silent, where what it writes last finds no room."""
    command = [sys.executable, str(ROOT / "tests" / "refused_hdf5_writes.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("do", ["nothing", "something", "an exception", "an exit"])
def test_a_trial_that_cannot_be_judged_is_not_survived(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, do: str
) -> None:
    monkeypatch.syspath_prepend(str(CHAOS))
    life = importlib.import_module("life").Life(tmp_path, 0, lambda sentence: None)

    def trial() -> list[str]:
        if do == "an exception":
            raise ValueError("odd")
        if do == "an exit":
            os._exit(3)
        return ["a weight"] if do == "something" else []

    life.inject("group", [("first", trial), ("second", list)], how="drawn", together=2)
    lost = {fault.what: fault.lost for fault in life.faults}
    expected = {"nothing": "", "something": "a weight", "an exception": "ValueError: odd", "an exit": "ends with 3"}
    assert (lost["first"] == "") == (do == "nothing")
    assert expected[do] in lost["first"]
    assert lost["second"] == ""
    assert {fault.how for fault in life.faults} == {"drawn"}


@pytest.fixture(scope="module")
def sameness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sameness", CHAOS / "sameness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("whole")
    small = {"data.root": str(folder), "data.num_simulated": 90, "data.source": "simulated", "optim.max_epochs": 2}
    small |= {"optim.batch_size": 32, "optim.min_updates": 0, "trainer.accelerator": "cpu"}
    return et.train_from_scratch("cpsc2018", backbone=NAME, overrides=small, output=folder / "runs")


@pytest.mark.parametrize("change", ["nothing", "a logit", "an epoch", "a leftover", "a claim", "a score", "a byte"])
def test_what_is_lost_is_seen(sameness: ModuleType, whole: Run, tmp_path: Path, change: str) -> None:
    run = Run(tmp_path / whole.name)
    shutil.copytree(whole.path, run.path)
    predictions, epochs = load_predictions(run.path / "predictions.npz")
    if change == "a logit":
        logits = predictions["last_epoch/test"].logits
        logits[0, 0] = np.nextafter(logits[0, 0], 1e9)
        save_predictions(run.path / "predictions.npz", predictions, epochs)
        run.seal()
    elif change == "an epoch":
        (run.path / "metrics.jsonl").write_bytes((run.path / "metrics.jsonl").read_bytes().splitlines(keepends=True)[0])
        run.seal()
    elif change == "a score":
        write_json(run.path / "scores.json", run.results | {"optimism": 0.5})
        run.seal()
    elif change == "a leftover":
        (run.path / "last.previous.ckpt").touch()
    elif change == "a claim":
        (run.path.parent / f".{run.name}.claim").touch()
    elif change == "a byte":
        with (run.path / "best.ckpt").open("rb+") as stream:
            stream.seek(500)
            stream.write(b"?")
        with pytest.raises(ValueError, match="was changed since the run finished"):
            run.model()
    found = sameness.differences(run, whole)
    assert bool(found) == (change != "nothing"), found
