from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules import claim
from data_modules.claim import (
    EXPIRY,
    ClaimLostError,
    RunClaimedError,
    claimed,
    claimed_in_turn,
    holder_of,
    require_held,
)
from data_modules.machine import this_machine

HOLD = """
import sys, time
from pathlib import Path
from data_modules.claim import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""

COUNT = """
import sys, time
from pathlib import Path
from data_modules.claim import RunClaimedError, claimed
run, done, log = (Path(argument) for argument in sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
while not done.exists():
    try:
        with claimed(run):
            if not done.exists():
                with log.open("a") as stream:
                    stream.write("ran\\n")
                time.sleep(0.02)
                done.touch()
    except RunClaimedError:
        time.sleep(0.001)
"""


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def held_by_a_process(path: Path) -> subprocess.Popen[str]:
    process = start(HOLD, path)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def write_claim(path: Path, **changes: object) -> Path:
    """A claim as another machine's process would have left it."""
    file = path.with_name(f".{path.name}.claim")
    holder = {"host": "elsewhere", "machine": "another", "pid": 1, "started": "1", "token": "t", **changes}
    file.write_text(json.dumps(holder))
    return file


def test_a_claim_is_refused_while_held_and_leaves_nothing_behind(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = held_by_a_process(run)
    with pytest.raises(RunClaimedError, match=f"^run is being worked on by process {holder.pid} on "), claimed(run):
        pass
    with claimed(tmp_path / "other"):
        pass
    holder.kill()
    holder.wait()
    with claimed(run), claimed(run):
        assert holder_of(run).pid == os.getpid()  # type: ignore[union-attr]
    assert holder_of(run) is None
    assert list(tmp_path.iterdir()) == []


def test_it_is_released_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "run"):
        _ = 1 / 0
    with claimed(tmp_path / "run"):
        pass


def test_a_living_holder_keeps_it_however_old_and_a_killed_one_loses_it_at_once(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = held_by_a_process(run)
    os.utime(run.with_name(".run.claim"), (1, 1))
    with pytest.raises(RunClaimedError), claimed(run):
        pass
    os.kill(holder.pid, signal.SIGSTOP)
    with pytest.raises(RunClaimedError), claimed(run):
        pass
    holder.kill()
    holder.wait()
    with claimed(run):
        assert holder_of(run).pid == os.getpid()  # type: ignore[union-attr]


def test_a_later_process_of_the_same_number_is_not_the_holder(tmp_path: Path) -> None:
    write_claim(tmp_path / "run", machine=this_machine(), pid=os.getpid(), started="long ago")
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_the_claim_of_another_machine_expires_by_the_file_systems_clock(
    tmp_path: Path, skew: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_claim(tmp_path / "run")
    now = file.stat().st_mtime
    monkeypatch.setattr(time, "time", lambda: now + skew)
    os.utime(file, (now - EXPIRY + 30, now - EXPIRY + 30))
    with pytest.raises(RunClaimedError, match="process 1 on elsewhere"), claimed(tmp_path / "run"):
        pass
    os.utime(file, (now - EXPIRY - 1, now - EXPIRY - 1))
    with claimed(tmp_path / "run"):
        pass


def test_a_torn_claim_counts_as_held_until_it_expires(tmp_path: Path) -> None:
    file = tmp_path / ".run.claim"
    file.write_text('{"host"')
    with pytest.raises(RunClaimedError), claimed(tmp_path / "run"):
        pass
    os.utime(file, (1, 1))
    with claimed(tmp_path / "run"):
        pass


def test_a_process_that_died_while_it_removed_a_void_claim_stops_nobody(tmp_path: Path) -> None:
    os.utime(write_claim(tmp_path / "run"), (1, 1))
    breaking = tmp_path / ".run.claim.breaking"
    breaking.touch()
    os.utime(breaking, (1, 1))
    with claimed(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_of_a_distributed_run_claims_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    holder = held_by_a_process(run)
    with pytest.raises(RunClaimedError), claimed(run, distributed=True):
        pass
    monkeypatch.setenv("LOCAL_RANK", "1")
    with claimed(run, distributed=True):
        pass
    with pytest.raises(RunClaimedError), claimed(run):
        pass
    holder.kill()
    holder.wait()


def test_the_heartbeat_touches_it_and_a_claim_that_was_lost_interrupts_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "HEARTBEAT", 0.02)
    file = tmp_path / ".run.claim"

    def work() -> None:
        with claimed(tmp_path / "run"):
            os.utime(file, (1, 1))
            time.sleep(0.3)
            assert file.stat().st_mtime > 1
            write_claim(tmp_path / "run")
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert file.exists(), "the claim of the one who took it over is not removed"


@settings(max_examples=4, deadline=None)
@given(num_processes=st.integers(2, 4), stale=st.booleans())
def test_of_several_processes_exactly_one_does_the_work(
    tmp_path_factory: pytest.TempPathFactory, num_processes: int, stale: bool
) -> None:
    folder = tmp_path_factory.mktemp("race")
    run, done, log = folder / "run", folder / "done", folder / "log"
    if stale:
        os.utime(write_claim(run), (1, 1))
    processes = [start(COUNT, run, done, log) for _ in range(num_processes)]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.wait(timeout=20) for process in processes] == [0] * num_processes
    assert log.read_text() == "ran\n"


def test_who_waits_is_told_for_whom_and_finds_the_work_done(tmp_path: Path) -> None:
    run, said = tmp_path / "run", []
    holder = held_by_a_process(run)

    def report(sentence: str) -> None:
        said.append(sentence)
        run.mkdir()

    with claimed_in_turn(run, done=run.exists, report=report, patience=0.01) as to_do:
        assert not to_do
    assert said == [f"waiting: run is being worked on by process {holder.pid} on {os.uname().nodename}"]
    holder.kill()
    holder.wait()


def test_who_waits_for_one_that_dies_does_the_work_itself(tmp_path: Path) -> None:
    run = tmp_path / "run"
    holder = held_by_a_process(run)

    def report(sentence: str) -> None:
        holder.kill()
        holder.wait()

    with claimed_in_turn(run, done=run.exists, report=report, patience=0.01) as to_do:
        assert to_do
        assert holder_of(run).pid == os.getpid()  # type: ignore[union-attr]
    assert list(tmp_path.iterdir()) == []


def test_a_holder_that_was_taken_for_dead_writes_no_more(tmp_path: Path) -> None:
    require_held(tmp_path / "run")
    with claimed(tmp_path / "run"):
        require_held(tmp_path / "run")
        write_claim(tmp_path / "run", pid=7)
        with pytest.raises(ClaimLostError, match="run was taken over by process 7 on elsewhere while this process, "):
            require_held(tmp_path / "run")
    assert (tmp_path / ".run.claim").exists(), "the other one's claim is left alone"


def test_a_file_system_without_links_has_claims_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with claimed(tmp_path / "run"):
        assert holder_of(tmp_path / "run").pid == os.getpid()  # type: ignore[union-attr]
        with pytest.raises(FileExistsError):
            claim._create(tmp_path / ".run.claim", "another")
    assert list(tmp_path.iterdir()) == []
