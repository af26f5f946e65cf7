"""The engine with stand-ins for trainings (`fake_runner.py`): whatever happens, every run is done exactly once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from data_modules.claim import claimed, holder_of
from ecg_transfer.study.definition import Grid, Study
from ecg_transfer.study.failures import DiskFullError, note_failure
from ecg_transfer.study.local import LocalPool, worker_environment
from ecg_transfer.study.plan import Plan, make_plan
from ecg_transfer.study.schedule import Summary, execute

ROOT = Path(__file__).parents[3]
CRASH_ONCE, CRASH_ALWAYS, DIVERGE, HANG, EXIT, NO_ROOM, UNFINISHED = 101, 102, 103, 104, 105, 106, 107
NO_MEMORY = 108

STUDY = """
import sys
from pathlib import Path
from ecg_transfer.study.definition import Grid, Study
from ecg_transfer.study.local import LocalPool
from ecg_transfer.study.plan import make_plan
from ecg_transfer.study.schedule import execute
output = Path(sys.argv[1])
seeds = list(range(int(sys.argv[2])))
grid = Grid(upstreams=["cpsc2018"], downstreams=["ptb"], seeds=seeds)
pool = LocalPool(num_workers=2, runner="fake_runner:run_fake")
print("started", flush=True)
execute(make_plan(Study(name="s", overrides={"data.source": "simulated"}, grids=[grid]), output), pool, patience=0.05)
pool.close()
"""


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(Path(__file__).parent)]))


def plan_of(output: Path, seeds: list[int], *, finetune: bool = False, retries: int = 2) -> Plan:
    starts = ["finetune", "scratch"] if finetune else ["scratch"]
    grid = Grid(upstreams=["cpsc2018"], downstreams=["ptb"], seeds=seeds, starts=starts)  # type: ignore[arg-type]
    return make_plan(Study(name="s", overrides={"data.source": "simulated"}, grids=[grid], retries=retries), output)


def run(plan: Plan, *, num_workers: int = 2, **options: object) -> Summary:
    runner = str(options.pop("runner", "run_fake"))
    pool = LocalPool(num_workers=num_workers, runner=f"fake_runner:{runner}", grace=2)
    pool.run_timeout = options.pop("run_timeout", None)  # type: ignore[assignment]
    try:
        return execute(plan, pool, patience=0.05, **options)  # type: ignore[arg-type]
    finally:
        pool.close()


def calls(output: Path, what: str) -> list[str]:
    log = output / "calls.log"
    lines = log.read_text().splitlines() if log.exists() else []
    return sorted(line.split()[1] for line in lines if line.startswith(f"{what} "))


def names(plan: Plan) -> list[str]:
    return sorted(planned.name for planned in plan.runs)


def the_run(plan: Plan, seed: int) -> str:
    return next(planned.name for planned in plan.runs if planned.config.seed == seed)


def test_every_run_is_done_once_a_pretraining_before_what_starts_from_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [0, 1, 2], finetune=True)
    summary = run(plan)
    assert sorted(summary.done) == names(plan)
    assert calls(tmp_path, "finish") == names(plan)
    order = [line.split()[:2] for line in (tmp_path / "calls.log").read_text().splitlines()]
    for planned in plan.by_phase("finetune"):
        assert planned.upstream is not None
        assert order.index(["finish", planned.upstream.name]) < order.index(["start", planned.name])
    assert (plan.runs[0].run.path / "log.txt").read_text() == f"this is {plan.runs[0].name}\n"
    assert run(plan).kept == [planned.name for planned in plan.runs]
    assert calls(tmp_path, "start") == names(plan)


def test_one_worker_does_many_runs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [0, 1, 2])
    run(plan, num_workers=1)
    lines = (tmp_path / "calls.log").read_text().splitlines()
    assert len({line.split()[2] for line in lines}) == 1


def test_a_crash_costs_its_run_alone_and_is_tried_again(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [CRASH_ONCE, 1, 2])
    summary = run(plan)
    assert sorted(summary.done) == names(plan)
    assert calls(tmp_path, "start") == sorted([*names(plan), the_run(plan, CRASH_ONCE)])


def test_retries_have_a_limit_and_the_reason_is_kept(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [CRASH_ALWAYS, 1], retries=1)
    summary = run(plan)
    name = the_run(plan, CRASH_ALWAYS)
    assert list(summary.failed) == [name]
    assert "SIGKILL" in summary.failed[name]
    assert "fewer --workers or a smaller optim.batch_size" in summary.failed[name]
    assert f"this is {name}" in summary.failed[name]
    assert calls(tmp_path, "start").count(name) == 2
    assert plan[name].run.status == "failed"
    note = json.loads((plan[name].run.path / "FAILED").read_text())
    assert (note["error"], note["attempts"]) == ("Crashed", 2)
    run(plan)
    assert calls(tmp_path, "start").count(name) == 4, "started anew, a crash gets new attempts"


def test_what_fails_for_a_reason_of_its_own_is_not_tried_again_unless_asked(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [DIVERGE, 1])
    name = the_run(plan, DIVERGE)
    assert run(plan).failed == {name: "LossNotFiniteError: the training loss is nan"}
    assert "Traceback" in (plan[name].run.path / "log.txt").read_text()
    assert "before" in run(plan).failed[name]
    assert calls(tmp_path, "start").count(name) == 1
    run(plan, retry_failed=True)
    assert calls(tmp_path, "start").count(name) == 2


def test_what_fails_in_another_process_meanwhile_is_not_tried_again_here(tmp_path: Path) -> None:
    """Two terminals: the second waited for the first one's run and then failed in the same way, once more."""
    plan = plan_of(tmp_path, [DIVERGE, 1], finetune=True)
    name = next(p.name for p in plan.runs if p.config.seed == DIVERGE and p.config.phase == "pretrain")
    note_failure(plan[name].run, plan[name].config, "LossNotFiniteError", "of long before", attempts=1)
    others = ExitStack()
    others.enter_context(claimed(plan[name].run.path))

    def fail_elsewhere(sentence: str) -> None:
        if name in sentence and "works on it" in sentence:
            note_failure(plan[name].run, plan[name].config, "LossNotFiniteError", "in another terminal", attempts=1)
            others.close()

    summary = run(plan, report=fail_elsewhere, retry_failed=True)
    assert summary.failed[name] == "LossNotFiniteError: in another terminal (just now, in another process)"
    assert calls(tmp_path, "start").count(name) == 0
    assert set(summary.blocked.values()) == {name}
    assert calls(tmp_path, "start").count(the_run(plan, 1)) == 1


