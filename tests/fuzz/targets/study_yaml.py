"""A study file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ecg_transfer.study.definition import Study, StudyError, read_study

REFUSALS = (StudyError,)


def seeds(folder: Path) -> Iterator[bytes]:
    for path in sorted(Path("experiments").glob("*.yaml")):
        yield path.read_bytes()
    yield b"name: s\noverrides: {optim.lr: 1e-3}\ngrids: [{downstreams: [ptb], starts: [scratch]}]\n"


def check(data: bytes, folder: Path) -> None:
    (folder / "s.yaml").write_bytes(data)
    study = read_study(folder / "s.yaml")
    assert isinstance(study, Study)
    assert "${" not in str(study)
