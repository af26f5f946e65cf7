from __future__ import annotations

import json
from pathlib import Path

import pytest

from ecg_transfer.files import write_atomically, write_json


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
