from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ecg_transfer.runs import find_runs
from ecg_transfer.study.arrangement import settings_of
from ecg_transfer.study.effects import cell_effects
from ecg_transfer.study.exhibit_tables import effect_table, label_tables, score_table
from ecg_transfer.study.page import Anchors
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.report_text import one_seed
from ecg_transfer.study.results import read_study
from ecg_transfer.study.way_tables import difference_entry

if TYPE_CHECKING:
    from conftest import FakeRuns


def test_scores_of_a_label_are_means_over_seeds_however_many_pretrainings_each_has(fake_runs: FakeRuns) -> None:
    upstreams = [fake_runs.run("pretrain", "ptbxl", seed=seed) for seed in range(3)]
    for seed, skill, starts in ((0, 0.2, upstreams), (1, 2.0, upstreams[:1])):
        fake_runs.run("scratch", seed=seed, skill=skill)
        for upstream in starts:
            fake_runs.run("finetune", upstream=upstream, seed=seed, skill=skill)
    study = read_study(find_runs(fake_runs.output))
    effects = cell_effects(find_cells(study.results), num_draws=50)
    (setting,) = settings_of(effects)
    table = label_tables(setting, study.labels, Anchors(effect.cell for effect in effects))[0]
    scores = study.labels.merge(study.results[["run", "phase", "seed"]], on="run").groupby(["label", "phase", "seed"])[
        "f1"
    ]
    by_seed = scores.mean().groupby(["label", "phase"]).mean()
    columns = {"finetune": table.headers.index("F1 fine-tuned"), "scratch": table.headers.index("F1 scratch")}
    for row in table.rows:
        for arm, column in columns.items():
            assert float(row[column].text) == pytest.approx(by_seed[row[2].text, arm], abs=6e-4)


def test_one_seed_is_marked_by_no_triangle_and_its_interval_is_explained(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for corpus, num_seeds in (("ptb", 1), ("georgia", 6)):
        for seed in range(num_seeds):
            fake_runs.pair(upstream=upstream, corpus=corpus, gain=3.0, skill=0.2, seed=seed)
    effects = cell_effects(find_cells(read_study(find_runs(fake_runs.output)).results), num_draws=200)
    assert all(effect.effect.low > 0 for effect in effects)  # the patients of one training tell as much
    anchors = Anchors(effect.cell for effect in effects)
    settings = settings_of(effects)
    rows = effect_table(settings, anchors, "f1_weighted", 10).rows
    assert {row[6].text: row[9].kind.split()[1:] for row in rows} == {"1": [], "6": ["up"]}
    scores = score_table(settings[0], anchors, "f1_weighted").rows[0]
    assert sorted(cell.kind.split()[1:] for cell in scores[2:]) == [[], ["up"]]
    ways = {difference_entry(effect.effect, "").kind for effect in effects}
    assert ways == {"number", "number up"}
    (sentence,) = one_seed(effects)
    assert sentence.startswith("1 of 2 comparisons has one seed: what is given as an interval there is over test pati")
    assert one_seed([effect for effect in effects if effect.effect.num_seeds > 1]) == []
