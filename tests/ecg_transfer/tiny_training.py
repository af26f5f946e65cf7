"""A training of a tiny network on a fake corpus, in about a second."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from data_modules.config import DataConfig
from data_modules.datamodule import ECGDataModule
from ecg_transfer.callbacks.checkpoints import AtomicCheckpointIO, BestF1, LastEpoch
from ecg_transfer.callbacks.convergence import Convergence
from ecg_transfer.callbacks.epoch_seed import EpochSeed
from ecg_transfer.callbacks.finite_loss import FiniteLoss
from ecg_transfer.callbacks.save_predictions import SavePredictions
from ecg_transfer.callbacks.stoppable import Stoppable
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import OptimConfig
from tests.data_modules.fake_corpus import FakeCorpus
from tests.ecg_transfer.tiny_backbone import NAME

MONITOR = "f1_weighted"


def tiny_data(corpus: FakeCorpus, *, batch_size: int = 8, seed: int = 0) -> ECGDataModule:
    config = DataConfig(corpus="fake", root=str(corpus.root.parent), num_samples=50)
    data = ECGDataModule(config, corpus=corpus, batch_size=batch_size, seed=seed)
    data.setup()
    return data


def tiny_classifier(data: ECGDataModule, *, seed: int = 0, **optim: Any) -> ECGClassifier:  # noqa: ANN401
    pl.seed_everything(seed, verbose=False)
    fields = {"lr": 0.05, "batch_size": data.batch_size, **optim}
    return ECGClassifier(NAME, data.label_names, num_samples=50, optim=OptimConfig(**fields))


def tiny_trainer(
    folder: Path,
    data: ECGDataModule,
    max_epochs: int,
    extra: Sequence[pl.Callback] = (),
    *,
    seconds: float = 0.0,
    accelerator: str = "cpu",
    **options: Any,  # noqa: ANN401
) -> pl.Trainer:
    """A trainer with the callbacks of a run, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"logger": False, **options}
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=max_epochs,
        deterministic=True,
        callbacks=[
            EpochSeed(data.seed),
            FiniteLoss(lambda row: data.record_ids[row]),
            Stoppable(),
            Convergence(folder / "metrics.jsonl"),
            SavePredictions(folder / "predictions.npz", MONITOR),
            *extra,
            BestF1(folder, MONITOR),
            LastEpoch(folder, seconds),
        ],
        plugins=[AtomicCheckpointIO()],
        default_root_dir=folder,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        log_every_n_steps=1,
        **options,
    )


def fit(trainer: pl.Trainer, classifier: ECGClassifier, data: ECGDataModule, last: Path | None = None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(classifier, datamodule=data, ckpt_path=last, weights_only=True)


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint."""
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state
