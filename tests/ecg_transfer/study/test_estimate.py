from __future__ import annotations

import errno
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_modules.claim import claimed
from ecg_transfer.config import RunConfig
from ecg_transfer.files import write_json
from ecg_transfer.models import create_backbone
from ecg_transfer.runs import save_config
from ecg_transfer.study import estimate as estimate_module
from ecg_transfer.study import probe
from ecg_transfer.study.definition import Grid, Pretraining, Study
from ecg_transfer.study.estimate import (
    BYTES_PER_SECOND,
    EPOCH_SECONDS,
    RUN_SECONDS,
    bytes_of,
    cost,
    estimate,
    label_names,
    makespan,
    num_epochs,
    num_parameters,
    require_room,
    work_of,
)
from ecg_transfer.study.failures import DiskFullError, note_failure
from ecg_transfer.study.plan import Plan, PlannedRun, make_plan
from ecg_transfer.study.plan_table import print_plan
from ecg_transfer.study.probe import Speed, Work
from ecg_transfer.study.quantities import duration, file_size
from ecg_transfer.study.status import pace, render, run_state, run_states, seconds_left, watch


@pytest.fixture(autouse=True)
def _no_corpus_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))


def plan_of(output: Path, **grid: object) -> Plan:
    study = Study(
        name="small",
        recipe="modern",
        overrides={"data.source": "simulated", "optim.batch_size": 50},
        corpora={"ptb": {"data.num_simulated": 300}, "georgia": {"data.num_simulated": 200}},
        grids=[
            Grid(
                upstreams=["georgia"],
                downstreams=["ptb"],
                epochs=[4],
                pretrain=Pretraining(epochs=4),
                **grid,  # type: ignore[arg-type]
            )
        ],
    )
    return make_plan(study, output)


def begin(planned: PlannedRun, seconds_an_epoch: float, num_done: int) -> None:
    """Write the files of a run in the middle."""
    planned.run.path.mkdir(parents=True)
    save_config(planned.run.path / "config.yaml", planned.config)
    lines = [json.dumps({"epoch": epoch, "seconds": seconds_an_epoch * (epoch + 1)}) for epoch in range(num_done)]
    (planned.run.path / "metrics.jsonl").write_text("\n".join(lines) + "\n")


def finish(planned: PlannedRun) -> None:
    write_json(planned.run.path / "manifest.json", {})
    size = (planned.run.path / "manifest.json").stat().st_size
    write_json(planned.run.path / "DONE", {"files": {"manifest.json": {"bytes": size}}})


def test_the_cost_of_a_run_is_the_sum_of_its_parts(tmp_path: Path) -> None:
    scratch = plan_of(tmp_path).by_phase("scratch")[0]
    assert (scratch.sizes.train, scratch.sizes.val, scratch.sizes.test) == (180, 45, 75)
    weights = 4 * num_parameters("resnet1d18", "ptb", None, 1000)
    unsaved = 180 / 90 + 120 / 300 + EPOCH_SECONDS
    predictions = 3 * 120 * (5 * len(label_names("ptb", None)) + 40)
    state = 4 * weights + predictions  # weights, two moments, the best weights; logits of three epochs
    an_epoch = unsaved + unsaved / 10 * state / BYTES_PER_SECOND  # the state is saved every ten seconds
    found = cost(scratch, Speed(train=90.0, evaluate=300.0, startup=7.0))
    assert found.seconds == pytest.approx(RUN_SECONDS + 4 * an_epoch + 120 / 300)
    assert found.working_bytes == 3 * state, "the last one, the one before, the one being written"
    assert weights < found.kept_bytes < 1.02 * weights


def test_epochs_follow_from_a_budget_in_updates(tmp_path: Path) -> None:
    study = plan_of(tmp_path).study
    study.grids[0].epochs, study.grids[0].updates = [], [30]
    (scratch,) = make_plan(study, tmp_path).by_phase("scratch")
    assert num_epochs(scratch) == 8, "180 records are 4 batches of 50, and 30 updates 7.5 epochs"


