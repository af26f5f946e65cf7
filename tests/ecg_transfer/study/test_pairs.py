from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from ecg_transfer.comparison import find_pairs
from ecg_transfer.runs import find_runs
from ecg_transfer.study.pairs import find_cells, pair_runs
from ecg_transfer.study.results import results_table
from ecg_transfer.study.upstream_cells import gone_upstreams

if TYPE_CHECKING:
    from conftest import FakeRuns


@pytest.fixture
def grid(fake_runs: FakeRuns) -> FakeRuns:
    """Two upstreams, two sizes, two learning rates, two seeds; and a lonely fine-tuning."""
    for corpus in ("ptbxl", "georgia"):
        upstream = fake_runs.run("pretrain", corpus)
        for subset in (100, None):
            for lr in ("1e-2", "1e-3"):
                for seed in (0, 1):
                    fields = {
                        "subset": subset,
                        "num_train": subset or 349,
                        "seed": seed,
                        "overrides": [f"optim.lr={lr}"],
                    }
                    fake_runs.run("finetune", upstream=upstream, **fields)
                    if corpus == "ptbxl":
                        fake_runs.run("scratch", **fields)
    fake_runs.run("finetune", upstream=upstream, seed=7)
    return fake_runs


def test_the_join_finds_the_pairs_that_the_comparison_finds(grid: FakeRuns) -> None:
    joined = pair_runs(results_table(find_runs(grid.output)))
    slow = {(pair.finetune.name, pair.scratch.name) for pair in find_pairs(grid.output)}
    assert set(zip(joined["run_finetune"], joined["run_scratch"], strict=True)) == slow
    assert len(slow) == 16


def test_cells_gather_seeds_and_keep_all_else_apart(grid: FakeRuns) -> None:
    cells = find_cells(results_table(find_runs(grid.output)))
    found = [(cell.upstream, cell.num_train, cell.lr, cell.units) for cell in cells]
    expected = [
        (upstream, size, lr, [(0, 0), (1, 0)])
        for upstream in ("georgia", "ptbxl")
        for size in (100, 349)
        for lr in (1e-3, 1e-2)
    ]
    assert sorted(found) == sorted(expected)
    assert len({cell.series for cell in cells}) == 4  # a series for each upstream and learning rate
    assert len({cell.setting for cell in cells}) == 2  # learning rates are never pooled


def test_a_pretraining_without_its_weights_is_still_known_by_its_configuration(fake_runs: FakeRuns) -> None:
    upstreams = [fake_runs.run("pretrain", "ptbxl", seed=seed) for seed in range(3)]
    for upstream in upstreams:
        fake_runs.pair(upstream=upstream, seed=upstream.config.seed, gain=0.5)
    whole = results_table(find_runs(fake_runs.output))
    for upstream in upstreams:
        (upstream.path / "best.ckpt").unlink()
    assert not upstreams[0].is_done
    damaged = results_table(find_runs(fake_runs.output))
    finetunings = whole["phase"] == "finetune"
    assert sorted(damaged["upstream_cell"].dropna()) == sorted(whole.loc[finetunings, "upstream_cell"])
    assert [len(cell.units) for cell in find_cells(damaged)] == [3]
    assert gone_upstreams(damaged) == []
    for upstream in upstreams:
        shutil.rmtree(upstream.path)
    without = results_table(find_runs(fake_runs.output))
    assert [len(cell.units) for cell in find_cells(without)] == [1, 1, 1]
    assert gone_upstreams(without)[0].startswith("3 pre-trainings are gone")


def test_several_upstream_seeds_are_one_repetition(fake_runs: FakeRuns) -> None:
    upstreams = [fake_runs.run("pretrain", "ptbxl", seed=seed) for seed in (0, 1)]
    for upstream, skill in zip(upstreams, (0.5, 3.0), strict=True):
        fake_runs.run("finetune", upstream=upstream, skill=skill)
    fake_runs.run("scratch")
    table = results_table(find_runs(fake_runs.output))
    (cell,) = find_cells(table)
    tuned = table[table["phase"] == "finetune"]["val_selected/f1_weighted"]
    assert cell.units == [(0, 0)]
    assert cell.by_unit("val_selected/f1_weighted", "finetune") == pytest.approx(tuned.mean())


def test_seeds_are_the_same_ones_on_their_own_draws_of_records_and_on_all(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl")
    for seed in (0, 4):
        fake_runs.pair(upstream=upstream, seed=seed)
        for draw in (seed, 9):
            fake_runs.pair(upstream=upstream, seed=seed, subset=100, subset_seed=draw, num_train=100)
    part, whole = find_cells(results_table(find_runs(fake_runs.output)))
    assert (part.num_train, part.repetitions) == (100, [(0, 0), (0, 9), (4, 4), (4, 9)])
    assert part.units == [(0, 0), (0, 1), (4, 0), (4, 1)]
    assert whole.repetitions == whole.units == [(0, 0), (4, 0)]


def test_no_runs_make_no_cells() -> None:
    assert find_cells(results_table([])) == []