def test_a_changed_file_of_a_finished_run_stops_that_run_alone(tmp_path: Path) -> None:
    """`study run` refused to do the rest of the study."""
    plan = plan_of(tmp_path, [0, 1])
    run(plan)
    name = the_run(plan, 0)
    manifest = plan[name].run.path / "manifest.json"
    whole = manifest.read_bytes()
    sealed = {"manifest.json": {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}}
    (manifest.parent / "DONE").write_text(json.dumps({"run": name, "files": sealed}))
    manifest.write_bytes(whole.replace(b"true", b"True"))
    summary = run(plan_of(tmp_path, [0, 1, 2]))
    assert list(summary.failed) == [name]
    assert "manifest.json was changed since the run finished" in summary.failed[name]
    assert summary.done == [the_run(plan_of(tmp_path, [2]), 2)]


def test_a_failed_pretraining_blocks_only_what_starts_from_it(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [DIVERGE, 1], finetune=True)
    summary = run(plan)
    assert set(summary.failed) == {p.name for p in plan.runs if p.config.seed == DIVERGE and not p.upstream}
    assert set(summary.blocked) == {p.name for p in plan.runs if p.config.seed == DIVERGE and p.upstream}
    assert len(summary.done) == 3


def test_a_run_that_hangs_is_killed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [HANG, 1], retries=0)
    summary = run(plan, run_timeout=20.0)
    assert "longer than 20 s" in summary.failed[the_run(plan, HANG)]
    assert len(summary.done) == 1


def test_a_run_may_fork_and_a_crash_is_seen_while_what_it_forked_lives(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [CRASH_ONCE, 1])
    started = time.monotonic()
    assert sorted(run(plan, runner="run_a_child_that_forks").done) == names(plan)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(("seed", "reason"), [(EXIT, "ended with code 7"), (UNFINISHED, "files are not complete")])
def test_an_exit_code_is_not_believed(tmp_path: Path, seed: int, reason: str) -> None:
    plan = plan_of(tmp_path, [seed], retries=0)
    assert reason in run(plan).failed[the_run(plan, seed)]


