"""The command line with real, tiny trainings on simulated ECGs: stopped in the middle, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from data_modules.claim import holder_of
from ecg_transfer.curve import read_curve
from ecg_transfer.study.definition import read_study
from ecg_transfer.study.plan import make_plan

ROOT = Path(__file__).parents[3]
STUDY = """
name: tiny
recipe: modern
overrides: {data.source: simulated, data.num_samples: 100, optim.batch_size: 16}
corpora: {georgia: {data.num_simulated: 60}, ptb: {data.num_simulated: 60}}
grids:
  - {upstreams: [georgia], downstreams: [ptb], backbones: [gru_mean], epochs: [60], pretrain: {epochs: 3}}
"""


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "ecg_transfer", "study", *words]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    study = tmp_path / "tiny.yaml"
    study.write_text(STUDY)
    return study


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_study_ends_its_workers_and_goes_on(file: Path, tmp_path: Path, number: int, code: int) -> None:
    output = ["--output", str(tmp_path / "runs")]
    plan = make_plan(read_study(file), tmp_path / "runs")
    scratch = plan.by_phase("scratch")[0]
    study = subprocess.Popen(command("run", str(file), "--workers", "2", *output), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(read_curve(scratch.run.path / "metrics.jsonl")) < 2:
        assert study.poll() is None, study.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(study.pid, number)
    said_then = study.communicate(timeout=60)[1]
    assert study.returncode == code, said_then
    assert not any(holder_of(planned.run.path) for planned in plan.runs)
    num_done = len(read_curve(scratch.run.path / "metrics.jsonl"))
    assert not scratch.run.is_done
    said = call("status", str(file), "--once", *output)
    assert "of 3 runs done" in said.stdout
    again = call("run", str(file), "--workers", "2", *output)
    assert again.returncode == 0, again.stderr
    assert all(planned.run.is_done for planned in plan.runs)
    lines = (scratch.run.path / "metrics.jsonl").read_text().count("\n")
    assert lines < 60 + num_done, "it went on where it was, not from the start"
    assert "Nothing is left to do." in call("plan", str(file), *output).stdout
    left = scratch.run.path / "last.ckpt"
    left.write_bytes(b"by a kill in the instant after DONE")
    whole = call("run", str(file), *output)
    assert (whole.returncode, "3 runs were done before, 0 now" in whole.stderr) == (0, True)
    assert not left.exists()


def test_a_mistake_is_a_sentence_and_not_a_traceback(file: Path) -> None:
    file.write_text("name: x\ngridz: []\n")
    said = call("run", str(file))
    assert said.returncode == 1
    assert said.stderr.startswith("ecg-transfer: ")
    assert "Did you mean: 'grids'?" in said.stderr
    assert "Traceback" not in said.stderr


def test_wrong_usage_is_a_sentence_and_exits_2(file: Path) -> None:
    said = call("run")
    assert said.returncode == 2
    assert "Missing argument 'FILE'" in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("module", ["cli", "tables", "metrics"])
def test_neither_help_nor_the_table_of_a_finished_run_waits_for_what_it_does_not_need(module: str) -> None:
    heavy = "{'torch', 'ray', 'pandas', 'scipy', 'matplotlib'}"
    code = f"import sys, ecg_transfer.{module}; print({heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize(
    ("words", "options", "remedy"),
    [
        (("--address", "foo", "--gpus-per-run", "2"), "--address and --gpus-per-run", "--engine ray"),
        (("--engine", "ray", "--timeout", "3"), "--timeout", "--engine local"),
    ],
)
def test_an_option_of_the_other_engine_is_refused(
    file: Path, words: tuple[str, ...], options: str, remedy: str
) -> None:
    said = call("run", str(file), *words)
    assert said.returncode == 1
    assert f" does not look at {options}: add {remedy}, or leave that out" in said.stderr


def test_a_study_without_its_corpora_plans_nothing_and_says_why(file: Path, tmp_path: Path) -> None:
    file.write_text(STUDY.replace("data.source: simulated", "data.source: real"))
    done = call("plan", str(file), "--output", str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert "There is nothing to run." in done.stdout
    assert "ptb is left out" in done.stdout
    assert "SIMULATED ECGs" not in done.stdout


@pytest.mark.parametrize(
    ("words", "code", "note"),
    [
        (("run",), 1, "ptb is left out: no PTB Diagnostic"),
        (("status", "--once"), 0, "ptb is not on this disk: runs on it that were made elsewhere count by their names"),
    ],
)
def test_a_study_of_a_corpus_that_is_not_there_says_why_it_has_no_runs(
    file: Path, tmp_path: Path, words: tuple[str, ...], code: int, note: str
) -> None:
    file.write_text(STUDY.replace("data.source: simulated", "data.source: real"))
    said = call(*words, str(file), "--output", str(tmp_path / "runs"))
    assert said.returncode == code
    assert f"note: {note}" in said.stdout + said.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_study_for_a_gpu_begins_no_run_on_a_machine_without(file: Path, tmp_path: Path) -> None:
    """Or all of them would be set down as failed for good, where a machine with one shares the folder."""
    file.write_text(STUDY.replace("optim.batch_size: 16", "optim.batch_size: 16, trainer.accelerator: gpu"))
    output = ["--output", str(tmp_path / "runs")]
    plan = call("plan", str(file), "--workers", "1", *output)
    assert "not measured: gru_mean" in plan.stderr
    assert "PyTorch sees no GPU here" in plan.stderr
    assert "The speed of 3 runs is not measured: the lines above say why." in plan.stdout
    assert "leave out --no-probe" in call("plan", str(file), "--no-probe", *output).stdout
    run = call("run", str(file), "--workers", "1", *output)
    assert run.returncode == 1
    assert "trainer.accelerator=gpu: PyTorch sees no GPU here" in run.stderr
    assert not list(tmp_path.glob("runs/*/*"))
