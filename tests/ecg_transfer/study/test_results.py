from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from ecg_transfer.config import PLACES, ConfigError
from ecg_transfer.config_reading import make_config
from ecg_transfer.runs import Run, RunChangedError, find_runs
from ecg_transfer.study.contests import find_contests
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.results import read_study, results_table, write_results
from ecg_transfer.study.saved_config import saved_config

if TYPE_CHECKING:
    from conftest import FakeRuns


def test_a_row_says_what_the_run_was_and_scored(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl", num_train=17_000)
    run = fake_runs.run("finetune", "ptb", upstream=upstream, seed=3, subset=200, subset_seed=2, num_train=200)
    row = results_table([run]).iloc[0]
    expected = {
        "run": run.name, "phase": "finetune", "upstream": "ptbxl", "upstream_run": upstream.name, "downstream": "ptb",
        "backbone": "resnet1d18", "recipe": "paper", "lr": 0.01, "batch_size": 256, "num_epochs": 4, "updates": 40,
        "seed": 3, "subset": 200.0, "subset_seed": 2, "num_train": 200, "num_val": 40, "num_test": 60,
        "simulated": False, "precision": "32", "seconds": 40.0, "records_per_second": 100.0,
        "upstream_cell": results_table([upstream]).iloc[0]["cell"],
        "epochs_to_90": 3, "updates_to_99": 40, "val_selected/epoch": 4,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    test = run.predictions["val_selected/test"]
    called = test.logits > 0
    assert row["val_selected/f1_weighted"] == pytest.approx(f1_score(test.targets, called, average="weighted"))
    assert row["val_selected/f1_macro"] == pytest.approx(f1_score(test.targets, called, average="macro"))
    assert row["last_epoch/auroc_macro"] == pytest.approx(roc_auc_score(test.targets, test.logits, average="macro"))


def test_models_of_one_corpus_are_told_apart_also_without_their_pretrainings(fake_runs: FakeRuns) -> None:
    models = [fake_runs.run("pretrain", "ptbxl", overrides=[f"optim.max_epochs={epochs}"]) for epochs in (1, 100)]
    for seed in range(2):
        fake_runs.run("scratch", seed=seed)
        for model, skill in zip(models, (0.1, 4.0), strict=True):
            fake_runs.run("finetune", upstream=model, seed=seed, skill=skill)
    for runs in (fake_runs.written, [run for run in fake_runs.written if run.config.phase != "pretrain"]):
        cells = find_cells(results_table(runs))
        assert [len(cell.pairs) for cell in cells] == [2, 2]
        assert len({cell.name for cell in cells}) == 2
        scores = sorted(cell.by_unit("val_selected/f1_weighted", "finetune").mean() for cell in cells)
        assert scores[0] < scores[1] - 0.2


def test_tables_of_labels_and_epochs(fake_runs: FakeRuns) -> None:
    run = fake_runs.run(val_curve=(0.1, 0.3))
    study = read_study([run])
    test = run.predictions["val_selected/test"]
    assert study.labels["label"].tolist() == list(fake_runs.labels)
    assert study.labels["positives_test"].tolist() == test.targets.sum(axis=0).tolist()
    assert study.labels["f1"].tolist() == pytest.approx(f1_score(test.targets, test.logits > 0, average=None).tolist())
    assert study.curves["epoch"].tolist() == [1, 2]
    assert study.curves["val/f1_weighted"].tolist() == [0.1, 0.3]


def test_unfinished_runs_are_left_out(fake_runs: FakeRuns) -> None:
    done, torn = fake_runs.run(seed=0), fake_runs.run(seed=1)
    (torn.path / "DONE").unlink()
    assert results_table(find_runs(fake_runs.output))["run"].tolist() == [done.name]
    assert results_table([]).empty


@pytest.mark.parametrize("name", ["config.yaml", "manifest.json", "metrics.jsonl", "scores.json"])
def test_a_run_that_was_changed_since_it_finished_is_not_read(fake_runs: FakeRuns, name: str) -> None:
    run = fake_runs.run()
    content = (run.path / name).read_text()
    changed = content.replace("1", "2")
    assert changed != content
    (run.path / name).write_text(changed)
    assert run.is_done, "a look at sizes cannot tell"
    with pytest.raises(RunChangedError, match=f"{name} was changed since the run finished"):
        read_study([run])


def test_an_upstream_that_was_simulated_makes_the_run_simulated(fake_runs: FakeRuns) -> None:
    upstream = fake_runs.run("pretrain", "ptbxl", simulated=True)
    run = fake_runs.run("finetune", upstream=upstream)
    assert bool(results_table([run]).iloc[0]["simulated"])


def test_pre_trainings_that_differ_in_the_seed_alone_are_one_upstream(fake_runs: FakeRuns) -> None:
    upstreams = [fake_runs.run("pretrain", "ptbxl", seed=seed) for seed in (0, 1)]
    other = fake_runs.run("pretrain", "ptbxl", overrides=["optim.lr=1e-3"])
    tuned = [
        fake_runs.run("finetune", upstream=upstream, seed=seed) for seed, upstream in enumerate([*upstreams, other])
    ]
    table = results_table(find_runs(fake_runs.output)).set_index("run")
    first, second, third = (table.loc[run.name, "upstream_cell"] for run in tuned)
    assert first == second != third


ELSEWHERE = {
    ("data", "root"): "/elsewhere",
    ("data", "source"): "simulated",
    ("trainer", "accelerator"): "cpu",
    ("trainer", "checkpoint_seconds"): 0.0,
    ("trainer", "cuda_graphs"): False,
    ("transfer", "allow_simulated"): True,
}


@pytest.mark.parametrize("place", [f"{'.'.join(name)}={ELSEWHERE[name]}" for name in PLACES])
def test_where_and_on_what_a_run_works_parts_no_cells(fake_runs: FakeRuns, place: str) -> None:
    """Seeds that were trained elsewhere are repetitions: what names a run alike also puts it in one cell."""
    upstreams = [
        fake_runs.run("pretrain", "ptbxl", simulated=True, seed=seed, overrides=[place] * seed) for seed in (0, 1)
    ]
    for seed, upstream in enumerate(upstreams):
        fake_runs.pair(upstream=upstream, seed=seed, simulated=True, overrides=[place] * seed)
    assert make_config("scratch", "ptb", overrides=[place]).digest() == make_config("scratch", "ptb").digest()
    results = results_table(fake_runs.written)
    (cell,) = find_cells(results)
    (contest,) = find_contests(results)
    assert cell.units == contest.cell.units == [(0, 0), (1, 0)]
    keys = [name for name in results if name.startswith("upstream_") and name not in ("upstream_run", "upstream_kind")]
    for _, group in results.groupby("phase"):
        assert (group[["cell", "contest", "series", "setting", *keys]].nunique(dropna=False) == 1).all()


def test_real_and_simulated_ecgs_share_no_cell_whatever_source_was_asked_for(fake_runs: FakeRuns) -> None:
    for simulated in (False, True):
        fake_runs.run("scratch", simulated=simulated)
    results = results_table(fake_runs.written)
    assert (results[["cell", "contest", "series", "setting"]].nunique() == 2).all()


def test_the_fast_reading_of_a_configuration_is_the_checked_one(fake_runs: FakeRuns) -> None:
    run = fake_runs.run(overrides=["optim.lr=1e-5", "trainer.precision=bf16", "optim.max_updates=300"])
    assert saved_config(run) == run.config
    with (run.path / "config.yaml").open("a") as stream:
        stream.write("of_a_later_version: 1\n")
    run.seal()
    with pytest.raises(ConfigError, match="of_a_later_version"):
        saved_config(Run(run.path))


def test_where_keeps_the_tables_together(fake_runs: FakeRuns) -> None:
    fake_runs.run(recipe="paper")
    modern = fake_runs.run(recipe="modern")
    study = read_study(find_runs(fake_runs.output)).where(recipe="modern")
    assert set(study.results["run"]) == set(study.labels["run"]) == set(study.curves["run"]) == {modern.name}


def test_tables_are_written_and_read_back(fake_runs: FakeRuns, tmp_path: Path) -> None:
    table = results_table([fake_runs.run()])
    csv, *others = write_results(table, tmp_path / "tables" / "results.csv")
    read = pd.read_csv(csv)
    assert read["val_selected/f1_weighted"].tolist() == table["val_selected/f1_weighted"].tolist()
    assert np.isnan(read["subset"][0])
    for parquet in others:
        assert pd.read_parquet(parquet)["run"].tolist() == table["run"].tolist()


def test_a_saved_configuration_is_read_whole_whatever_sections_it_has(fake_runs: FakeRuns) -> None:
    run = fake_runs.run("scratch", overrides=["data.subset=5", "transfer.allow_simulated=true"])
    assert saved_config(run) == run.config
    assert saved_config(run).digest() == run.config.digest()
