"""A corpus compared with the training records of a run, however these were prepared and whatever came before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ecg_transfer as et
from data_modules.corpus_check import check_corpus
from ecg_transfer.checks import data_to_check
from ecg_transfer.runs import Run
from tests.data_modules.test_near_copies import recordings
from tests.ecg_transfer.tiny_backbone import NAME

NUMBER = 40


def add(name: str, root: Path, *, seed: int = 0) -> None:
    labels = {"AF": np.arange(NUMBER) % 2}
    et.corpus_from_arrays(recordings(NUMBER, seed=seed, seconds=12), labels, sampling_rate=100, name=name, root=root)


def pretrain(name: str, root: Path, **fields: object) -> Run:
    overrides = {"data.root": str(root), "optim.max_epochs": 1, "optim.min_updates": 0, "trainer.accelerator": "cpu"}
    return et.pretrain(
        name, backbone=NAME, recipe="modern", overrides=overrides | fields, output=root / "runs"
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [{"data.sampling_rate": 50, "data.num_samples": 500}, {"data.num_samples": 700}, {"data.crop": "center"}, {}],
    ids=["rate", "length", "crop", "as usual"],
)
def test_a_corpus_is_prepared_as_the_records_of_the_run_that_it_is_compared_with(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    add("mine", tmp_path)
    run = pretrain("mine", tmp_path, **fields)
    given = {"data.root": str(tmp_path), "data.split_seed": 5}
    data, upstream = data_to_check("mine", run.name, overrides=given, output=tmp_path / "runs")
    left_out = {str(name) for part in ("val", "test") for name in run.predictions[f"val_selected/{part}"].record_ids}
    evaluated = {data.record_ids[row] for part in ("val", "test") for row in data.rows[part]}
    found = [finding.records[0] for finding in check_corpus(data, upstream) if finding.code == "copy_in_upstream"]
    assert sorted(found) == sorted(evaluated - left_out) != []


def test_another_preparation_than_the_runs_is_refused(tmp_path: Path) -> None:
    add("mine", tmp_path)
    run = pretrain("mine", tmp_path)
    given = {"data.root": str(tmp_path), "data.num_samples": 700}
    with pytest.raises(ValueError, match=r"data.num_samples=700: .* was trained with data.num_samples=1000"):
        data_to_check("mine", run.name, overrides=given, output=tmp_path / "runs")
