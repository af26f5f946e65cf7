"""Shared by the tests of exported models."""

from __future__ import annotations

from pathlib import Path

from ecg_transfer.runs import Run

Folders = tuple[Run, Path]


def settings(data: Path, **more: object) -> dict[str, object]:
    small = {"data.root": str(data), "data.num_simulated": 90, "optim.max_epochs": 2, "optim.batch_size": 16}
    return small | {"optim.min_updates": 0, "optim.lr": 0.003, "trainer.accelerator": "cpu"} | more
