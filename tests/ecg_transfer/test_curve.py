from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecg_transfer.curve import read_curve, time_to_targets


def record(epoch: int, val: float, seconds: float = 0.0) -> dict[str, Any]:
    return {"epoch": epoch, "updates": 10 * (epoch + 1), "seconds": seconds or epoch + 0.5, "val": {"f1": val}}


def test_there_is_no_curve_without_a_file(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "metrics.jsonl") == []
    (tmp_path / "metrics.jsonl").touch()
    assert read_curve(tmp_path / "metrics.jsonl") == []


def test_an_epoch_counts_as_it_was_last_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [record(0, 0.1), record(1, 0.2), record(2, 0.3), record(1, 0.25), record(2, 0.35)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_curve(path) == [record(0, 0.1), record(1, 0.25), record(2, 0.35)]


@pytest.mark.parametrize("cut", range(1, 20))
def test_a_torn_last_line_is_left_out(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.jsonl"
    whole = "".join(json.dumps(record(epoch, 0.1)) + "\n" for epoch in range(3)).encode()
    path.write_bytes(whole[: -1 - cut])
    assert [line["epoch"] for line in read_curve(path)] == [0, 1]


def test_lines_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    good = json.dumps(record(0, 0.1)).encode()
    path.write_bytes(b'\n3\n[1]\nnull\n{}\n{"epoch": null}\n{"epoch": "x"}\n\xff\xfe\n' + good)
    assert read_curve(path) == [record(0, 0.1)]


def test_times_to_targets_by_hand() -> None:
    """The best is 1.0, so 90 % is reached at 0.91, 95 % at 0.97 and 99 % at the best itself."""
    curve = [record(0, 0.5, 2.0), record(1, 0.91, 4.0), record(2, 0.8, 6.0), record(3, 0.97, 8.5), record(4, 1.0, 10.0)]
    assert time_to_targets(curve, "val", "f1") == {
        "90%": {"score": 0.9, "epochs": 2, "updates": 20, "seconds": 4.0},
        "95%": {"score": 0.95, "epochs": 4, "updates": 40, "seconds": 8.5},
        "99%": {"score": 0.99, "epochs": 5, "updates": 50, "seconds": 10.0},
    }


def test_a_run_that_learns_nothing_has_no_times() -> None:
    """Or it would be the quickest of all."""
    assert time_to_targets([record(0, 0.0), record(1, 0.0)], "val", "f1") == {}


def test_an_empty_curve_has_no_times() -> None:
    assert time_to_targets([], "val", "f1") == {}