def test_a_run_without_memory_fails_and_the_study_goes_on(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [NO_MEMORY, 1], retries=1)
    summary = run(plan)
    name = the_run(plan, NO_MEMORY)
    assert list(summary.failed) == [name]
    assert "OutOfMemoryError: memory is not enough for resnet1d18 with optim.batch_size=128" in summary.failed[name]
    assert calls(tmp_path, "start").count(name) == 2, "the machine may have been full of others: it is tried again"
    assert len(summary.done) == 1


def test_a_full_disk_stops_the_study(tmp_path: Path) -> None:
    with pytest.raises(DiskFullError, match="No space left"):
        run(plan_of(tmp_path, [NO_ROOM, 1]), num_workers=1)


def test_a_run_that_another_process_works_on_is_waited_for(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [0])
    path = plan.runs[0].run.path
    sentences = []

    class Released(LocalPool):
        """Gives the claim back at the second look."""

        def wait(self, timeout: float) -> list:  # type: ignore[type-arg]
            if len(sentences) == 1:
                sentences.append("released")
                claim.__exit__(None, None, None)
            return super().wait(timeout)

    claim = claimed(path)
    claim.__enter__()
    pool = Released(num_workers=1, runner="fake_runner:run_fake")
    summary = execute(plan, pool, patience=0.05, report=sentences.append)
    pool.close()
    assert sentences[0].endswith("works on it")
    assert summary.done == names(plan)
    assert calls(tmp_path, "start") == names(plan)


def start_studies(output: Path, num_seeds: int, number: int = 1) -> list[subprocess.Popen[str]]:
    command = [sys.executable, "-c", STUDY, str(output), str(num_seeds)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
    return processes


def wait_for(condition: Iterator[bool]) -> None:
    deadline = time.monotonic() + 20
    while not next(condition):
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.slow
def test_a_study_killed_in_the_middle_goes_on_and_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.15")
    for num_finished in (1, 4):
        (study,) = start_studies(tmp_path, 4)
        wait_for(len(calls(tmp_path, "finish")) >= num_finished for _ in iter(int, 1))
        study.kill()
        study.wait()
        assert len(calls(tmp_path, "finish")) < 12
    assert start_studies(tmp_path, 4)[0].wait(timeout=60) == 0
    plan = plan_of(tmp_path, [0, 1, 2, 3], finetune=True)
    assert calls(tmp_path, "finish") == names(plan)
    assert all(planned.run.is_done and not holder_of(planned.run.path) for planned in plan.runs)


@pytest.mark.slow
def test_two_studies_at_once_do_every_run_exactly_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.15")
    studies = start_studies(tmp_path, 6, number=2)
    assert [study.wait(timeout=60) for study in studies] == [0, 0]
    plan = plan_of(tmp_path, list(range(6)), finetune=True)
    assert calls(tmp_path, "start") == names(plan)
    workers = set(re.findall(r"\d+$", (tmp_path / "calls.log").read_text(), re.MULTILINE))
    assert len(workers) > 2, "both studies did something"


def test_a_killed_worker_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SECONDS", "0.3")
    plan = plan_of(tmp_path, [0])
    killed: list[int] = []

    class Killer(LocalPool):
        def wait(self, timeout: float) -> list:  # type: ignore[type-arg]
            log = tmp_path / "calls.log"
            if not killed and log.exists() and log.read_text().endswith("\n"):
                killed.append(int(log.read_text().split()[2]))
                os.kill(killed[0], signal.SIGKILL)
            return super().wait(min(timeout, 0.05))

    pool = Killer(num_workers=1, runner="fake_runner:run_fake")
    summary = execute(plan, pool, patience=0.05)
    pool.close()
    assert summary.done == names(plan)
    assert killed
    assert len(calls(tmp_path, "start")) == 2
    assert len(calls(tmp_path, "finish")) == 1


def test_workers_share_cores_and_take_gpus_in_turn() -> None:
    environments = [worker_environment({"HOME": "/h"}, slot, 3, 2, ["0", "1"]) for slot in range(3)]
    assert [environment["CUDA_VISIBLE_DEVICES"] for environment in environments] == ["0", "1", "0"]
    assert environments[0]["OMP_NUM_THREADS"] == "2"
    assert environments[0]["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_WAIT_POLICY" not in worker_environment({}, 0, 1, 2, [])
    assert environments[0]["HOME"] == "/h"
