"""How fast this machine trains: what is measured, by which processes, and where it is filed."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ecg_transfer.study import probe, probe_process
from ecg_transfer.study.probe import PROBE_FILE, Speed, Work, speeds


def test_speeds_are_filed_by_machine_and_a_torn_file_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe.Processes, "speed", lambda self, work: Speed(train=5.0, evaluate=6.0, startup=7.0))
    work = Work(backbone="gru", precision=32, batch_size=8)
    assert speeds([work], 2, tmp_path, measure=False) == {}
    assert speeds([work], 2, tmp_path) == {work: Speed(train=5.0, evaluate=6.0, startup=7.0)}
    monkeypatch.setattr(probe, "machine", lambda: "another")
    assert speeds([work], 2, tmp_path, measure=False) == {}
    (tmp_path / PROBE_FILE).write_text('{"x"')
    assert speeds([work], 2, tmp_path) == {work: Speed(train=5.0, evaluate=6.0, startup=7.0)}


@pytest.mark.parametrize(
    "content",
    ["[]", "null", "7", '{"HERE": []}', '{"HERE": {"WORK": "x"}}', '{"HERE": {"WORK": {"train": 1.0}}}',
     '{"HERE": {"WORK": {"train": null, "evaluate": 1.0, "startup": 1.0}}}',
     '{"HERE": {"WORK": {"train": 0.0, "evaluate": 1.0, "startup": 1.0}}}',
     '{"HERE": {"WORK": {"train": NaN, "evaluate": 1.0, "startup": 1.0}}}'],
)  # fmt: skip
def test_what_is_no_measurement_is_measured_anew(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Speed(train=5.0, evaluate=6.0, startup=7.0)
    monkeypatch.setattr(probe.Processes, "speed", lambda self, work: measured)
    monkeypatch.setattr(probe, "machine", lambda: "HERE")
    work = Work(backbone="gru", precision=32, batch_size=8)
    name = work.key(2, probe.threads_for(2))
    (tmp_path / PROBE_FILE).write_text(content.replace("WORK", name))
    assert speeds([work], 2, tmp_path, measure=False) == {}
    assert speeds([work], 2, tmp_path) == {work: measured}
    assert speeds([work], 2, tmp_path, measure=False) == {work: measured}


@pytest.mark.parametrize(
    ("gpus", "cores", "expected"),
    [
        (["0"], 16, [1, 2, 4, 8]),
        (["0", "1"], 6, [2, 4]),
        (["0", "1", "2", "3"], 2, [4]),
        ([], 6, [1, 2, 4, 6]),
        ([], 1, [1]),
    ],
)
def test_several_workers_share_a_gpu_as_far_as_there_are_cores(
    gpus: list[str], cores: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(probe, "num_cores", lambda: cores)
    assert probe.worker_choices() == expected


def test_speeds_of_a_gpu_are_filed_by_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = []
    for model in ("NVIDIA H200", "NVIDIA T4"):
        monkeypatch.setattr(probe, "visible_gpus", lambda: ["0", "1"])
        monkeypatch.setattr(probe, "gpu_names", lambda model=model: [model, model])
        machines.append(probe.machine())
        assert f"2 GPUs ({model})" in machines[-1]
    monkeypatch.setattr(probe, "visible_gpus", list)
    assert "GPU" not in probe.machine()


def test_a_process_that_runs_out_of_memory_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def steps(work: Work) -> tuple[object, object, int, bool]:
        if work.backbone == "resnet1d101":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return lambda: None, lambda: None, 8, False

    def of(backbone: str) -> str:
        return json.dumps({"backbone": backbone, "precision": 32, "batch_size": 8}) + "\n"

    monkeypatch.setattr(probe_process, "_steps", steps)
    monkeypatch.setattr(probe_process, "_seconds_a_call", lambda steps, at_least: {"train": 2.0, "evaluate": 0.5})
    monkeypatch.setattr(sys, "argv", ["probe", "0"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(of("resnet1d101") + of("gru") + "go\n"))
    monkeypatch.setattr(probe_process.time, "time", lambda: 9.5)
    probe_process.main()
    assert capsys.readouterr().out == probe.NO_MEMORY + 'ready\n{"train": 4.0, "evaluate": 16.0, "startup": 9.5}\n'


def fake_processes(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> Path:
    """A program in Python's place, and what it was started with, line by line."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho $2 >> {folder}/started\nwhile read line; do {answer}; done\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return folder / "started"


GRU = Work(backbone="gru", precision=32, batch_size=8)


def test_processes_are_started_once_for_all_measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = '{"train": 4.0, "evaluate": 16.0, "startup": 9.5}'
    started = fake_processes(tmp_path, monkeypatch, f"case $line in go) echo '{rates}';; *) echo ready;; esac")
    with probe.Processes(2) as processes:
        assert not started.exists()
        for _ in range(3):
            assert processes.speed(GRU) == Speed(train=4.0, evaluate=16.0, startup=9.5)
        running = [process.pid for process in processes._running]
    assert started.read_text().splitlines() == ["ecg_transfer.study.probe_process"] * 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in running)


@pytest.mark.parametrize("answer", ["echo no memory", "kill -9 $$"])
def test_processes_without_memory_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    fake_processes(tmp_path, monkeypatch, answer)
    seen: set[int] = set()
    with probe.Processes(2) as processes:
        tell = processes._tell

        def note(line: str) -> None:
            seen.update(process.pid for process in processes._running)
            tell(line)

        monkeypatch.setattr(processes, "_tell", note)
        for _ in range(2):
            with pytest.raises(probe.NoMemoryError, match="no memory for 2 x gru"):
                processes.speed(GRU)
            assert processes._running == []
    assert len(seen) == 4


def test_processes_that_fail_are_no_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_processes(tmp_path, monkeypatch, "exit 1")
    with probe.Processes(2) as processes, pytest.raises(RuntimeError, match=r"no step of Work.*gru") as caught:
        processes.speed(GRU)
    assert not isinstance(caught.value, probe.NoMemoryError)


def test_a_moment_in_which_the_machine_does_something_else_counts_for_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    now, order = [0.0], []
    takes = {"train": iter([1.0, 30.0, 1.0, 1.0]), "evaluate": iter([0.2] * 40)}

    def step(name: str) -> None:
        order.append(name)
        now[0] += next(takes[name])

    monkeypatch.setattr(probe_process.time, "perf_counter", lambda: now[0])
    steps = {name: lambda name=name: step(name) for name in takes}
    assert probe_process._seconds_a_call(steps) == pytest.approx({"train": 1.0, "evaluate": 0.2})
    assert order[:6] == ["train", "evaluate"] * 3, "in turns"
    assert order.count("train") == 3
    assert order.count("evaluate") == 15, "for 3 seconds of each"


@pytest.mark.slow
def test_a_probe_measures_processes_side_by_side() -> None:
    small = Work(backbone="gru_mean", precision=32, batch_size=4, num_samples=50)
    with probe.Processes(2) as processes:
        for work in (small, replace(small, backbone="lstm_mean")):
            found = processes.speed(work)
            assert 1 < found.train < found.evaluate < 1e6
            assert 1 < found.startup < 300
