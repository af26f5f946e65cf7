from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ecg_transfer.metrics import AGGREGATES, Evaluation
from ecg_transfer.predictions import save_predictions
from ecg_transfer.runs import RunChangedError, find_runs
from ecg_transfer.study.effects import UnpairedTestSetsError, cell_effects, effects_table, pooled
from ecg_transfer.study.pairs import Cell, find_cells
from ecg_transfer.study.results import results_table

if TYPE_CHECKING:
    from conftest import FakeRuns


def cells_of(fake_runs: FakeRuns) -> list[Cell]:
    return find_cells(results_table(find_runs(fake_runs.output)))


def test_an_effect_of_six_seeds(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    pairs = [fake_runs.pair(upstream=upstream, seed=seed, skill=0.5, gain=1.0) for seed in range(6)]
    (result,) = cell_effects(cells_of(fake_runs))
    effect = result.effect
    by_hand = [np.subtract(*(run.scores["val_selected"].f1_weighted for run in pair)) for pair in pairs]
    assert effect.estimate == pytest.approx(np.mean(by_hand))
    assert result.differences == pytest.approx(by_hand)
    assert 0 < effect.low < effect.estimate < effect.high < 0.6
    assert (effect.num_seeds, effect.num_records, effect.num_groups) == (6, 60, 30)
    assert effect.p == effect.p_holm == 2 / 2**6
    assert effects_table([result]).iloc[0]["finetune"] == pytest.approx(result.scores["finetune"])


def test_the_patients_draws_are_those_of_whole_evaluations(fake_runs: FakeRuns) -> None:
    finetune, scratch = fake_runs.pair(upstream=fake_runs.run("pretrain", "ptbxl"), gain=1.0)
    (result,) = cell_effects(cells_of(fake_runs), "f1_macro", num_draws=50)
    from ecg_transfer.study.bootstrap import draw_patients

    test = finetune.predictions["val_selected/test"]
    weights = draw_patients(test.groups, test.targets, num_draws=50).weights
    expected = [
        AGGREGATES["f1_macro"](Evaluation(part.logits, part.targets), weights)
        for part in (test, scratch.predictions["val_selected/test"])
    ]
    np.testing.assert_allclose(result.difference_draws, expected[0] - expected[1])
    assert "one seed: the interval is over patients alone" in result.effect.note


def test_few_seeds_are_said_to_be_too_few(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in range(5):
        fake_runs.pair(upstream=upstream, seed=seed, gain=1.0)
    effect = cell_effects(cells_of(fake_runs))[0].effect
    assert effect.p is None
    assert "5 seeds are too few, their smallest possible p is 0.0625" in effect.note


def test_no_gain_is_covered_by_the_interval(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in range(6):
        fake_runs.pair(upstream=upstream, seed=seed)
    effect = cell_effects(cells_of(fake_runs))[0].effect
    assert effect.low < 0 < effect.high
    assert effect.p is not None
    assert effect.p > 0.05


def test_tuned_thresholds_and_rankings(fake_runs: FakeRuns) -> None:
    fake_runs.pair(upstream=fake_runs.run("pretrain", "ptbxl"), gain=1.0)
    cells = cells_of(fake_runs)
    for metric in ("tuned/f1_macro", "auroc_macro", "ap_macro"):
        (result,) = cell_effects(cells, metric, num_draws=100)
        assert result.effect.metric == f"val_selected/{metric}"
        assert result.effect.low < result.effect.estimate < result.effect.high
        centre = np.mean(result.draws["finetune"])
        assert centre == pytest.approx(result.scores["finetune"], abs=0.03)


def test_other_test_records_are_no_pair(fake_runs: FakeRuns) -> None:
    finetune, _ = fake_runs.pair(upstream=fake_runs.run("pretrain", "ptbxl"))
    predictions = finetune.predictions
    predictions["val_selected/test"].record_ids[0] = "another"
    save_predictions(finetune.path / "predictions.npz", predictions, dict.fromkeys(predictions, 0))
    finetune.seal()
    with pytest.raises(UnpairedTestSetsError, match=r"data\.split_seed"):
        cell_effects(cells_of(fake_runs))


def test_predictions_of_another_time_are_refused_or_left_out(fake_runs: FakeRuns) -> None:
    """As large as the run's own, they gave an estimate of one and an interval of the other: -0.06 [-4.0, 3.3]."""
    finetune, _ = fake_runs.pair(upstream=fake_runs.run("pretrain", "ptbxl"))
    predictions = finetune.predictions
    whole = (finetune.path / "predictions.npz").stat().st_size
    for part in predictions.values():
        part.logits[:] = -part.logits
    save_predictions(finetune.path / "predictions.npz", predictions, dict.fromkeys(predictions, 0))
    assert (finetune.path / "predictions.npz").stat().st_size == whole
    assert finetune.is_done, "by the sizes of its files"
    with pytest.raises(RunChangedError, match=f"{finetune.name}/predictions.npz was changed since the run finished"):
        cell_effects(cells_of(fake_runs))
    left_out: list[str] = []
    assert cell_effects(cells_of(fake_runs), leave_out=lambda cell, error: left_out.append(str(error))) == []
    assert len(left_out) == 1


def test_a_label_without_positives_counts_as_declared(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for run in fake_runs.pair(upstream=upstream, skill=4.0):
        predictions = run.predictions
        for part in predictions.values():
            part.targets[:, 2] = 0
            part.logits[:, 2] = -9
        save_predictions(run.path / "predictions.npz", predictions, dict.fromkeys(predictions, 0))
        run.seal()
    cells = cells_of(fake_runs)
    macro, weighted, auroc = (
        cell_effects(cells, name)[0].draws["scratch"] for name in ("f1_macro", "f1_weighted", "auroc_macro")
    )
    assert macro.max() == pytest.approx(2 / 3)  # the label counts as 0
    assert weighted.max() == pytest.approx(1)  # it has no weight
    assert auroc.max() == pytest.approx(1)  # it is left out


def test_pooling_counts_what_is_shared_once(fake_runs: FakeRuns) -> None:
    upstreams = [fake_runs.run("pretrain", corpus) for corpus in ("ptbxl", "georgia")]
    for seed in range(6):
        fake_runs.pair(upstream=upstreams[0], seed=seed, gain=0.5)
        fake_runs.run("finetune", upstream=upstreams[1], seed=seed, skill=1.5)
    results = cell_effects(cells_of(fake_runs))
    effect, draws = pooled(results)
    # Both fine-tunings have the very same logits, so that pooling two cells must not narrow the interval.
    assert len(results) == 2
    assert (effect.low, effect.high) == (results[0].effect.low, results[0].effect.high)
    assert effect.p == results[0].effect.p
    assert len(draws) == 2000


def test_without_predictions_the_interval_is_over_seeds(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in range(6):
        fake_runs.pair(upstream=upstream, seed=seed, gain=1.0)
    cells = cells_of(fake_runs)
    for run in fake_runs.written:
        (run.path / "predictions.npz").unlink()
    effect = cell_effects(cells)[0].effect
    assert effect.num_groups == 0
    assert "over seeds alone" in effect.note
