"""Upstreams with and without labels in tables and reports: told apart, paired by seed, contested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecg_transfer.runs import Run
from ecg_transfer.study.arrangement import corpus_name, settings_of
from ecg_transfer.study.claims import judge
from ecg_transfer.study.effects import cell_effects
from ecg_transfer.study.figures.upstreams import upstream_exhibits
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.report import write_report
from ecg_transfer.study.results import read_study, results_table
from ecg_transfer.study.tensorboard_log import write_tensorboard
from ecg_transfer.study.upstream_contests import (
    find_upstream_contests,
    read_upstream_contests,
    title_of,
    upstream_table,
)

SEEDS = range(6)
TEST = "val_selected/f1_weighted"


def study_runs(fake_runs: Any) -> list[Run]:  # noqa: ANN401
    """Both kinds of upstream at two sizes; the one without labels is worse, and its other recipe has no rival."""
    labels = fake_runs.run("pretrain", "ptbxl", num_train=17_000)
    without = fake_runs.run("pretrain", "ptbxl", num_train=17_000, overrides=["pretext.task=contrastive"])
    other = fake_runs.run(
        "pretrain", "ptbxl", num_train=17_000, overrides=["pretext.task=contrastive", "optim.max_epochs=7"]
    )
    for seed in SEEDS:
        for subset, size in ((0.5, 170), (None, 340)):
            common = {"seed": seed, "subset": subset, "num_train": size}
            fake_runs.run("scratch", skill=0.6, **common)
            for upstream, skill in ((labels, 1.4), (without, 0.9), (other, 0.8)):
                fake_runs.run("finetune", upstream=upstream, skill=skill + 0.02 * seed, **common)
    return list(fake_runs.written)


@pytest.fixture(scope="module")
def runs(fake_runs_class: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:  # noqa: ANN401
    return study_runs(fake_runs_class(tmp_path_factory.mktemp("study") / "checkpoints"))


@pytest.fixture(scope="module")
def results(runs: list[Run]) -> pd.DataFrame:
    return results_table(runs)


def test_a_run_without_labels_is_a_row_without_scores(runs: list[Run], results: pd.DataFrame) -> None:
    pretrained = results[results["phase"] == "pretrain"].set_index("run")
    assert list(pretrained["pretext"]) == ["none", "contrastive", "contrastive"]
    unsupervised = pretrained.loc[runs[1].name]
    assert unsupervised[["val_selected/f1_weighted", "optimism", "updates_to_95"]].isna().all()
    assert (unsupervised["val_selected/epoch"], unsupervised["num_epochs"]) == (4, 4)
    assert unsupervised["monitor"] == "loss"
    tuned = results[results["phase"] == "finetune"]
    assert set(tuned["upstream"]) == {"ptbxl", "ptbxl, contrastive"}
    assert corpus_name("ptbxl, contrastive") == "PTB-XL, contrastive"
    assert results_table([runs[1]])["val_selected/f1_weighted"].isna().all(), "alone in a table, too"


def test_kinds_of_upstream_are_cells_and_settings_of_their_own(results: pd.DataFrame) -> None:
    cells = find_cells(results)
    assert len(cells) == 3 * 2
    assert {len(cell.pairs) for cell in cells} == {6}
    assert {cell.upstream_corpus for cell in cells} == {"ptbxl"}
    settings = settings_of(cell_effects(cells, num_draws=50))
    assert [setting.name for setting in settings] == [
        "paper, lr 0.01, batch 256", "paper, lr 0.01, batch 256, contrastive upstream",
    ]  # fmt: skip
    assert [setting.is_papers for setting in settings] == [True, False]


def test_the_papers_claims_are_not_held_against_upstreams_without_labels(runs: list[Run]) -> None:
    both = judge(read_study(runs), num_draws=50)
    alone = judge(read_study([run for run in runs if "contrastive" not in str(run.manifest["upstream"])]), num_draws=50)
    assert [(one.id, one.num_cells, one.verdict) for one in both] == [(x.id, x.num_cells, x.verdict) for x in alone]


def test_each_is_contested_by_the_one_that_differs_in_the_pretext_alone(results: pd.DataFrame) -> None:
    contests = find_upstream_contests(results)
    assert [(one.cell.num_train, one.cell.upstream) for one in contests] == [
        (170, "ptbxl, contrastive"), (340, "ptbxl, contrastive"),
    ]  # fmt: skip
    found = read_upstream_contests(results, "f1_weighted", num_draws=200)
    tuned = results[results["phase"] == "finetune"]
    first = results["run"].iloc[1]
    for one, result in zip(found.contests, found.effects, strict=True):
        assert list(one.cell.pairs["seed_finetune"]) == list(one.cell.pairs["seed_scratch"]) == list(SEEDS)
        sized = tuned[tuned["num_train"] == one.cell.num_train].sort_values("seed")
        ours, theirs = sized[sized["upstream_run"] == first], sized[sized["pretext"] == "none"]
        expected = ours[TEST].to_numpy() - theirs[TEST].to_numpy()
        assert result.effect.estimate == pytest.approx(expected.mean(), abs=1e-12)
        assert result.effect.p == pytest.approx(2 / 2**6), "worse for every seed"
    (mean,) = found.means.values()
    assert mean.estimate == pytest.approx(np.mean([result.effect.estimate for result in found.effects]))
    assert mean.estimate < 0
    table = found.frame()
    assert {"lr_own", "lr_other", "own", "other"} <= set(table.columns)
    assert list(table["against"]) == ["ptbxl", "ptbxl"]
    shown = upstream_table(found, "f1_weighted")
    texts = [entry.text for entry in shown.rows[0]]
    marked = one.cell.upstream_mark  # there is another contrastive one, of 7 epochs
    assert len(marked) == len(" (12345678)")
    assert texts[:5] == [f"PTB-XL, contrastive{marked} → PTB, ResNet1d-18", "PTB-XL", "full fine-tune", "170", "6"]
    assert shown.rows[-1][3].text == "mean of sizes"
    (figure,) = upstream_exhibits(found, "f1_weighted")
    drawn = [axis.lines[1].get_xdata()[0] for axis in figure.figure.axes]
    assert drawn == [result.effect.estimate for result in found.effects] + [mean.estimate]


def test_where_one_kind_is_missing_there_is_no_contest(fake_runs: Any) -> None:  # noqa: ANN401
    upstream = fake_runs.run("pretrain", "ptbxl", overrides=["pretext.task=contrastive"])
    fake_runs.pair(upstream=upstream, gain=0.5)
    found = read_upstream_contests(results_table(fake_runs.written), "f1_weighted", num_draws=50)
    assert (found.contests, list(found.effects), found.means) == ([], [], {})
    page = write_report(fake_runs.written, fake_runs.output.parent / "report", title="T", num_draws=50).read_text()
    assert "Upstreams against each other" not in page
    assert "contrastive upstream" in page


def test_a_recipe_and_a_label_set_are_contested_by_the_usual_ones(fake_runs: Any) -> None:  # noqa: ANN401
    plain = ["data.scale=millivolt"]
    upstreams = {
        "ptbxl": ("modern", plain, 1.3),
        "ptbxl, labels all": ("modern", [*plain, "data.label_set=all"], 0.9),
        "ptbxl, paper recipe": ("paper", plain, 0.8),
        "ptbxl, ptbxl_benchmark recipe": ("ptbxl_benchmark", plain, 1.2),
    }
    for recipe, overrides, skill in upstreams.values():
        upstream = fake_runs.run("pretrain", "ptbxl", recipe=recipe, overrides=overrides)
        for seed in SEEDS:
            fake_runs.run("finetune", upstream=upstream, skill=skill + 0.02 * seed, recipe="modern", seed=seed)
    for seed in SEEDS:
        fake_runs.run("scratch", skill=0.6, recipe="modern", seed=seed)
    results = results_table(fake_runs.written)
    found = read_upstream_contests(results, "f1_weighted", num_draws=50)
    others = list(upstreams)[1:]
    assert found.frame()[["upstream", "against"]].to_numpy().tolist() == [[other, "ptbxl"] for other in others]
    tuned = results[results["phase"] == "finetune"].sort_values("seed")
    mean = {name: tuned[tuned["upstream"] == name][TEST].mean() for name in upstreams}
    expected = [mean[other] - mean["ptbxl"] for other in others]
    assert [result.effect.estimate for result in found.effects] == pytest.approx(expected, abs=1e-12)
    settings = settings_of(cell_effects(find_cells(results), num_draws=50))
    assert [setting.name.partition("128")[2] for setting in settings] == [
        "", ", labels all upstream", ", paper recipe upstream", ", ptbxl_benchmark recipe upstream",
    ]  # fmt: skip
    assert [setting.is_papers for setting in settings] == [True, False, False, False]


def test_budgets_at_one_size_are_no_sizes(fake_runs: Any) -> None:  # noqa: ANN401
    """One size at 100 updates, two at 200 with another dropout: a mean over the two, and none over budgets."""
    labels = fake_runs.run("pretrain", "ptbxl")
    without = fake_runs.run("pretrain", "ptbxl", overrides=["pretext.task=contrastive"])
    for seed in SEEDS:
        for subset, size, updates, dropout, skill in (
            (None, 340, 100, 0.0, 0.9), (None, 340, 200, 0.1, 2.0), (0.5, 170, 200, 0.1, 1.5),
        ):  # fmt: skip
            common = {"seed": seed, "subset": subset, "num_train": size}
            fields = [f"optim.max_updates={updates}", f"model.dropout={dropout}"]
            fake_runs.run("finetune", upstream=labels, overrides=fields, **common)
            fake_runs.run("finetune", upstream=without, skill=skill, overrides=fields, **common)
    results = results_table(fake_runs.written)
    found = read_upstream_contests(results, "f1_weighted", num_draws=50)
    few, many = "model.dropout=0.0, optim.max_updates=100", "model.dropout=0.1, optim.max_updates=200"
    kinds = found.by_kind()
    assert [title_of(kind) for kind in kinds] == [
        f"PTB-XL, contrastive → PTB, ResNet1d-18, {condition}" for condition in (few, many)
    ]
    assert [[one.cell.num_train for one, _ in members] for members in kinds.values()] == [[340], [170, 340]]
    ((kind, mean),) = found.means.items()
    assert title_of(kind).endswith(many)
    folder = fake_runs.output / "real"
    longer = results[[Run(folder / name).config.optim.max_updates == 200 for name in results["run"]]]
    scores = longer[longer["phase"] == "finetune"].groupby(["pretext", "num_train"])[TEST].mean()
    assert mean.estimate == pytest.approx((scores["contrastive"] - scores["none"]).mean(), abs=1e-12)
    assert list(found.frame()["condition"]) == [few, many, many]
    (figure,) = upstream_exhibits(found, "f1_weighted")
    assert figure.alt.count("ResNet1d-18") == 2


def test_a_size_that_is_there_twice_gives_no_mean_over_sizes(fake_runs: Any) -> None:  # noqa: ANN401
    labels = fake_runs.run("pretrain", "ptbxl")
    without = fake_runs.run("pretrain", "ptbxl", overrides=["pretext.task=contrastive"])
    for seed in SEEDS:
        for subset in (0.5, 170):
            for upstream in (labels, without):
                fake_runs.run("finetune", upstream=upstream, seed=seed, subset=subset, num_train=170)
    found = read_upstream_contests(results_table(fake_runs.written), "f1_weighted", num_draws=50)
    assert ([one.cell.num_train for one in found.contests], found.means) == ([170, 170], {})


def test_the_report_shows_the_contest_and_the_log_the_loss(runs: list[Run], tmp_path: Any) -> None:  # noqa: ANN401
    page = write_report(runs, tmp_path / "report", title="T", num_draws=50).read_text()
    assert page.count('id="kinds-heading"') == page.count('id="upstreams"') == 1
    assert "PTB-XL, contrastive" in page
    assert "pre-training, contrastive" in page, "its cost is told"
    table = pd.read_csv(tmp_path / "report" / "tables" / "upstreams.csv")
    assert list(table["num_train"]) == [170, 340]
    names = write_tensorboard(runs, tmp_path / "log")
    assert {name.split("/")[2].split(" (")[0] for name in names} == {
        "pretrain", "pretrain contrastive", "scratch", "finetune from ptbxl", "finetune from ptbxl, contrastive",
    }  # fmt: skip
