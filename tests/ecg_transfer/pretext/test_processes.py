"""A contrastive loss of several processes is that of the whole batch in one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from ecg_transfer.pretext.config import PretextConfig
from ecg_transfer.pretext.contrastive import Contrastive

NUM_PROCESSES, NUM_RECORDS = 2, 6
GROUPS = torch.tensor([0, 1, 2, 3, 1, 4])
"""Patients: one of them is seen by both processes."""


class Embedding(nn.Module):
    """A backbone with nothing in it that looks at other records."""

    num_features = 5

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12 * 20, self.num_features)

    def forward(self, signal: Tensor) -> Tensor:
        features: Tensor = self.layer(signal.flatten(1))
        return features


class Learning(nn.Module):
    """Backbone and projector, as a process trains them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.backbone = Embedding()
        self.head = Contrastive(self.backbone, PretextConfig(task="contrastive"))  # type: ignore[arg-type]
        self.double()

    def forward(self, signal: Tensor, groups: Tensor) -> dict[str, Tensor]:
        values: dict[str, Tensor] = self.head(self.backbone, signal, groups, None)
        return values


def views() -> Tensor:
    """First and second views, (2, records, leads, samples)."""
    generator = torch.Generator().manual_seed(4)
    return torch.randn((2, NUM_RECORDS, 12, 20), generator=generator, dtype=torch.float64)


def train_part(rank: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=NUM_PROCESSES
    )
    try:
        learning = Learning()
        learning.head.num_processes = NUM_PROCESSES
        rows = slice(rank, None, NUM_PROCESSES)
        shared = DistributedDataParallel(learning)
        values = shared(views()[:, rows].flatten(0, 1), GROUPS[rows])
        values["loss"].backward()
        found = {name: value.detach() for name, value in values.items()}
        found |= {name: parameter.grad for name, parameter in learning.named_parameters() if parameter.grad is not None}
        torch.save(found, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
def test_the_negatives_of_a_record_are_those_of_all_processes(tmp_path: Path) -> None:
    spawn(train_part, (str(tmp_path),), nprocs=NUM_PROCESSES)  # type: ignore[no-untyped-call]
    learning = Learning()
    expected = learning(views().flatten(0, 1), GROUPS)
    expected["loss"].backward()
    gradients = {name: parameter.grad for name, parameter in learning.named_parameters()}
    for rank in range(NUM_PROCESSES):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found.keys() == {"loss", "retrieval", *gradients}
        for name, value in {**expected, **gradients}.items():
            torch.testing.assert_close(found[name], value.detach(), rtol=1e-12, atol=1e-14)
