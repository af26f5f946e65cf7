from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from ecg_transfer.study.report_command import report

if TYPE_CHECKING:
    from conftest import FakeRuns


def test_only_the_runs_of_the_study_count_and_those_to_come_are_told(fake_runs: FakeRuns, tmp_path: Path) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018")
    finetune, scratch = fake_runs.pair(upstream=upstream)
    other = fake_runs.run("scratch", "georgia")
    names = [upstream.name, finetune.name, scratch.name, "scratch-ribeiro-lstm-s0-00000000"]
    lines = report(tmp_path / "report", output=fake_runs.output, names=names)
    html = (tmp_path / "report" / "report.html").read_text()
    assert "1 of the 4 planned runs were not started yet." in html
    assert other.name not in html
    assert set(pd.read_csv(tmp_path / "report" / "tables" / "results.csv")["run"]) == set(names[:3])
    assert lines[0].startswith("C1 inconclusive: ")
    assert len(lines) == 6
    assert (tmp_path / "report" / "tensorboard" / "ptb" / "resnet1d18" / "scratch" / "seed 0").is_dir()


@pytest.mark.parametrize("names", [None, ["nothing"]])
def test_without_runs_it_says_so(tmp_path: Path, names: list[str] | None) -> None:
    lines = report(tmp_path / "report", output=tmp_path, names=names, tensorboard=False)
    assert lines[0].startswith("no pair of a finished")
    assert not (tmp_path / "report" / "tensorboard").exists()
