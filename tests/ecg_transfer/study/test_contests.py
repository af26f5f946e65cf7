"""Ways against scratch at rates that validation chose: choices, pairs and differences checked by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecg_transfer.config import Monitor, OptimConfig, TransferConfig
from ecg_transfer.runs import Run
from ecg_transfer.study.contests import choose_rate, contests_table, find_contests, is_worth_telling
from ecg_transfer.study.effects import cell_effects, effects_table
from ecg_transfer.study.page import Anchors
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.report import write_report
from ecg_transfer.study.report_text import one_draw, ways_answer
from ecg_transfer.study.results import read_study, results_table
from ecg_transfer.study.way_tables import way_table, ways_of
from ecg_transfer.study.ways import read_ways
from ecg_transfer.way_names import schedule_name, way_name, ways_in_order

VAL, TEST = "val_selected/val/f1_weighted", "val_selected/f1_weighted"
SEEDS = range(6)


def runs_of(rates: dict[float, Sequence[float]], **columns: object) -> pd.DataFrame:
    """Runs with these validation scores by rate, the first of seed 0."""
    rows = [
        {"lr": lr, "seed": seed, "subset_seed": 0, VAL: score, "monitor": "f1_weighted", "run": f"{lr} {seed}"}
        for lr, scores in rates.items()
        for seed, score in enumerate(scores)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_the_rate_with_the_best_mean_validation_score_is_chosen() -> None:
    choice = choose_rate(runs_of({0.01: [0.5, 0.9], 0.001: [0.75, 0.75], 0.1: [0.1, 1.0]}))
    assert choice.tried == {0.001: pytest.approx(0.75), 0.01: pytest.approx(0.7), 0.1: pytest.approx(0.55)}
    assert (choice.rate, list(choice.runs["run"])) == (0.001, ["0.001 0", "0.001 1"])


def test_of_equal_rates_the_lowest_is_chosen() -> None:
    assert choose_rate(runs_of({0.01: [0.5, 0.5], 0.001: [0.5, 0.5]})).rate == 0.001


def test_a_rate_whose_seeds_are_not_all_done_is_left_aside() -> None:
    choice = choose_rate(runs_of({0.01: [0.5, 0.5], 0.001: [0.99]}))
    assert (choice.rate, list(choice.tried), choice.incomplete) == (0.01, [0.01], (0.001,))


def test_rates_with_as_many_seeds_but_others_are_compared_over_those_they_share() -> None:
    """Seed 0 is easy and seed 2 hard: neither may speak for the one rate alone."""
    whole = runs_of({0.001: [0.9, 0.5, 0.1], 0.01: [0.9, 0.6, 0.2]})
    choice = choose_rate(
        whole[((whole["lr"] == 0.001) & (whole["seed"] < 2)) | ((whole["lr"] > 0.001) & (whole["seed"] > 0))]
    )
    assert (choice.rate, choice.tried, choice.incomplete) == (0.01, {0.001: 0.5, 0.01: 0.6}, ())
    assert list(choice.runs["run"]) == ["0.01 1", "0.01 2"], "the chosen rate keeps all of its seeds"
    apart = choose_rate(whole[(whole["lr"] > 0.001) == (whole["seed"] > 1)][lambda rows: rows["seed"] != 1])
    assert (apart.rate, apart.tried) == (0.001, {0.001: 0.9, 0.01: 0.2}), "no seed is shared"


def study_runs(fake_runs: Any, rates: Sequence[float] = (0.001, 0.01)) -> list[Run]:  # noqa: ANN401
    """Two ways and scratch at both rates, on two sizes, six seeds; the probe likes the higher rate."""
    upstream = fake_runs.run("pretrain", "cpsc2018")
    for seed in SEEDS:
        for subset, size in ((0.5, 170), (None, 340)):
            for lr in rates:
                common = {"seed": seed, "subset": subset, "num_train": size}
                fields = [f"optim.lr={lr}"]
                higher = lr > 0.005
                fake_runs.run("scratch", skill=0.7 + 0.2 * higher, overrides=fields, **common)
                fake_runs.run("finetune", upstream=upstream, skill=1.4 - 0.4 * higher, overrides=fields, **common)
                probe = [*fields, "transfer.way=linear_probe"]
                fake_runs.run("finetune", upstream=upstream, skill=0.8 + 0.3 * higher, overrides=probe, **common)
    return list(fake_runs.written)


@pytest.fixture(scope="module")
def results(fake_runs_class: Any, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:  # noqa: ANN401
    return results_table(study_runs(fake_runs_class(tmp_path_factory.mktemp("study") / "checkpoints")))


def test_each_way_brings_its_own_rate_and_is_paired_by_seed(results: pd.DataFrame) -> None:
    contests = find_contests(results)
    found = [(one.cell.num_train, one.cell.way, one.finetune.rate, one.scratch.rate) for one in contests]
    assert found == [
        (170, "full fine-tune", 0.001, 0.01),
        (170, "linear probe", 0.01, 0.01),
        (340, "full fine-tune", 0.001, 0.01),
        (340, "linear probe", 0.01, 0.01),
    ]
    assert is_worth_telling(contests)
    effects = cell_effects([one.cell for one in contests], num_draws=200)
    for one, result in zip(contests, effects, strict=True):
        assert list(one.cell.pairs["seed_finetune"]) == list(one.cell.pairs["seed_scratch"]) == list(SEEDS)
        wanted = results[(results["num_train"] == one.cell.num_train)].sort_values("seed")
        ours = wanted[(wanted["way"] == one.cell.way.split(",")[0]) & (wanted["lr"] == one.finetune.rate)]
        ours, theirs = ours[ours["phase"] == "finetune"], wanted[wanted["phase"] == "scratch"]
        theirs = theirs[theirs["lr"] == 0.01]
        differences = ours[TEST].to_numpy() - theirs[TEST].to_numpy()
        assert result.effect.estimate == pytest.approx(differences.mean(), abs=1e-12)
        assert result.effect.low < result.effect.estimate < result.effect.high
    table = contests_table(contests, effects)
    assert list(table["lr_finetune"]) == [0.001, 0.01, 0.001, 0.01]
    assert table["p_holm"].min() == pytest.approx(min(1.0, 4 * table["p"].min()))


def test_test_scores_take_no_part_in_the_choice(results: pd.DataFrame) -> None:
    rates = [(one.finetune.rate, one.scratch.rate) for one in find_contests(results)]
    tests = [name for name in results.columns if name.startswith(("val_selected/f1", "val_selected/au", "last_epoch"))]
    shuffled = results.assign(**{name: results[name].to_numpy()[::-1] for name in tests})
    assert [(one.finetune.rate, one.scratch.rate) for one in find_contests(shuffled)] == rates
    turned = results.assign(**{VAL: 1 - results[VAL]})
    assert [(one.finetune.rate, one.scratch.rate) for one in find_contests(turned)] == [
        ({0.001: 0.01, 0.01: 0.001}[ours], {0.001: 0.01, 0.01: 0.001}[theirs]) for ours, theirs in rates
    ]


@pytest.mark.parametrize("monitor", get_args(Monitor))
def test_rates_are_chosen_by_the_score_that_the_runs_monitored(fake_runs: Any, monitor: str) -> None:  # noqa: ANN401
    """Whichever it is; here by scikit-learn from the stored predictions."""
    upstream = fake_runs.run("pretrain", "cpsc2018")
    by_rate = {}
    for lr, skill in ((0.001, 0.2), (0.01, 0.6)):
        fields = [f"optim.lr={lr}", f"monitor={monitor}"]
        fake_runs.run("scratch", overrides=fields)
        run = fake_runs.run("finetune", upstream=upstream, skill=skill, overrides=fields)
        val = run.predictions["val_selected/val"]
        by_rate[lr] = (
            roc_auc_score(val.targets, val.logits, average="macro")
            if monitor == "auroc_macro"
            else f1_score(val.targets, val.logits > 0, average=monitor.removeprefix("f1_"))
        )
    (contest,) = find_contests(results_table(fake_runs.written))
    assert contest.finetune.tried == pytest.approx(by_rate)
    assert contest.finetune.rate == max(by_rate, key=by_rate.__getitem__)


def test_ways_are_never_taken_for_seeds_of_one_another(results: pd.DataFrame) -> None:
    """The comparison at one rate, as it was before there were ways, keeps them apart too."""
    cells = find_cells(results)
    assert len(cells) == 2 * 2 * 2
    assert {len(cell.pairs) for cell in cells} == {6}
    assert {cell.pairs["way_finetune"].nunique() for cell in cells} == {1}
    assert len({cell.setting for cell in cells}) == 4, "a setting has one way and one rate"
    table = effects_table(cell_effects(cells, num_draws=20))
    assert set(table["way"]) == {"full fine-tune", "linear probe"}
    assert not table.duplicated(["way", "lr", "num_train"]).any()


def test_a_schedule_is_compared_with_scratch_under_it_or_under_its_usual_one(fake_runs: Any) -> None:  # noqa: ANN401
    upstream = fake_runs.run("pretrain", "cpsc2018")
    cosine = ["optim.schedule=cosine", "optim.warmup=0.1"]
    for seed in SEEDS:
        fake_runs.run("scratch", seed=seed)
        for fields in ([], cosine):
            fake_runs.run("finetune", upstream=upstream, seed=seed, overrides=fields)
    names = ["full fine-tune", "full fine-tune, cosine, 10 % warm-up"]
    contests = find_contests(results_table(fake_runs.written))
    assert [one.cell.way for one in contests] == names
    assert [set(one.cell.pairs["schedule_scratch"]) for one in contests] == [{"constant"}] * 2
    for seed in SEEDS:
        fake_runs.run("scratch", seed=seed, overrides=cosine)
    contests = find_contests(results_table(fake_runs.written))
    found = [set(one.cell.pairs["schedule_scratch"]) for one in contests]
    assert found == [{"constant"}, {"cosine, 10 % warm-up"}]


def test_one_way_at_one_rate_is_no_contest(fake_runs: Any) -> None:  # noqa: ANN401
    upstream = fake_runs.run("pretrain", "cpsc2018")
    for seed in SEEDS:
        fake_runs.pair(upstream=upstream, seed=seed, gain=0.5)
    contests = find_contests(results_table(fake_runs.written))
    assert len(contests) == 1
    assert not is_worth_telling(contests)
    page = write_report(fake_runs.written, fake_runs.output.parent / "report", title="T", num_draws=100).read_text()
    assert "Ways against scratch" not in page
    assert not (fake_runs.output.parent / "report" / "tables" / "ways.csv").exists()


def test_the_table_tells_rates_means_over_sizes_and_what_p_cannot_be(results: pd.DataFrame) -> None:
    contests = find_contests(results)
    effects = cell_effects([one.cell for one in contests], num_draws=200)
    (family,) = ways_of(contests, effects)
    assert family.sizes == [170, 340]
    for way, members in family.by_way.items():
        expected = np.mean([result.effect.estimate for _, result in members])
        assert family.means[way].estimate == pytest.approx(expected, abs=1e-12)
    table = way_table([family], [], Anchors(one.cell for one in contests), "f1_weighted")
    assert [(row[1].text, row[2].text) for row in table.rows] == [
        (way, size) for way in ("full fine-tune", "linear probe") for size in ("170", "340", "mean of sizes")
    ]
    assert [(row[4].text, row[4].detail) for row in table.rows[:2]] == [("0.001", "of 0.001, 0.01")] * 2
    (note,) = table.notes
    assert "With 6 seeds no p of a single size can fall below 0.031" in note
    assert "of 4 rows, below 0.125" in note
    said, largest = ways_answer([family]).split(" The largest difference: ")
    assert family.means["full fine-tune"].low > 0 > family.means["linear probe"].low
    assert family.means["linear probe"].high > 0
    assert said == (
        "CPSC2018 → PTB, ResNet1d-18: 1 of 2 ways of fine-tuning gains over training from scratch and 0 lose, on the "
        "mean of 170 and 340 records, each side at the learning rate that validation chose."
    )
    assert largest.startswith(f"full fine-tune +{family.means['full fine-tune'].estimate:.3f} [+")
    assert largest.endswith("(the best of 2, and so a little flattered).")
    assert ways_answer([]) == ""


def test_ways_are_compared_over_the_same_sizes_and_models(fake_runs: Any) -> None:  # noqa: ANN401
    """A missing seed does not hide a way; a missing size keeps it out of the mean; another model is another family."""
    models = [fake_runs.run("pretrain", "ptbxl", overrides=[f"optim.max_epochs={epochs}"]) for epochs in (7, 8)]
    for seed in SEEDS:
        for size in (50, 100, 200):
            of = {"seed": seed, "subset": size, "num_train": size}
            fake_runs.run("scratch", skill=0.6, **of)
            fake_runs.run("finetune", upstream=models[0], skill=0.6, **of)
            if (seed, size) != (5, 100):
                fake_runs.run("finetune", upstream=models[0], skill=4.0, overrides=["transfer.way=lp_ft"], **of)
            if size != 100:
                fake_runs.run("finetune", upstream=models[0], skill=0.9, overrides=["transfer.way=gradual"], **of)
        fake_runs.run("finetune", upstream=models[1], seed=seed, subset=50, num_train=50, skill=0.1)
    ways = read_ways(read_study(fake_runs.written), "f1_weighted", 100)
    first, second = sorted(ways.families, key=lambda family: -len(family.by_way))
    assert (len(first.by_way), len(second.by_way)) == (3, 1)
    assert first.title != second.title
    assert set(first.means) == {"full fine-tune", "LP-FT"}
    said = ways_answer(ways.families)
    assert "1 of 2 ways" in said
    assert "on the mean of 50, 100 and 200 records" in said
    assert "The largest difference: LP-FT" in said
    assert said.endswith("Not run at every one of the sizes, and so left out: gradual unfreezing.")


def test_budgets_are_families_of_their_own(fake_runs: Any) -> None:  # noqa: ANN401
    """Each of two sizes at two budgets: means over the sizes within a budget, by hand; never one over budgets."""
    upstream = fake_runs.run("pretrain", "ptbxl")
    skills = {(170, 100): 0.9, (170, 200): 2.0, (340, 100): 0.7, (340, 200): 1.1}
    for (size, updates), skill in skills.items():
        for seed in SEEDS:
            fields = [f"optim.max_updates={updates}"]
            common = {"seed": seed, "subset": size, "num_train": size}
            fake_runs.run("scratch", skill=0.5, overrides=fields, **common)
            fake_runs.run("finetune", upstream=upstream, skill=skill, overrides=fields, **common)
            fake_runs.run("finetune", upstream=upstream, overrides=[*fields, "transfer.way=lp_ft"], **common)
    study = read_study(fake_runs.written)
    families = read_ways(study, "f1_weighted", 50).families
    assert [family.title for family in families] == [
        f"PTB-XL → PTB, ResNet1d-18, optim.max_updates={updates}" for updates in (100, 200)
    ]
    results = study.results[study.results["way"] == "full fine-tune"]
    budget = results["run"].map({run.name: run.config.optim.max_updates for run in fake_runs.written})
    scores = results.groupby([budget, "phase", "num_train"])[TEST].mean()
    for family, updates in zip(families, (100, 200), strict=True):
        assert family.sizes == [170, 340]
        expected = (scores[updates, "finetune"] - scores[updates, "scratch"]).mean()
        assert family.means["full fine-tune"].estimate == pytest.approx(expected, abs=1e-12)
    assert "ResNet1d-18, optim.max_updates=100: 2 of 2 ways" in ways_answer(families)


def test_one_draw_of_records_for_all_seeds_is_said(fake_runs: Any) -> None:  # noqa: ANN401
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in range(2):
        fake_runs.pair(upstream=upstream, seed=seed)
    assert one_draw(read_study(fake_runs.written)) == []
    for seed in range(2):
        fake_runs.pair(upstream=upstream, seed=seed, subset=100, num_train=100)
    assert "leave out what another draw would bring" in one_draw(read_study(fake_runs.written))[0]
    fake_runs.pair(upstream=upstream, seed=1, subset=100, subset_seed=1, num_train=100)
    assert one_draw(read_study(fake_runs.written)) == []
    for seed in range(2):
        fake_runs.pair(upstream=upstream, seed=seed, subset=200, subset_seed=7, num_train=200)
    assert one_draw(read_study(fake_runs.written)) == [
        "Trainings on part of the records in 1 of 2 cases have the same draw of them (one data.subset_seed): the "
        "intervals there leave out what another draw would bring."
    ], "the other size is drawn anew"


def test_a_side_that_was_tried_more_often_is_told(fake_runs: Any) -> None:  # noqa: ANN401
    upstream = fake_runs.run("pretrain", "cpsc2018")
    for seed in SEEDS:
        for lr in (0.001, 0.01):
            fake_runs.run("finetune", upstream=upstream, seed=seed, overrides=[f"optim.lr={lr}"])
        fake_runs.run("scratch", seed=seed)
    contests = find_contests(results_table(fake_runs.written))
    effects = cell_effects([one.cell for one in contests], num_draws=100)
    table = way_table(ways_of(contests, effects), [], Anchors(one.cell for one in contests), "f1_weighted")
    assert table.notes[0].startswith("NOT tried as often as scratch: full fine-tune;")


def test_the_report_shows_ways_and_how_far_they_moved(fake_runs: Any, tmp_path: Path) -> None:  # noqa: ANN401
    runs = study_runs(fake_runs, rates=(0.01,))
    for run in runs:
        if run.config.phase == "finetune":
            lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
            for line in lines:
                moved = 0.1 * line["epoch"] * (run.config.transfer.way == "full")
                line["movement"] = {"distance": {"stem": moved, "block": 2 * moved}, "cka": {"stem": 1 - moved}}
            (run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            run.seal()
    folder = tmp_path / "report"
    page = write_report(runs, folder, title="T", num_draws=100).read_text()
    assert page.count("<b>Ways against scratch.</b>") == 1
    assert "stem ends at 0.30, block ends at 0.60" in page
    assert {path.name for path in (folder / "figures").glob("ways*.png")} == {
        "ways.png", "ways-distance.png", "ways-cka.png",
    }  # fmt: skip
    table = pd.read_csv(folder / "tables" / "ways.csv")
    assert list(table["way"]) == ["full fine-tune", "linear probe"] * 2
    assert list(table["tried_scratch"].str.partition(":")[0]) == ["0.01"] * 4
    assert page.count('href="#runs-') >= len(table)


def test_names_of_ways_tell_what_differs() -> None:
    assert way_name(TransferConfig()) == "full fine-tune"
    assert way_name(TransferConfig(layer_decay=0.5)) == "full fine-tune", "which has no layer decay"
    assert way_name(TransferConfig(way="layerwise", layer_decay=0.5, head_lr=2.0)) == (
        "layer-wise rates (layer_decay 0.5, head_lr 2)"
    )
    assert way_name(TransferConfig(way="lp_ft", batch_norm="reestimate")) == "LP-FT, re-estimated BatchNorm"
    assert way_name(TransferConfig(head="shared")) == "full fine-tune, shared head"
    assert schedule_name(OptimConfig(schedule="one_cycle")) == "one-cycle"
    assert ways_in_order(["L2-SP", "LP-FT", "full fine-tune, frozen BatchNorm", "full fine-tune"]) == [
        "full fine-tune", "full fine-tune, frozen BatchNorm", "LP-FT", "L2-SP",
    ]  # fmt: skip
