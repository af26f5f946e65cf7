"""A short `make chaos`: faults at a few instants, in processes of their own; and that what is lost would be seen."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
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
    assert content["seed"] == 7
    assert list(tmp_path.iterdir()) == [result], "it cleans up"


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
        with pytest.raises(ValueError, match="torn"):
            run.model()
    found = sameness.differences(run, whole)
    assert bool(found) == (change != "nothing"), found
