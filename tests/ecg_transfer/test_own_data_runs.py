"""Own files from a folder to a finished comparison; and a run whose data changed under it is not taken for another."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import ecg_transfer as et
from data_modules.config import DataConfig
from data_modules.corpus import LEAD_NAMES
from data_modules.datamodule import ECGDataModule
from data_modules.own.adding import add_corpus
from data_modules.own.definition import definition_path
from data_modules.reading import ReadingOptions
from data_modules.simulation import simulate_ecg
from ecg_transfer.cli import main
from ecg_transfer.data_identity import DataChangedError
from ecg_transfer.evaluation import evaluate
from ecg_transfer.runs import Run, find_runs
from ecg_transfer.upstream import RecordsOverlapWarning, TrainingUnknownWarning
from tests.data_modules.ecg_files import synthetic_millivolts
from tests.ecg_transfer.tiny_backbone import NAME

REPOSITORY = Path(__file__).resolve().parents[2]
FIELDS = ("optim.max_epochs=2", "optim.min_updates=0", "optim.batch_size=16", "data.num_simulated=90")


def make(root: Path, *, count: int = 40, flip: int | None = None, replace: bool = False) -> None:
    signals = np.stack([synthetic_millivolts(1000, 100, seed=number) for number in range(count)])
    labels = np.arange(count) % 2
    if flip is not None:
        labels[flip] = 1 - labels[flip]
    et.corpus_from_arrays(signals, {"AF": labels}, sampling_rate=100, name="mine", root=root, replace=replace)


def scratch(root: Path, output: Path) -> Run:
    return et.train_from_scratch("mine", backbone=NAME, recipe="modern", overrides=few(root), output=output)


def pretrain(corpus: str, root: Path, output: Path) -> Run:
    return et.pretrain(corpus, backbone=NAME, recipe="modern", overrides=few(root), output=output)


def finetune(corpus: str, upstream: str, root: Path, output: Path) -> Run:
    return et.finetune(corpus, upstream=upstream, backbone=NAME, recipe="modern", overrides=few(root), output=output)


def few(root: Path) -> dict[str, object]:
    """Two epochs on the CPU."""
    fields = {"optim.max_epochs": 2, "optim.min_updates": 0, "optim.batch_size": 8, "trainer.accelerator": "cpu"}
    return fields | {"data.root": str(root)}


def test_a_run_is_found_again_until_its_data_change(tmp_path: Path) -> None:
    make(tmp_path)
    run = scratch(tmp_path, tmp_path / "runs")
    assert run.path.parent.name == "real"
    done = (run.path / "DONE").stat().st_mtime_ns
    assert scratch(tmp_path, tmp_path / "runs").path == run.path
    make(tmp_path, replace=True)  # the same content in new files is the same data
    assert scratch(tmp_path, tmp_path / "runs").path == run.path
    make(tmp_path, flip=3, replace=True)
    with pytest.raises(DataChangedError, match="made with other data"):
        scratch(tmp_path, tmp_path / "runs")
    assert (run.path / "DONE").stat().st_mtime_ns == done


def test_a_run_on_own_data_is_evaluated_again_from_its_files(tmp_path: Path) -> None:
    make(tmp_path)
    run = scratch(tmp_path, tmp_path / "runs")
    assert evaluate(run).f1_weighted == pytest.approx(run.scores["val_selected"].f1_weighted, abs=1e-9)


def test_a_run_is_not_evaluated_on_what_it_may_have_been_trained_on(tmp_path: Path) -> None:
    make(tmp_path)
    run = scratch(tmp_path, tmp_path / "runs")
    before = evaluate(run).as_dict()
    with pytest.raises(DataChangedError, match=r"records of the test part were not in that part"):
        evaluate(run, overrides={"data.split_seed": 2})
    make(tmp_path / "moved")
    assert evaluate(run, overrides={"data.root": str(tmp_path / "moved")}).as_dict() == before
    make(tmp_path, count=60, replace=True)  # twenty more, and another split
    with pytest.raises(DataChangedError, match="made with other data"):
        evaluate(run)
    with pytest.raises(DataChangedError, match=r"records of the val part were not in that part"):
        evaluate(run, "val", overrides={"optim.batch_size": 4, "data.crop": "center"})


def test_copies_of_training_records_are_found_under_another_name(tmp_path: Path) -> None:
    make(tmp_path)
    run = scratch(tmp_path, tmp_path / "runs")
    part_of = {f"{number:02d}": "train" for number in range(40)}
    for part in ("val", "test"):
        part_of |= dict.fromkeys(map(str, run.predictions[f"val_selected/{part}"].record_ids), part)
    ids = {part: [int(name) for name, found in part_of.items() if found == part] for part in ("train", "val", "test")}
    new = list(range(100, 120))
    elsewhere("other", tmp_path, train=new[4:], val=new[:4], test=ids["test"] + ids["train"][:3] + ids["val"][:2])
    for overrides in ({}, {"data.crop": "center", "data.num_samples": 1000}):  # however they are prepared
        with pytest.raises(DataChangedError, match=r"5 of the 15 records of the test part of other are exact copies"):
            evaluate(run, overrides={"data.corpus": "other", **overrides})
    elsewhere("clean", tmp_path, train=ids["train"], val=new, test=ids["test"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score = evaluate(run, overrides={"data.corpus": "clean"})
    assert score.f1_weighted == pytest.approx(evaluate(run).f1_weighted, abs=1e-9)
    make(tmp_path, count=60, replace=True)  # the run's corpus has changed since, but its training records are there
    with pytest.raises(DataChangedError, match=r"5 of the 15 records .* may have been trained or chosen on"):
        evaluate(run, overrides={"data.corpus": "other"})
    definition_path(tmp_path, "mine").unlink()
    with pytest.warns(TrainingUnknownWarning, match="whether .* was trained on records of clean cannot be checked"):
        evaluate(run, overrides={"data.corpus": "clean"})


def test_a_run_is_started_from_after_its_corpus_is_gone(tmp_path: Path) -> None:
    elsewhere("first", tmp_path, train=range(40, 64), val=range(64, 70), test=range(70, 80))
    make(tmp_path)
    fields = {"data.root": str(tmp_path), "optim.max_epochs": 1, "optim.min_updates": 0, "optim.batch_size": 8,
              "trainer.accelerator": "cpu"}  # fmt: skip
    options = {"backbone": NAME, "recipe": "modern", "overrides": fields, "output": tmp_path / "runs"}
    upstream = et.pretrain("first", **options)
    (tmp_path / "first" / "signals").rename(tmp_path / "moved")
    unknown = f"records of mine are among those that {upstream.name} was trained on cannot be told"
    with pytest.warns(TrainingUnknownWarning, match=unknown):
        by_folder = et.finetune("mine", upstream=upstream, seed=1, **options)
    definition_path(tmp_path, "first").unlink()
    with pytest.warns(TrainingUnknownWarning, match=unknown):
        by_name = et.finetune("mine", upstream=upstream.name, seed=2, **options)
    for run in (by_folder, by_name):
        assert run.is_done
        assert run.manifest["upstream"]["weights_sha256"] == upstream.weights_sha256


@pytest.mark.parametrize("is_exported", [False, True])
def test_records_that_an_upstream_was_trained_on_are_told(tmp_path: Path, is_exported: bool) -> None:
    """`new` is fine-tuned from `first`, and `newer` from `new`: `first` is an upstream of both."""
    output, new, newer = tmp_path / "runs", list(range(100, 140)), list(range(200, 240))
    make(tmp_path)
    first = pretrain("mine", tmp_path, output)
    upstream = et.export_run(first, tmp_path / "model") if is_exported else first.name
    elsewhere("new", tmp_path, train=new[:24], val=new[24:30], test=new[30:])
    elsewhere("newer", tmp_path, train=newer[:24], val=newer[24:30], test=newer[30:])
    run = finetune("new", str(upstream), tmp_path, output)
    last = finetune("newer", run.name, tmp_path, output)
    left_out = {part: set(map(int, first.predictions[f"val_selected/{part}"].record_ids)) for part in ("val", "test")}
    trained = sorted(set(range(40)) - left_out["val"] - left_out["test"])
    unseen = sorted(left_out["test"])
    elsewhere("other", tmp_path, train=list(range(300, 320)), val=list(range(320, 326)), test=trained[:7] + unseen[:3])
    for found in (run, last):
        with pytest.warns(
            RecordsOverlapWarning, match="of the 10 records of the test part of other, 7 are exact copies"
        ):
            evaluate(found, overrides={"data.corpus": "other"})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            evaluate(found, overrides={"data.corpus": "mine"})  # its test records were not trained on
    if not is_exported:
        first.path.rename(first.path.with_name("renamed"))
        with pytest.warns(TrainingUnknownWarning, match=f"whether {first.name} was trained on .* is not beside it"):
            evaluate(run, overrides={"data.corpus": "other"})


def test_patients_of_an_upstreams_training_are_told(tmp_path: Path) -> None:
    count = 40
    signals = np.stack([synthetic_millivolts(1000, 100, seed=number) for number in range(count)])
    patients = [f"p{number // 2}" for number in range(count)]
    labels = {"AF": np.arange(count) // 2 % 2}
    et.corpus_from_arrays(signals, labels, sampling_rate=100, name="mine", root=tmp_path, patients=patients)
    first = pretrain("mine", tmp_path, tmp_path / "runs")
    elsewhere("new", tmp_path, train=list(range(100, 124)), val=list(range(124, 130)), test=list(range(130, 140)))
    run = finetune("new", first.name, tmp_path, tmp_path / "runs")
    data = ECGDataModule(DataConfig(corpus="mine", root=str(tmp_path), split_seed=5), progress=False)
    data.setup()
    test = {data.record_ids[row] for row in data.rows["test"]}
    left_out = {str(name) for part in ("val", "test") for name in first.predictions[f"val_selected/{part}"].record_ids}
    with pytest.warns(RecordsOverlapWarning, match=f" {len(test - left_out)} are exact copies"):
        evaluate(run, overrides={"data.corpus": "mine", "data.split_seed": 5})
    noise = np.random.default_rng(0).normal(0, 0.01, signals.shape)
    others = signals + noise.astype(np.float32)  # other recordings of the same patients
    et.corpus_from_arrays(
        others, labels, sampling_rate=100, name="mine", root=tmp_path / "later", patients=patients,
    )  # fmt: skip
    with pytest.warns(RecordsOverlapWarning, match=f" {len(test - left_out)} are of patients that"):
        evaluate(run, overrides={"data.corpus": "mine", "data.root": str(tmp_path / "later"), "data.split_seed": 5})


def test_renamed_texts_are_in_the_check_and_in_the_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    table = tmp_path / "dx.csv"
    table.write_text("record,dx\n" + "".join(f"{n:02d},{('AF', 'MI')[n % 2]}\n" for n in range(40)))
    reading = ReadingOptions(unit="mV", sampling_rate=100, leads=LEAD_NAMES)
    add_corpus("told", tmp_path / "mine" / "signals", root=tmp_path, labels=table, reading=reading, progress=False)
    table.write_text(table.read_text().replace("AF", "Afib"))
    notice = "texts that are none of its labels and were not there when it was added, with their records: Afib (20); "
    monkeypatch.setattr("sys.argv", ["ecg-transfer", "data", "check", "told", "--root", str(tmp_path)])
    with contextlib.suppress(SystemExit):
        main()
    assert f"note: {notice}" in " ".join(capsys.readouterr().out.split())
    data = ECGDataModule(DataConfig(corpus="told", root=str(tmp_path)), progress=False)
    assert str(data.summary()["notices"]).count(notice) == 1


def test_no_training_is_advised_where_a_part_is_empty(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    table = tmp_path / "labels.csv"
    rows = [f"{n:02d},{n % 3 % 2},{('train', 'test')[n % 2]}" for n in range(40)]
    signals = str(tmp_path / "mine" / "signals")
    add = ["corpora", "add", "split", signals, "--labels", str(table), "--root", str(tmp_path), "--replace"]
    reading = ["--unit", "mV", "--rate", "100", "--leads", ",".join(LEAD_NAMES)]
    monkeypatch.setattr("sys.argv", ["ecg-transfer", *add, *reading])
    for last, is_whole in (("train", False), ("val", True)):
        table.write_text("record,AF,fold\n" + "\n".join([*rows[:-1], f"39,1,{last}"]) + "\n")
        with contextlib.suppress(SystemExit):
            main()
        said = capsys.readouterr().out
        assert ("ecg-transfer scratch split" in said) == is_whole
        assert ("it cannot be trained on yet: split: no record is left to val" in said) != is_whole


def elsewhere(name: str, root: Path, **parts: list[int]) -> None:
    """A corpus of other names and folds for the records of `make` that have these numbers."""
    numbers = [number for part in parts.values() for number in part]
    folds = [{"train": 1, "val": 9, "test": 10}[part] for part, found in parts.items() for _ in found]
    signals = np.stack([synthetic_millivolts(1000, 100, seed=number) for number in numbers])
    ids = [f"x{row}" for row in range(len(numbers))]
    labels = {"AF": np.array(numbers) % 2}
    et.corpus_from_arrays(signals, labels, sampling_rate=100, name=name, root=root, record_ids=ids, folds=folds)


def command(folder: Path, *arguments: str, code: int = 0) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "ECG_DATA_ROOT": str(folder / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "ecg_transfer", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_raw_files_to_a_comparison_in_few_commands(tmp_path: Path) -> None:
    ecgs = tmp_path / "ecgs"
    ecgs.mkdir()
    table = ["file,patient,diagnosis"]
    for number in range(60):
        finding = ("", "AF", "LBBB")[number % 3]
        signal = simulate_ecg([finding] if finding else ["NORM"], seed=number)
        header = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"
        path = ecgs / f"r{number}.csv"
        np.savetxt(path, np.round(signal.T * 1000), fmt="%d", delimiter=",", header=header, comments="")
        table.append(f"r{number}.csv,p{number // 2},{finding}")
    (ecgs / "SIMULATED.json").write_text("{}")  # or the runs would count as ones on real ECGs
    (tmp_path / "labels.csv").write_text("\n".join(table))
    asked = command(tmp_path, "corpora", "add", "mine", "ecgs", "--labels", "labels.csv", code=1)
    assert "--unit uV" in asked
    assert "--rate" in asked
    said = command(
        tmp_path, "corpora", "add", "mine", "ecgs", "--labels", "labels.csv", "--unit", "uV", "--rate", "500"
    )
    assert "AF 20, LBBB 20" in said
    tuned = command(tmp_path, "finetune", "mine", "--with-pretrain", "--backbone", NAME, *FIELDS)
    command(tmp_path, "scratch", "mine", "--backbone", NAME, *FIELDS)
    compared = command(tmp_path, "compare")
    assert "mine" in compared
    assert "SIMULATED" in compared
    runs = {run.config.phase: run for run in find_runs(tmp_path / "checkpoints")}
    assert {phase: run.is_done for phase, run in runs.items()} == dict.fromkeys(
        ("pretrain", "finetune", "scratch"), True
    )
    assert f"started from: {runs['pretrain'].name}" in tuned
    assert "mine (own corpus): SIMULATED, 60 records." in command(tmp_path, "corpora")
    predicted = command(tmp_path, "predict", "--trust", runs["finetune"].name, "ecgs/r0.csv", "--like", "mine")
    assert predicted.splitlines()[0] == "record,AF,LBBB,findings,findings_at_0.5,notes"


def test_a_study_takes_own_corpora_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecg_transfer.study.definition import StudyError, read_study
    from ecg_transfer.study.estimate import label_names
    from ecg_transfer.study.plan import make_plan

    path = tmp_path / "own.yaml.study"
    path.write_text("name: own\ngrids:\n  - downstreams: [mine]\n    starts: [scratch]\n")
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path))
    with pytest.raises(StudyError, match="there is no corpus 'mine'"):
        read_study(path)
    make(tmp_path)
    plan = make_plan(read_study(path), tmp_path / "runs")
    assert [planned.config.data.corpus for planned in plan.runs] == ["mine"]
    sizes = plan.runs[0].sizes
    assert (sizes.train, sizes.val, sizes.test) == (24, 6, 10)
    assert label_names("mine", None, str(tmp_path)) == ("AF",)


class NoWorkers:
    """A pool that nothing may be started on."""

    def num_free(self) -> int:
        return 1

    def start(self, task: object) -> None:
        raise AssertionError(f"{task} was started")

    def wait(self, timeout: float) -> list[object]:
        return []

    def close(self) -> None:
        pass


def test_a_study_does_not_count_runs_on_data_that_have_changed(tmp_path: Path) -> None:
    from ecg_transfer.study.definition import Study
    from ecg_transfer.study.plan import Plan, PlannedRun
    from ecg_transfer.study.schedule import execute
    from ecg_transfer.study.sizes import part_sizes

    make(tmp_path)
    run = scratch(tmp_path, tmp_path / "runs")
    planned = PlannedRun(config=run.config, run=run, upstream=None, simulated=False, sizes=part_sizes(run.config.data))
    plan = Plan(study=Study(name="own", grids=[]), output=tmp_path / "runs", runs=(planned,), notices=())
    assert execute(plan, NoWorkers()).kept == [run.name]  # type: ignore[arg-type]
    make(tmp_path, flip=3, replace=True)
    summary = execute(plan, NoWorkers())  # type: ignore[arg-type]
    assert summary.kept == []
    assert "made with other data" in summary.failed[run.name]
