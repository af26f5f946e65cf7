from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from ecg_transfer.runs import find_runs
from ecg_transfer.study.optimism import optimism_summary
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.results import read_study
from ecg_transfer.study.speed import (
    area_under_curve,
    cell_speeds,
    kaplan_meier,
    median_time,
    restricted_mean,
    speeds_table,
    time_to_target,
)
from ecg_transfer.study.study_tables import optimism_table

if TYPE_CHECKING:
    from conftest import FakeRuns

# Freireich et al. 1963, the 6-MP arm: weeks in remission, as in every textbook on survival analysis.
WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]


def test_kaplan_meier_of_the_textbook() -> None:
    when, left = kaplan_meier(WEEKS, RELAPSED)
    assert when.tolist() == [6, 7, 10, 13, 16, 22, 23]
    assert left.round(3).tolist() == [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert median_time(WEEKS, RELAPSED) == 23


def test_medians_and_restricted_means_by_hand() -> None:
    assert median_time([10, 20, 30, 40], [True, True, False, False]) == 20
    assert median_time([6, 10, 9, 2, 6, 1, 2, 6, 5, 5], [True] * 10) == 5, "five of ten are left, exactly"
    assert median_time([10, 40, 40, 40], [True, False, False, False]) == np.inf
    assert restricted_mean([10, 20, 30], [True, True, True], 100) == pytest.approx(20)
    assert restricted_mean([10, 40, 40, 40], [True, False, False, False], 40) == pytest.approx((10 + 3 * 40) / 4)
    # 1 up to 2, 2/3 up to 6 (the run censored at 4 leaves the risk set), then 0
    assert restricted_mean([2, 4, 6], [True, False, True], 8) == pytest.approx(2 + 4 * 2 / 3)


def test_time_to_target_and_area() -> None:
    curve = {"epoch": np.array([1, 2, 3]), "updates": np.array([10, 20, 30]), "val/f1": np.array([0.2, 0.6, 0.5])}
    assert time_to_target(curve, "val/f1", 0.5, "updates") == (20, True)
    assert time_to_target(curve, "val/f1", 0.7, "epochs") == (3, False)
    assert area_under_curve(curve, "val/f1", 30) == pytest.approx((0.4 + 0.55) / 2)
    assert area_under_curve(curve, "val/f1", 20) == pytest.approx(0.4)
    assert area_under_curve(curve, "val/f1", 5) == 0.2


def test_the_speed_of_runs_on_disk(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in range(6):
        fake_runs.run("finetune", upstream=upstream, seed=seed, val_curve=(0.5, 0.58, 0.6, 0.6))
        fake_runs.run("scratch", seed=seed, val_curve=(0.1, 0.3, 0.5, 0.6))  # 95 % of 0.6 is 0.57
    study = read_study(find_runs(fake_runs.output))
    (speed,) = cell_speeds(find_cells(study.results), study.curves)
    assert speed.medians == {"finetune": 20, "scratch": 40}
    assert speed.ratio == pytest.approx(0.5)
    assert speed.ratio_interval == pytest.approx((0.5, 0.5))
    assert speed.num_censored == {"finetune": 0, "scratch": 0}
    assert speed.jump_start == pytest.approx(0.4)
    assert speed.areas["scratch"] == pytest.approx((0.2 + 0.4 + 0.55) / 3)
    (epochs,) = cell_speeds(find_cells(study.results), study.curves, unit="epochs")
    assert epochs.medians == {"finetune": 2, "scratch": 4}
    row = speeds_table([speed]).iloc[0]
    assert (row["ratio"], row["median_scratch"]) == (pytest.approx(0.5), 40)


def test_runs_that_never_reach_the_target_are_censored(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    fake_runs.pair(upstream=upstream, seed=0, val_curve=(0.1, 0.3, 0.5, 0.6))
    fake_runs.run("finetune", upstream=upstream, seed=1, val_curve=(0.1, 0.1, 0.1, 0.1))
    fake_runs.run("scratch", seed=1, val_curve=(0.1, 0.6, 0.6, 0.6))
    study = read_study(find_runs(fake_runs.output))
    (speed,) = cell_speeds(find_cells(study.results), study.curves)
    assert speed.num_censored == {"finetune": 1, "scratch": 0}
    assert speed.ratio == pytest.approx(np.sqrt(1 * 40 / 20))
    assert speed.medians["finetune"] == 40
    assert speed.restricted_means == {"finetune": pytest.approx(40), "scratch": pytest.approx(30)}


@pytest.mark.parametrize(
    ("finetune", "scratch", "ratio"),
    [
        ((0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.6), (0.1, 0.3, 0.5, 0.6), 80 / 40),  # later than scratch's end
        ((0.1, 0.1, 0.1, 0.1), (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.6), 80 / 80),  # never, and stopped early
        ((0.1, 0.6), (0.1, 0.3, 0.5, 0.6), 20 / 40),
    ],
)
def test_trainings_of_different_lengths(
    fake_runs: FakeRuns, finetune: tuple[float, ...], scratch: tuple[float, ...], ratio: float
) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    fake_runs.run("finetune", upstream=upstream, val_curve=finetune)
    fake_runs.run("scratch", val_curve=scratch)
    study = read_study(find_runs(fake_runs.output))
    (speed,) = cell_speeds(find_cells(study.results), study.curves)
    assert speed.ratio == pytest.approx(ratio)


def test_runs_without_a_target_are_not_counted(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed, last in enumerate((0.0, 0.0, 0.6)):
        fake_runs.run("scratch", seed=seed, val_curve=(0.0, last))
        fake_runs.run("finetune", upstream=upstream, seed=seed, val_curve=(0.0, 0.1))
    study = read_study(find_runs(fake_runs.output))
    (speed,) = cell_speeds(find_cells(study.results), study.curves)
    assert (speed.num_censored, speed.num_runs) == ({"finetune": 1, "scratch": 0}, {"finetune": 1, "scratch": 1})


def test_without_a_score_of_scratch_there_is_no_target(fake_runs: FakeRuns) -> None:
    fake_runs.pair(upstream=fake_runs.run("pretrain", "ptbxl"), val_curve=(0.0, 0.0))
    study = read_study(find_runs(fake_runs.output))
    assert cell_speeds(find_cells(study.results), study.curves) == []


def test_ratio_scatters_with_the_seeds(make_study: Callable[..., Any], fake_cell: Callable[..., object]) -> None:
    study = make_study([fake_cell(finetune=[0.5] * 6, scratch=[0.5] * 6, finetune_updates=50, scratch_updates=50)])
    for seed, updates in enumerate((10, 20, 30, 40, 50, 60)):
        rows = study.curves["run"] == f"finetune-0-s{seed}"
        study.curves.loc[rows, "val/f1_weighted"] = np.where(study.curves.loc[rows, "updates"] >= updates, 0.8, 0.1)
    (speed,) = cell_speeds(find_cells(study.results), study.curves)
    logs = np.log(np.arange(1, 7) / 5)
    half = 2.571 * logs.std(ddof=1) / np.sqrt(6)  # Student's t with five degrees of freedom
    low, high = np.log(speed.ratio_interval)
    assert np.log(speed.ratio) == pytest.approx(logs.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)


def test_optimism_of_different_scores_is_not_averaged_and_its_interval_ends_at_zero() -> None:
    results = pd.DataFrame(
        {
            "simulated": False, "phase": "scratch", "downstream": "ptb", "backbone": "lstm", "recipe": "paper",
            "monitor": ["f1_weighted", "auroc_macro", "f1_weighted", "auroc_macro"], "optimism": [0.1, 0.0, 0.3, 0.02],
        }
    )  # fmt: skip
    summary = optimism_summary(results).set_index("monitor")
    assert summary["mean"].to_dict() == pytest.approx({"auroc_macro": 0.01, "f1_weighted": 0.2})
    assert (summary["low"] == 0).all(), "the t interval of two such values reaches below"
    # the share of one of two runs is uniform, from -1 to 1 about its mean; its deviation is widened by sqrt(3) * t / z
    expected = 0.01 + 0.95 * 0.01 * np.sqrt(3) * 12.706 / 1.960
    assert summary.loc["auroc_macro", "high"] == pytest.approx(expected, rel=1e-2)
    assert {row[4].text for row in optimism_table(summary.reset_index()).rows} == {"macro AUROC", "weighted F1"}


def test_optimism_by_group() -> None:
    results = pd.DataFrame({"downstream": ["ptb"] * 4 + ["georgia"], "optimism": [0.01, 0.03, 0.02, 0.02, 0.05]})
    summary = optimism_summary(results, by=("downstream",)).set_index("downstream")
    assert summary.loc["ptb", "mean"] == pytest.approx(0.02)
    assert summary.loc["ptb", "low"] < 0.02 < summary.loc["ptb", "high"]
    assert summary.loc["ptb", "largest"] == 0.03
    assert summary.loc["georgia", "num_runs"] == 1
    assert np.isnan(summary.loc["georgia", "low"])


def test_the_median_is_that_of_exact_fractions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        times = rng.integers(1, 12, rng.integers(1, 40))
        reached = rng.random(len(times)) < 0.9
        left, expected = Fraction(1), np.inf
        for time in np.unique(times):
            left *= 1 - Fraction(int((reached & (times == time)).sum()), int((times >= time).sum()))
            if left <= Fraction(1, 2):
                expected = float(time)
                break
        assert median_time(times, reached) == expected
