"""A corpus compared with the training records of a run, however these were prepared and whatever came before it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import ecg_transfer as et
from data_modules.corpus_check import check_corpus
from data_modules.own.definition import definition_path
from ecg_transfer.checks import data_to_check
from ecg_transfer.cli import app
from ecg_transfer.leaks import leaks_of
from ecg_transfer.model_folder import read_model_folder
from ecg_transfer.runs import Run
from ecg_transfer.upstream import RecordsOverlapWarning, TrainingUnknownWarning
from tests.data_modules.test_near_copies import recordings
from tests.ecg_transfer.tiny_backbone import NAME

NUMBER = 40


FOLDS = [9 if number in range(5, 11) else 10 if number in range(11, 21) else 1 for number in range(NUMBER)]


def add(name: str, root: Path, *, seed: int = 0) -> None:
    labels = {"AF": np.arange(NUMBER) % 2}
    et.corpus_from_arrays(recordings(NUMBER, seed=seed, seconds=12), labels, sampling_rate=100, name=name, root=root)


def pretrain(name: str, root: Path, **fields: object) -> Run:
    return et.pretrain(name, backbone=NAME, recipe="modern", overrides=once(root) | fields, output=root / "runs")


def finetune(name: str, upstream: str, root: Path) -> Run:
    return et.finetune(
        name, upstream=upstream, backbone=NAME, recipe="modern", overrides=once(root), output=root / "runs"
    )


def once(root: Path) -> dict[str, object]:
    """An epoch on the CPU."""
    return given(root) | {"optim.max_epochs": 1, "optim.min_updates": 0, "trainer.accelerator": "cpu"}


def given(root: Path) -> dict[str, object]:
    return {"data.root": str(root)}


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
    fields = given(tmp_path) | {"data.split_seed": 5}
    data, upstreams = data_to_check("mine", run.name, overrides=fields, output=tmp_path / "runs")
    left_out = {str(name) for part in ("val", "test") for name in run.predictions[f"val_selected/{part}"].record_ids}
    evaluated = {data.record_ids[row] for part in ("val", "test") for row in data.rows[part]}
    found = [finding.records[0] for finding in check_corpus(data, *upstreams) if finding.code == "copy_in_upstream"]
    assert sorted(found) == sorted(evaluated - left_out) != []


def test_another_preparation_than_the_runs_is_refused(tmp_path: Path) -> None:
    add("mine", tmp_path)
    run = pretrain("mine", tmp_path)
    fields = given(tmp_path) | {"data.num_samples": 700}
    with pytest.raises(ValueError, match=r"data.num_samples=700: .* was trained with data.num_samples=1000"):
        data_to_check("mine", run.name, overrides=fields, output=tmp_path / "runs")


@pytest.mark.parametrize("is_exported", [False, True], ids=["run", "exported"])
def test_an_upstream_of_an_upstream_is_looked_at_too(tmp_path: Path, is_exported: bool) -> None:
    """`last` evaluates on recordings that `first` was trained on, from which its upstream was fine-tuned."""
    parts = [recordings(NUMBER, seed=seed) for seed in range(3)]
    parts[2][11:15], parts[2][5:7] = parts[0][25:29], parts[0][30:32]  # of the test and validation records
    for name, signals in zip(("first", "second", "third"), parts, strict=True):
        labels = {"AF": np.arange(NUMBER) % 2}
        et.corpus_from_arrays(signals, labels, sampling_rate=100, name=name, root=tmp_path, folds=FOLDS)
    output, first = tmp_path / "runs", pretrain("first", tmp_path)
    upstream = str(et.export_run(first, tmp_path / "model")) if is_exported else first.name
    second = finetune("second", upstream, tmp_path)
    with pytest.warns(RecordsOverlapWarning):
        last = finetune("third", second.name, tmp_path)
    assert leaks_of(last.manifest) == {"copy_in_upstream": 6}
    (candidate,) = et.transferability(
        "third", [second.name], overrides=given(tmp_path), output=output, trust=True
    ).candidates
    assert candidate.notes == ("2 validation records are copies of ones it was trained on",)
    scored = ["labels", second.name, "third", f"data.root={tmp_path}", "--trust", "--output", str(output)]
    for part, count in (("val", 2), ("test", 4)):
        shown = " ".join(CliRunner().invoke(app, [*scored, "--part", part]).stdout.split())
        assert f"{count} of the {part} records are copies of ones that it was trained on" in shown
    folder = read_model_folder(et.export_run(last, tmp_path / "last"))
    assert [(records.corpus, records.count) for records in folder.record_sets] == [
        ("third", 24), ("second", 24), ("first", 24)
    ]  # fmt: skip
    if not is_exported:
        data, upstreams = data_to_check("third", second.name, overrides=given(tmp_path), output=output)
        found = [finding.records for finding in check_corpus(data, *upstreams) if finding.code == "copy_in_upstream"]
        pairs = zip((5, 6, 11, 12, 13, 14), (30, 31, 25, 26, 27, 28), strict=True)
        assert sorted(found) == [(f"{ours:02d}", f"{theirs:02d}") for ours, theirs in pairs]
        definition_path(tmp_path, "first").unlink()
        with pytest.warns(TrainingUnknownWarning, match=f"not compared with {first.name}: .*first"):
            _, upstreams = data_to_check("third", second.name, overrides=given(tmp_path), output=output)
        assert [one.config.corpus for one in upstreams] == ["second"]
        with pytest.raises(ValueError, match="no corpus 'first'"):
            data_to_check("third", first.name, overrides=given(tmp_path), output=output)
