from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ecg_transfer.callbacks.checkpoints import AtomicCheckpointIO, BestF1, LastEpoch


class Scripted(pl.LightningModule):
    """Its validation score of each epoch is given; its weight counts the updates."""

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.given, self.weight = scores, nn.Parameter(torch.zeros(()))

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> torch.Tensor:
        return -self.weight

    def validation_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.log("val/f1_weighted", self.given[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def train(folder: Path, scores: Sequence[float], max_epochs: int, last: Path | None = None) -> pl.Trainer:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=max_epochs,
        callbacks=[BestF1(folder, "f1_weighted"), LastEpoch(folder)],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader = DataLoader(TensorDataset(torch.zeros(1, 1)))
    trainer.fit(Scripted(scores), loader, loader, ckpt_path=last, weights_only=True)
    return trainer


def epoch_of(path: Path) -> int:
    """The epoch after which a checkpoint was written, by its weight."""
    return int(torch.load(path, weights_only=True)["state_dict"]["weight"]) - 1


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.5, 0.5, 0.4], 1), ([0.3, 0.3, 0.3], 0), ([0.0, 0.0, 0.2], 2), ([0.9, 0.8, 0.9], 0), ([0.1, 0.2], 1)],
)
def test_the_first_of_the_best_epochs_is_kept(tmp_path: Path, scores: list[float], best: int) -> None:
    train(tmp_path, scores, len(scores))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt", "last.previous.ckpt"]
    assert epoch_of(tmp_path / "last.previous.ckpt") == len(scores) - 2
    assert epoch_of(tmp_path / "best.ckpt") == best
    assert epoch_of(tmp_path / "last.ckpt") == len(scores) - 1
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == best


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize(
    ("scores", "best"), [([0.1, 0.8, 0.7, 0.8, 0.2], 1), ([0.1, 0.8, 0.7, 0.9, 0.2], 3), ([0.1] * 5, 0)]
)
@pytest.mark.parametrize("interrupted", [1, 2, 4])
def test_a_resumed_run_remembers_its_best(
    tmp_path: Path, scores: list[float], best: int, interrupted: int, moved: bool
) -> None:
    before = after = tmp_path / "run"
    train(before, scores, interrupted)
    if moved:
        after = tmp_path / "elsewhere" / "renamed"
        shutil.move(before, after)
    trainer = train(after, scores, 5, after / "last.ckpt")
    assert epoch_of(after / "best.ckpt") == best
    assert epoch_of(after / "last.ckpt") == 4
    assert sorted(path.name for path in after.iterdir()) == ["best.ckpt", "last.ckpt", "last.previous.ckpt"]
    assert before.exists() != moved  # nothing was written to the old place
    (callback,) = (found for found in trainer.callbacks if isinstance(found, BestF1))
    assert Path(callback.best_model_path) == after / "best.ckpt"
    assert float(callback.best_model_score) == pytest.approx(max(scores))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2, "bad": lambda: None}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1, "files": {}}
    assert list(tmp_path.iterdir()) == [path]