@pytest.mark.parametrize("backbone", ["resnet1d18", "gru_mean", "bilstm"])
def test_parameters_are_counted_without_being_filled(backbone: str) -> None:
    built = create_backbone(backbone)
    body = sum(value.numel() for value in built.state_dict().values())
    assert num_parameters(backbone, "cpsc2018", None, 1000) == body + 9 * (built.num_features + 1)


def test_makespan_of_a_schedule_worked_out_by_hand(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, seeds=[0, 1])
    first_up, first_fine, first_scratch, second_up, second_fine, second_scratch = (one.name for one in plan.runs)
    seconds = {
        first_up: 10.0,
        first_fine: 4.0,
        first_scratch: 3.0,
        second_up: 5.0,
        second_fine: 6.0,
        second_scratch: 2.0,
    }
    assert makespan(plan, seconds, 1) == 30
    # one: up 0-10, fine 10-14; other: scratch 0-3, second up 3-8, second fine 8-14; second scratch 14-16
    assert makespan(plan, seconds, 2) == 16
    assert makespan(plan, seconds, 9) == 14
    assert makespan(plan, {first_fine: 4.0, second_scratch: 2.0}, 2) == 4, "what is done is not waited for"
    assert makespan(plan, {}, 2) == 0


def test_the_quickest_number_of_workers_is_chosen_from_measured_speeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def fake(work: Work, num_workers: int) -> Speed:
        measured.append((work.backbone, num_workers))
        return Speed(train={1: 100.0, 2: 80.0, 4: 20.0}[num_workers], evaluate=1000.0, startup=7.0)

    monkeypatch.setattr(probe.Processes, "speed", lambda self, work: fake(work, self.num_workers))
    monkeypatch.setattr(estimate_module, "worker_choices", lambda: [1, 2, 4])
    plan = plan_of(tmp_path, seeds=[0, 1, 2, 3])
    found = estimate(plan)
    assert [one.num_workers for one in found] == [2, 1, 4]
    assert found[0].seconds < found[1].seconds < found[2].seconds
    assert len(measured) == 3
    assert [one.seconds for one in estimate(plan)] == [one.seconds for one in found]
    assert len(measured) == 3, "what was measured is not measured again"
    assert estimate(plan, 4)[0].num_workers == 4


def test_a_number_of_workers_that_there_is_no_memory_for_is_not_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(work: Work, num_workers: int) -> Speed:
        if num_workers == 4:
            raise probe.NoMemoryError("no room for 4")
        return Speed(train=100.0, evaluate=1000.0, startup=7.0)

    monkeypatch.setattr(probe.Processes, "speed", lambda self, work: fake(work, self.num_workers))
    monkeypatch.setattr(estimate_module, "worker_choices", lambda: [4, 2, 1])
    said: list[str] = []
    found = estimate(plan_of(tmp_path, seeds=[0, 1, 2, 3]), report=said.append)
    assert [one.num_workers for one in found] == [2, 1, 4]
    assert found[-1].costs == {}
    assert said[1] == "no room for 4"


