from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ecg_transfer.runs import find_runs
from ecg_transfer.study.arrangement import settings_of
from ecg_transfer.study.effects import cell_effects
from ecg_transfer.study.exhibit_tables import label_tables
from ecg_transfer.study.page import Anchors
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.results import read_study

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
