from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from typer.testing import CliRunner

from ecg_transfer.cli import app
from ecg_transfer.runs import Run, home
from ecg_transfer.study.report_command import report

if TYPE_CHECKING:
    from conftest import FakeRuns


def test_only_the_runs_of_the_study_count_and_those_to_come_are_told(fake_runs: FakeRuns, tmp_path: Path) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018")
    finetune, scratch = fake_runs.pair(upstream=upstream)
    other = fake_runs.run("scratch", "georgia")
    planned = [upstream, finetune, scratch, Run(scratch.path.with_name("scratch-ribeiro-lstm-s0-00000000"))]
    lines = report(tmp_path / "report", output=fake_runs.output, planned=planned)
    html = (tmp_path / "report" / "report.html").read_text()
    assert "1 of the 4 planned runs were not started yet." in html
    assert other.name not in html
    assert set(pd.read_csv(tmp_path / "report" / "tables" / "results.csv")["run"]) == {run.name for run in planned[:3]}
    assert lines[0] == "verdicts with paper, lr 0.01, batch 256"
    assert lines[1].startswith("C1 inconclusive: ")
    assert len(lines) == 7
    assert (tmp_path / "report" / "tensorboard" / "ptb" / "resnet1d18" / "scratch" / "seed 0").is_dir()


def test_runs_on_other_ecgs_are_not_the_studys_though_they_have_its_names(fake_runs: FakeRuns, tmp_path: Path) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018", simulated=True)
    fake_runs.pair(upstream=upstream, simulated=True)
    planned = [Run(home(fake_runs.output, simulated=False) / run.name) for run in fake_runs.written]
    real = fake_runs.run("pretrain", "cpsc2018")
    assert real in planned
    lines = report(tmp_path / "report", output=fake_runs.output, planned=planned, tensorboard=False)
    told = "Runs in simulated/ were left out, 3 of them: the study plans these names in real/."
    assert told in lines
    page = (tmp_path / "report" / "report.html").read_text()
    assert told in page
    assert "2 of the 3 planned runs were not started yet." in page
    results = pd.read_csv(tmp_path / "report" / "tables" / "results.csv")
    assert list(results["simulated"]) == [False]
    everything = report(tmp_path / "report", output=fake_runs.output, tensorboard=False)
    assert not any("left out" in line for line in everything)


def test_runs_on_real_ecgs_are_the_studys_where_only_the_ecgs_are_elsewhere(
    fake_runs: FakeRuns, tmp_path: Path
) -> None:
    """As on a laptop, with the runs of a server beside no recordings: there the plan would be of simulated ones."""
    fake_runs.pair(upstream=fake_runs.run("pretrain", "cpsc2018"))
    planned = [Run(home(fake_runs.output, simulated=True) / run.name) for run in fake_runs.written]
    lines = report(tmp_path / "report", output=fake_runs.output, planned=planned, tensorboard=False)
    assert "The ECGs of this study are not on this disk; its 3 runs in real/ are." in lines
    assert len(pd.read_csv(tmp_path / "report" / "tables" / "results.csv")) == 3


STUDY = """
name: s
overrides: {{data.source: {source}}}
grids: [{{upstreams: [cpsc2018], downstreams: [ptb], subsets: [100, all], pretrain: {{seed: 0}}}}]
"""


def test_a_study_of_real_ecgs_is_reported_where_these_are_not(
    fake_runs: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a laptop, with a server's runs: an empty report took the place of the one that came with them."""
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "nothing"))
    upstream = fake_runs.run("pretrain", "cpsc2018")
    fake_runs.pair(upstream=upstream, subset=100)
    fake_runs.pair(upstream=upstream)
    file = tmp_path / "s.yaml"
    file.write_text(STUDY.format(source="real"))
    output = ["--output", str(fake_runs.output)]
    done = CliRunner().invoke(app, ["study", "report", str(file), *output])
    assert done.exit_code == 0, done.output
    assert "note: ptb is not on this disk" in done.output
    tables = fake_runs.output / "reports" / "s" / "tables"
    assert set(pd.read_csv(tables / "results.csv")["run"]) == {run.name for run in fake_runs.written}
    status = CliRunner().invoke(app, ["study", "status", str(file), "--once", *output])
    assert "s: 5 of 5 runs done" in status.output
    plan = CliRunner().invoke(app, ["study", "plan", str(file), "--no-probe", *output])
    assert "There is nothing to run." in plan.output


def test_a_study_without_a_run_replaces_no_report(
    fake_runs: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "nothing"))
    file = tmp_path / "s.yaml"
    file.write_text("name: s\ngrids: [{upstreams: [ptb], downstreams: [ptb], starts: [finetune]}]\n")
    page = fake_runs.output / "reports" / "s" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("of before")
    done = CliRunner().invoke(app, ["study", "report", str(file), "--output", str(fake_runs.output)])
    assert done.exit_code == 1
    assert "nothing is left that could be run" in str(done.exception)
    assert page.read_text() == "of before"


