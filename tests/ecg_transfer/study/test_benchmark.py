"""Trainings on PTB-XL beside the published numbers: scores against scikit-learn, what counts and what does not."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecg_transfer.predictions import Predictions, load_predictions, save_predictions
from ecg_transfer.study.benchmark import BEST_PUBLISHED, LABEL_SETS, PUBLISHED, measure
from ecg_transfer.study.effects import UnpairedTestSetsError
from ecg_transfer.study.report import write_report
from ecg_transfer.study.report_command import report
from ecg_transfer.study.results import results_table

if TYPE_CHECKING:
    from conftest import FakeRuns

BENCHMARK = {"corpus": "ptbxl", "recipe": "ptbxl_benchmark", "num_train": 17_000}


def test_the_published_numbers_are_complete() -> None:
    assert all(len(values) == len(LABEL_SETS) for values in PUBLISHED.values())
    assert BEST_PUBLISHED["superclass"] == (0.930, "resnet1d_wang")
    assert BEST_PUBLISHED["rhythm"] == (0.957, "xresnet1d101")


def test_seeds_are_averaged_and_stand_beside_their_network(fake_runs: FakeRuns) -> None:
    runs = [
        fake_runs.run("pretrain", backbone="inception1d", seed=seed, overrides=["data.label_set=form"], **BENCHMARK)
        for seed in (0, 1, 2)
    ]
    fake_runs.run("scratch", backbone="resnet1d18", skill=2.0, **BENCHMARK)
    by_hand = []
    for run in runs:
        test = run.predictions["val_selected/test"]
        by_hand.append(roc_auc_score(test.targets, test.logits, average="macro"))
    ours, theirs = measure(results_table(fake_runs.written), num_draws=200)
    assert (theirs.label_set, theirs.backbone, theirs.published) == ("form", "inception1d", 0.899)
    assert theirs.auroc == pytest.approx(sum(by_hand) / 3, abs=1e-12)
    assert theirs.low < theirs.auroc < theirs.high
    assert [(seed, name) for seed, name, _ in theirs.runs] == [(seed, run.name) for seed, run in enumerate(runs)]
    assert (ours.label_set, ours.backbone, ours.published) == ("superclass", "resnet1d18", None)


def test_an_interval_of_two_seeds_holds_no_impossible_auroc(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """It was [0.665, 1.145] on the page and in the terminal."""
    for seed, skill in ((0, 2.0), (1, 0.3)):
        fake_runs.run("scratch", seed=seed, skill=skill, **BENCHMARK)
    (found,) = measure(results_table(fake_runs.written), num_draws=200)
    assert (found.low, found.high) == (0.0, 1.0), "seeds so far apart tell nothing"
    (line,) = (row for row in report(tmp_path, output=fake_runs.output, tensorboard=False) if row.startswith("PTB-XL"))
    assert line.endswith(f"macro AUROC {found.auroc:.3f} [0.000, 1.000]; published at best 0.930")
    assert "of one seed: over patients alone" in (tmp_path / "report.html").read_text()


def test_seeds_that_were_tested_on_other_records_are_not_joined(fake_runs: FakeRuns) -> None:
    """Two copies of a corpus, one without its first record and one without its last."""
    runs = [fake_runs.run("scratch", seed=seed, **BENCHMARK) for seed in (0, 1)]
    table = results_table(fake_runs.written)
    for run, kept in zip(runs, (slice(1, None), slice(-1)), strict=True):
        path = run.path / "predictions.npz"
        found, epochs = load_predictions(path)
        cut = {
            name: Predictions(**{field.name: getattr(part, field.name)[kept] for field in fields(part)})
            for name, part in found.items()
        }
        save_predictions(path, cut, epochs)
        run.seal()
    with pytest.raises(UnpairedTestSetsError, match="expected one test set in a cell"):
        measure(table, num_draws=50)


def test_only_whole_real_trainings_count_and_none_twice(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018")
    fake_runs.run("finetune", upstream=upstream, **BENCHMARK)
    fake_runs.run("scratch", subset=500, **BENCHMARK)
    fake_runs.run("scratch", simulated=True, **BENCHMARK)
    assert measure(results_table(fake_runs.written)) == []
    assert measure(pd.DataFrame()) == []
    fake_runs.run("scratch", **BENCHMARK)
    fake_runs.run("pretrain", **BENCHMARK)  # the same training under its other name
    (found,) = measure(results_table(fake_runs.written), num_draws=50)
    assert len(found.runs) == 1


def test_the_page_shows_them(fake_runs: FakeRuns, tmp_path: Path) -> None:
    fake_runs.run("pretrain", backbone="xresnet1d101", overrides=["data.label_set=all"], **BENCHMARK)
    page = write_report(fake_runs.written, tmp_path / "report", title="Benchmark", num_draws=50).read_text()
    assert "PTB-XL benchmark</h2>" in page
    assert "XResNet1d-101" in page
    assert "What trainings on PTB-XL reach stands beside the published numbers below." in page
    (row,) = pd.read_csv(tmp_path / "report" / "tables" / "benchmark.csv").to_dict("records")
    assert (row["label_set"], row["published"], row["best_published"]) == ("all", 0.925, 0.925)
    assert row["low"] < row["auroc_macro"] < row["high"]


def test_the_terminal_tells_them_too(fake_runs: FakeRuns, tmp_path: Path) -> None:
    fake_runs.run("pretrain", backbone="xresnet1d101", overrides=["data.label_set=all"], **BENCHMARK)
    fake_runs.run("pretrain", backbone="resnet1d18", **BENCHMARK)
    lines = report(tmp_path / "report", output=fake_runs.output, tensorboard=False)
    ours, theirs = sorted(line for line in lines if line.startswith("PTB-XL"))
    assert re.fullmatch(r"PTB-XL all, xresnet1d101, .*: macro AUROC 0\.\d+ \[0\.\d+, \d\.\d+\]; published 0\.925", ours)
    assert theirs.endswith("published at best 0.930")


def test_the_page_of_another_study_has_no_such_section(fake_runs: FakeRuns, tmp_path: Path) -> None:
    upstream = fake_runs.run("pretrain", "cpsc2018")
    fake_runs.pair(gain=0.5, upstream=upstream)
    page = write_report(fake_runs.written, tmp_path / "report", title="Transfer", num_draws=50).read_text()
    assert "PTB-XL benchmark" not in page
    assert not (tmp_path / "report" / "tables" / "benchmark.csv").exists()
