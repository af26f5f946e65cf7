"""A report tells apart what has one name: sizes, label sets, budgets, real and simulated ECGs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from ecg_transfer.runs import find_runs
from ecg_transfer.study.report import write_report
from tests.ecg_transfer.study.report_page import NUM_DRAWS, read_page, small_study

if TYPE_CHECKING:
    from conftest import FakeRuns


def test_real_and_simulated_runs_stand_apart(fake_runs: FakeRuns, tmp_path: Path) -> None:
    small_study(fake_runs, seeds=2)
    runs = small_study(fake_runs, simulated=True, seeds=2)
    page = read_page(write_report(runs, tmp_path / "report", title="t", num_draws=NUM_DRAWS))
    assert page.text.startswith("SIMULATED: t")
    assert "On SIMULATED" not in page.text.partition("Corpora, as split")[0].partition("patients.")[2][:20]
    assert {"table-2", "table-2-2"} <= set(page.tables)
    assert {row[2] for row in page.tables["table-1"][1:]} == {"real", "SIMULATED"}


def test_a_sweep_of_sizes_is_figure_three_and_not_in_table_two(fake_runs: FakeRuns, tmp_path: Path) -> None:
    for seed in range(2):
        upstream = fake_runs.run("pretrain", "georgia", seed=seed)
        for size in (100, 200, 400, 800):
            common = {"seed": seed, "subset": size, "num_train": size, "corpus": "ptbxl"}
            fake_runs.pair(gain=200 / size, upstream=upstream, **common)
        fake_runs.pair(gain=0.5, upstream=upstream, corpus="ptb", seed=seed)
    path = write_report(find_runs(fake_runs.output), tmp_path / "report", title="t", num_draws=NUM_DRAWS)
    page = read_page(path)
    assert page.tables["table-2"][0][2:] == ["PTB (n=349)"]
    label = next(given["aria-label"] for _, given in page.tags if "Georgia → PTB-XL: " in given.get("aria-label", ""))
    effects = pd.read_csv(path.parent / "tables" / "effects.csv")
    sweep = effects[effects["downstream"] == "ptbxl"].sort_values("num_train")
    expected = ", ".join(f"{row.estimate:+.3f} at {row.num_train}" for row in sweep.itertuples())
    assert expected in label
    assert [row[2] for row in page.tables["equivalence"][1:]] == ["100", "200", "400", "800"]


def test_label_sets_of_one_corpus_are_told_apart(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """Table 2 showed one of them, without saying which, and two rows of all comparisons were alike."""
    upstreams = {name: fake_runs.run("pretrain", name) for name in ("georgia", "ptbxl")}
    scores = {}
    for labels, gain in (("superclass", 0.1), ("all", 0.6)):
        pair = fake_runs.pair(
            corpus="ptbxl", upstream=upstreams["georgia"], gain=gain, num_train=17_000,
            overrides=[f"data.label_set={labels}"],
        )  # fmt: skip
        scores[labels] = " / ".join(f"{run.scores['val_selected'].f1_weighted:.3f}" for run in pair)
    fake_runs.pair(corpus="ptb", upstream=upstreams["ptbxl"])
    path = write_report(find_runs(fake_runs.output), tmp_path, title="Two", num_draws=NUM_DRAWS)
    page = read_page(path)
    head, *rows = page.tables["table-2"]
    assert head[2:] == ["PTB (n=349)", "PTB-XL, labels all (n=17,000)", "PTB-XL, labels superclass (n=17,000)"]
    from_ptbxl, from_georgia = rows
    assert from_ptbxl[3:] == ["same corpus", "same corpus"]
    assert [cell[:13] for cell in from_georgia[3:]] == [scores["all"], scores["superclass"]]
    assert "more comparisons stand at places" not in page.text
    assert {row[1] for row in page.tables["effects"][1:]} == {"PTB", *(f"PTB-XL, labels {name}" for name in scores)}
    effects = pd.read_csv(tmp_path / "tables" / "effects.csv")
    assert set(effects["label_set"].dropna()) == set(scores)
    assert {"labels-ptbxl-labels-all", "labels-ptbxl-labels-superclass"} <= set(page.tables)


def test_a_study_in_the_middle_says_the_size_of_each_score(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """One model was trained on 150 records already, the other on 50: both stood under n=150."""
    for backbone, sizes in (("resnet1d18", (50, 150)), ("gru", (50,))):
        upstream = fake_runs.run("pretrain", "cpsc2018", backbone=backbone)
        for size in sizes:
            fake_runs.pair(upstream=upstream, backbone=backbone, subset=size, num_train=size, gain=size / 100)
    path = write_report(find_runs(fake_runs.output), tmp_path, title="Half", num_draws=NUM_DRAWS)
    page = read_page(path)
    head, resnet, gru = page.tables["table-2"]
    assert head[2] == "PTB (n=50–150)"
    effects = pd.read_csv(tmp_path / "tables" / "effects.csv").set_index(["backbone", "num_train"])
    for row, key in ((resnet, ("resnet1d18", 150)), (gru, ("gru", 50))):
        score, _, detail = row[2].partition("n=")
        assert score == f"{effects.finetune[key]:.3f} / {effects.scratch[key]:.3f}"
        assert detail.startswith(f"{key[1]}: {effects.estimate[key]:+.3f} [".replace("-", "−"))


def test_settings_of_one_name_are_told_apart_by_what_differs(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """Two budgets of one grid, `updates: [30, 120]`: verdicts and comparisons of both were called the same."""
    upstream = fake_runs.run("pretrain", "cpsc2018")
    for updates, gain in ((30, 0.1), (120, 0.6)):
        fake_runs.pair(upstream=upstream, gain=gain, overrides=[f"optim.max_updates={updates}"])
    path = write_report(find_runs(fake_runs.output), tmp_path, title="Two", num_draws=NUM_DRAWS)
    page = read_page(path)
    names = {f"paper, lr 0.01, batch 256, optim.max_updates={updates}" for updates in (30, 120)}
    assert {row[1] for row in page.tables["claims-table"][1:]} == names
    assert {row[3] for row in page.tables["effects"][1:]} == names
    claims, effects, results = (
        pd.read_csv(tmp_path / "tables" / f"{name}.csv") for name in ("claims", "effects", "results")
    )
    assert set(claims["setting"]) == names
    by_hand = results[results["phase"] == "finetune"].set_index("run")["val_selected/f1_weighted"]
    for name, score in by_hand.items():
        (updates,) = re.findall(
            r"max_updates: (\d+)", (fake_runs.output / "real" / str(name) / "config.yaml").read_text()
        )
        row = effects[effects["condition"] == f"optim.max_updates={updates}"].iloc[0]
        assert row["finetune"] == pytest.approx(score)
    assert {row[2].rpartition(", ")[2] for row in page.tables["runs"][1:3]} == {name[27:] for name in names}
