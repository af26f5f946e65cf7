from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ecg_transfer.files import write_atomically, write_json
from ecg_transfer.runs import SEALED, STATES
from tests.ecg_transfer.tiny_runs import scratch


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "content"
    with write_atomically(path) as stream:
        stream.write(b"one")
        stream.flush()
        assert not path.exists()
    assert path.read_bytes() == b"one"
    with write_atomically(path) as stream:
        stream.write(b"two")
        assert path.read_bytes() == b"one"
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_the_old_content(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"old")

    def fail_half_way() -> None:
        with write_atomically(path) as stream:
            stream.write(b"new")
            raise error

    with pytest.raises(error):
        fail_half_way()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "nowhere" / "content"):
        pass


def test_json_reads_back_and_nan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "content.json"
    content = {"name": "Ärzte", "value": 0.1, "none": None, "nested": {"list": [1, 2]}}
    write_json(path, content)
    assert json.loads(path.read_text()) == content
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert json.loads(path.read_text()) == content
    assert list(tmp_path.iterdir()) == [path]


def test_only_what_a_run_goes_on_from_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    monkeypatch.setattr("os.fsync", note)
    run = scratch(tmp_path / "data", tmp_path / "runs")  # three epochs, the state saved after each
    names = [next((known for known in (*SEALED, *STATES, "DONE") if known in name), "") for name in synced]
    names = [name for name in names if name]
    assert names.count(STATES[0]) == 3
    ended = len(names) - names[::-1].index(STATES[0])
    assert not {"best.ckpt", "metrics.jsonl", "predictions.npz"} & set(names[:ended]), "it carries them"
    assert sorted(names[-len(SEALED) - 1 : -1]) == sorted(SEALED)
    assert names[-1] == "DONE"
    assert run.verify() == []
