"""Fine-tunings of a small network of three stages, in any way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import OptimConfig, RunConfig, TransferConfig
from ecg_transfer.trainer import way_callbacks
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.callbacks.test_resume import StopAt
from tests.ecg_transfer.tiny_backbone import StagedBackbone
from tests.ecg_transfer.tiny_training import fit, tiny_data, tiny_trainer

STAGED = "tests.ecg_transfer.tiny_backbone:StagedBackbone"
NUM_EPOCHS = 4
OPTIM: dict[str, Any] = {"lr": 0.05, "batch_size": 8, "optimizer": "adamw", "schedule": "one_cycle"}
OPTIM |= {"weight_decay": 0.1}
State = dict[str, Tensor]


def write_corpus(root: Path) -> FakeCorpus:
    return write_fake_corpus(root / "fake", random_labels(40, seed=1))


def pretrained() -> State:
    """Weights and statistics as a pre-training might leave them."""
    generator = torch.Generator().manual_seed(5)
    pl.seed_everything(7, verbose=False)
    backbone = StagedBackbone()
    for name, value in backbone.named_buffers():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1 * name.endswith("var"))
    return {name: value.clone() for name, value in backbone.state_dict().items()}


class Noted(pl.Callback):
    """The backbone's state after each epoch, and what was in training mode in it."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.training: list[set[str]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: object) -> None:
        modules = pl_module.backbone.named_modules()  # type: ignore[operator, union-attr]
        self.training = self.training[: trainer.current_epoch]
        self.training.append({name for name, module in modules if module.training})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.backbone.state_dict().items()})  # type: ignore[operator, union-attr]


def finetune(
    corpus: FakeCorpus,
    folder: Path,
    upstream: State,
    *,
    stop_at: int | None = None,
    **transfer: Any,  # noqa: ANN401
) -> Noted:
    """Fine-tune in `folder` in a way, from its last checkpoint where there is one."""
    data = tiny_data(corpus)
    config = RunConfig(phase="finetune", transfer=TransferConfig(**transfer), optim=OptimConfig(**OPTIM))
    pl.seed_everything(0, verbose=False)
    classifier = ECGClassifier(STAGED, data.label_names, num_samples=50, optim=config.optim, transfer=config.transfer)
    classifier.backbone.load_state_dict(upstream)
    noted = Noted()
    extra = [*way_callbacks(config, classifier), noted, *([] if stop_at is None else [StopAt(stop_at)])]
    last = folder / "last.ckpt"
    trainer = tiny_trainer(folder, data, NUM_EPOCHS, extra)
    try:
        fit(trainer, classifier, data, last if last.exists() else None)
    except (KeyboardInterrupt, SystemExit):
        assert stop_at is not None
    return noted


def signals(sizes: tuple[int, ...], seed: int = 3) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for size in sizes:
        yield torch.randn(size, 12, 50, generator=generator) * torch.rand(1, 12, 1, generator=generator) + 0.3
