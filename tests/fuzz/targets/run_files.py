"""The files of a run directory that may be anyone's: the first byte says which one is mutated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from ecg_transfer.config import ConfigError
from ecg_transfer.config_reading import make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.runs import SEALED, Run, RunNotFoundError
from ecg_transfer.seal import sealed

REFUSALS = (ConfigError, RunNotFoundError)
FILES = {b"D": "DONE", b"C": "config.yaml", b"M": "metrics.jsonl", b"S": "scores.json"}


def seeds(folder: Path) -> Iterator[bytes]:
    (folder / "config.yaml").write_text("{}\n")
    yield b'D{"run": "a", "files": {"config.yaml": {"bytes": 3, "sha256": "00"}}}'
    yield b"D" + json.dumps(sealed("a", {"config.yaml": {"bytes": 3, "sha256": "00"}})).encode()
    yield b"C" + yaml.safe_dump(make_config("scratch", "ptb", recipe="modern").as_dict()).encode()
    yield b'M{"epoch": 0, "val": {"f1_weighted": 0.5}}\n{"epoch": 1, "val": {"f1_weighted": NaN}}\n{"epo'
    yield b'S{"val_selected": {"test": {"f1_weighted": 0.5}}}'


def check(data: bytes, folder: Path) -> None:
    name = FILES.get(data[:1], "DONE")
    before = (folder / name).read_bytes() if (folder / name).exists() else None
    (folder / name).write_bytes(data[1:])
    try:
        run = Run(folder)
        if name == "config.yaml":
            config = run.config
            assert "${" not in str(config.as_dict())
            assert len(config.digest()) == 64
        elif name == "metrics.jsonl":
            epochs = [record["epoch"] for record in read_curve(folder / name)]
            assert epochs == sorted(set(epochs))
        elif name == "DONE":
            assert run.status in ("done", "unfinished")
            assert set(run.verify()) <= set(SEALED)
        else:
            assert isinstance(run.results, dict)
    finally:
        (folder / name).write_bytes(before) if before is not None else (folder / name).unlink()