def test_states_and_time_left_follow_from_the_files(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    pretraining, finetuning, scratch = plan.runs
    begin(pretraining, seconds_an_epoch=3.0, num_done=4)
    finish(pretraining)
    begin(finetuning, seconds_an_epoch=2.0, num_done=3)
    write_json(finetuning.run.path / "FAILED", {"error": "Crashed", "message": "boom"})
    states = [run_state(planned) for planned in plan.runs]
    assert [one.state for one in states] == ["done", "failed", "waiting"]
    assert states[1].reason == "Crashed: boom"
    with claimed(finetuning.run.path):
        states = [run_state(planned) for planned in plan.runs]
        assert (states[1].state, states[1].epochs_done, states[1].num_epochs) == ("running", 3, 4)
        expected = {pretraining.name: 6.0, finetuning.name: 4.0, scratch.name: 4.0}
        # the epochs done took 12 / 6 and 6 / 3 of what was expected
        assert pace(states, expected) == 2.0
        # the running one has an epoch of 2 s to go, the waiting one 2 x 4 s
        assert seconds_left(plan, states, expected, 1) == 10.0
        assert seconds_left(plan, states, expected, 2) == 8.0
        assert seconds_left(plan, states, {}, 2) is None
    (finetuning.run.path / "FAILED").unlink()
    assert run_state(finetuning).state == "interrupted"


def test_what_waits_for_a_failed_pretraining_is_not_waited_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`study status` gave it some minutes, for ever."""
    plan = plan_of(tmp_path)
    pretraining, finetuning, scratch = plan.runs
    note_failure(pretraining.run, pretraining.config, "LossNotFiniteError", "the loss is nan", attempts=1)
    states = run_states(plan)
    assert [one.state for one in states] == ["failed", "blocked", "waiting"]
    expected = dict.fromkeys((pretraining.name, finetuning.name, scratch.name), 5.0)
    assert seconds_left(plan, states, expected, 1) == 5.0, "scratch alone"
    begin(scratch, seconds_an_epoch=1.0, num_done=4)
    finish(scratch)
    watch(plan, {}, every=60.0)
    assert "1 of 3 runs done\n" in capsys.readouterr().out.replace(" \n", "\n")
    with claimed(finetuning.run.path):
        assert [one.state for one in run_states(plan)] == ["failed", "running", "done"], "by an upstream of before"


def test_tables_say_what_they_must(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    plan = plan_of(tmp_path, subsets=[50, 9000])
    costs = {planned.name: cost(planned, Speed(train=100.0, evaluate=300.0, startup=7.0)) for planned in plan.runs}
    begin(plan.runs[0], 1.0, 2)
    with claimed(plan.runs[0].run.path):
        Console(width=200).print(render(plan, costs))
    said = capsys.readouterr().out
    assert "0 of 5 runs done, about" in said
    assert "2 of 4" in said
    assert "##########.........." in said
    print_plan(plan, [estimate_module.Estimate(num_workers=2, costs=costs, seconds=600.0)])
    said = capsys.readouterr().out
    assert all(planned.name in said for planned in plan.runs)
    assert "5 runs (1 pre-trainings, 2 fine-tunings, 2 trainings from scratch) on SIMULATED ECGs; 0 are done." in said
    assert "about 10 min with 2 workers" in said
    assert "ptb has 180 training records: the subsets 9000 are all of them" in said


def test_work_is_what_the_configuration_says(tmp_path: Path) -> None:
    planned = plan_of(tmp_path, overrides={"trainer.precision": "bf16"}).runs[0]
    assert isinstance(planned.config, RunConfig)
    assert work_of(planned) == Work(backbone="resnet1d18", precision="bf16", batch_size=50)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3599, "1 h"), (5400, "1 h 30 min"), (90000, "1 d 1 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("num_bytes", "words"), [(999, "999 B"), (1200, "1.2 kB"), (350e6, "350 MB"), (1.24e9, "1.2 GB"), (4e12, "4.0 TB")]
)
def test_file_sizes(num_bytes: float, words: str) -> None:
    assert file_size(num_bytes) == words


def test_a_study_that_will_not_fit_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path / "not there yet", seeds=[0, 1])
    sizes = [bytes_of(planned) for planned in plan.runs]
    weights = 4 * num_parameters("resnet1d18", "ptb", None, 1000)
    assert all(kept >= weights and state >= 4 * weights for kept, state in sizes[-2:])
    needed = sum(kept for kept, _ in sizes) + 3 * sum(sorted(state for _, state in sizes)[-2:])
    for free in (needed, needed - 1):
        monkeypatch.setattr(estimate_module.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        if free == needed:
            require_room(plan, 2)
            continue
        said = rf"the {len(plan.runs)} runs to do need about {file_size(needed)} of disk and "
        with pytest.raises(DiskFullError, match=said) as error:
            require_room(plan, 2)
        assert error.value.errno == errno.ENOSPC
        require_room(plan, 1)
    for planned in plan.runs:
        finish_whole(planned)
    require_room(plan, 2)


def finish_whole(planned: PlannedRun) -> None:
    planned.run.path.mkdir(parents=True, exist_ok=True)
    save_config(planned.run.path / "config.yaml", planned.config)
    finish(planned)
