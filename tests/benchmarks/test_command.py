"""The command, as it is typed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.benchmarks.block import BlockError
from experiments.benchmarks.command import bench
from experiments.benchmarks.options import Block, Options
from experiments.benchmarks.row import Row

SCRIPT = Path(__file__).resolve().parents[2] / "experiments" / "benchmarks" / "bench.py"


def test_one_row_from_the_command_to_its_file(tmp_path: Path) -> None:
    results, scratch = tmp_path / "results", tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, str(SCRIPT), "--to", str(results), "--only", "start help", "--quick"]
    done = subprocess.run([*command, "--scratch", str(scratch)], capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stderr
    (path,) = results.glob("*.json")
    content = json.loads(path.read_text())
    (row,) = content["rows"]
    assert row["name"] == "ecg-transfer --help"
    assert len(row["repeats"]) == 3
    assert 0 < min(row["repeats"]) <= row["median"] <= max(row["repeats"])
    assert content["quiet"] == (not content["seen"])
    assert [reading["when"] for reading in content["readings"]] == ["before", "during start help"]
    assert "ecg-transfer --help" in done.stdout
    assert str(path) in done.stdout
    assert list(scratch.iterdir()) == []


def test_a_block_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("experiments.benchmarks.command._torch", lambda: (1, []))

    def fail_for_help(block: Block, options: Options) -> list[Row]:
        if block.name == "help":
            raise BlockError("exit code 1: boom")
        assert Path(options.scratch).is_dir()
        return [Row(group="start", name="slow", unit="s", repeats=(9.0, 9.0), goal=1.5, better="lower")]

    monkeypatch.setattr("experiments.benchmarks.command.measure_apart", fail_for_help)
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            bench(only="start", to=tmp_path, reference=None)
        assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "could not be measured: start help: exit code 1: boom" in said
    assert "at most 1.5: MISSED" in said
    assert "same" in said
    assert "compared with" in said


def test_what_was_measured_before_a_stop_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmarks.command._torch", lambda: (1, []))
    asked: list[str] = []

    def stop_at_the_second(block: Block, options: Options) -> list[Row]:
        asked.append(block.title)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return [Row(group="start", name="first", unit="s", repeats=(1.0,))]

    monkeypatch.setattr("experiments.benchmarks.command.measure_apart", stop_at_the_second)
    with pytest.raises(SystemExit) as ended:
        bench(only="start", to=tmp_path, reference=None)
    assert ended.value.code == 1
    (path,) = tmp_path.glob("*.json")
    content = json.loads(path.read_text())
    assert [row["name"] for row in content["rows"]] == ["first"]
    assert list(content["failed"]) == asked[1:]


def test_a_missed_goal_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Row(group="start", name="slow", unit="s", repeats=(9.0,), goal=1.5, better="lower")
    monkeypatch.setattr("experiments.benchmarks.command._torch", lambda: (1, []))
    monkeypatch.setattr("experiments.benchmarks.command.measure_apart", lambda block, options: [slow])
    with pytest.raises(SystemExit) as ended:
        bench(only="start help", to=tmp_path)
    assert ended.value.code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"only": "stpe"}, "nothing is called 'stpe'"),
        ({"reference": Path("/nowhere")}, r"there is no pretrain/gru\.py"),
        ({"page": True}, "there is no result of a whole"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    tmp_path: Path, arguments: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.benchmarks.command._torch", lambda: (1, []))
    with pytest.raises(SystemExit, match=message):
        bench(to=tmp_path, **arguments)