def test_runs_on_real_ecgs_are_the_studys_where_some_of_the_ecgs_are_elsewhere(
    fake_runs: FakeRuns, tmp_path: Path
) -> None:
    """With the upstream's ECGs at hand its pre-training alone was reported."""
    upstream = fake_runs.run("pretrain", "cpsc2018")
    pair = fake_runs.pair(upstream=upstream)
    planned = [upstream, *(Run(home(fake_runs.output, simulated=True) / run.name) for run in pair)]
    lines = report(tmp_path / "report", output=fake_runs.output, planned=planned, tensorboard=False)
    assert "Some of the ECGs of this study are not on this disk; its 2 runs in real/ are." in lines
    results = pd.read_csv(tmp_path / "report" / "tables" / "results.csv")
    assert set(results["run"]) == {run.name for run in fake_runs.written}
    fake_runs.run("scratch", simulated=True)
    lines = report(tmp_path / "report", output=fake_runs.output, planned=planned, tensorboard=False)
    assert "Runs in real/ were left out, 2 of them: the study plans these names in simulated/." in lines


def test_evidence_of_a_study_is_from_its_own_runs(
    fake_runs: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))
    fields = ["data.source=simulated"]
    upstream = fake_runs.run("pretrain", "cpsc2018", simulated=True, overrides=fields)
    fake_runs.run("pretrain", "cpsc2018", overrides=fields)
    file = tmp_path / "s.yaml"
    overrides = "{data.source: simulated}"
    file.write_text(f"name: s\noverrides: {overrides}\ngrids: [{{downstreams: [cpsc2018], starts: [pretrain]}}]\n")
    given: list[Run] = []
    monkeypatch.setattr(
        "ecg_transfer.upstream_choice.evidence_files.write_evidence", lambda runs, *_, **__: given.extend(runs) or []
    )
    arguments = ["transferability", "--evidence", "--study", str(file), "--output", str(fake_runs.output)]
    done = CliRunner().invoke(app, arguments)
    assert given == [upstream]
    assert "Runs in real/ were left out, 1 of them: the study plans these names in simulated/." in done.output


def test_verdicts_are_told_with_their_setting_and_whether_they_are_exploratory(
    fake_runs: FakeRuns, tmp_path: Path
) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018")
    for rate, seeds in ((0.01, 2), (0.02, 1)):
        for seed in range(seeds):
            fake_runs.pair(upstream=upstream, seed=seed, overrides=[f"optim.lr={rate}"])
    lines = report(tmp_path / "report", output=fake_runs.output, metric="f1_macro", tensorboard=False)
    assert lines[0] == (
        "verdicts with paper, lr 0.01, batch 256, the first of 2 settings; exploratory: val_selected/f1_macro is not "
        "the declared score, val_selected/f1_weighted"
    )
    assert [line.split()[0] for line in lines[1:5]] == ["C1", "C2", "C3", "C4"]


@pytest.mark.parametrize("planned", [None, [Run(Path("nothing"))]])
def test_without_runs_it_says_so(tmp_path: Path, planned: list[Run] | None) -> None:
    lines = report(tmp_path / "report", output=tmp_path, planned=planned, tensorboard=False)
    assert lines[0].startswith("no pair of a finished")
    assert not (tmp_path / "report" / "tensorboard").exists()


@pytest.mark.parametrize(("upstream_recipe", "way"), [("paper", "linear_probe"), ("modern", "full")])
def test_comparisons_that_no_claim_is_about_are_comparisons_all_the_same(
    fake_runs: FakeRuns, tmp_path: Path, upstream_recipe: str, way: str
) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018", recipe=upstream_recipe)
    fake_runs.run("finetune", upstream=upstream, overrides=[f"transfer.way={way}"])
    fake_runs.run("scratch")
    lines = report(tmp_path / "report", output=fake_runs.output, tensorboard=False)
    assert len(pd.read_csv(tmp_path / "report" / "tables" / "effects.csv")) == 1
    assert lines[0].startswith("no verdicts: the paper's claims are about full fine-tuning of upstreams that learnt")


def test_a_report_of_fewer_runs_has_no_numbers_of_the_one_before(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """A grid was taken out of the study: the terminal went on to tell of its trainings."""
    fake_runs.run("pretrain", "ptbxl", num_train=17_000)
    upstream = fake_runs.run("pretrain", "cpsc2018")
    pair = fake_runs.pair(upstream=upstream)
    probe = fake_runs.run("finetune", upstream=upstream, overrides=["transfer.way=linear_probe"])
    before = report(tmp_path / "report", output=fake_runs.output, tensorboard=False)
    assert any(line.startswith("PTB-XL superclass") for line in before)
    tables = tmp_path / "report" / "tables"
    assert {"benchmark.csv", "ways.csv"} < {path.name for path in tables.iterdir()}
    after = report(tmp_path / "report", output=fake_runs.output, planned=[upstream, *pair], tensorboard=False)
    assert not any(line.startswith("PTB-XL") for line in after)
    assert probe.name not in (tables / "results.csv").read_text()
    assert not {"benchmark.csv", "ways.csv"} & {path.name for path in tables.iterdir()}
