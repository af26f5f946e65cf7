"""A training with everything a run has around it: callbacks, logger, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl

from data_modules.datamodule import ECGDataModule
from ecg_transfer import trainer as run_trainer
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config_reading import make_config
from ecg_transfer.runs import Run
from ecg_transfer.training_settings import training_settings

SMALL = "experiments.benchmarks.small_net:SmallNet"


def fit(
    folder: Path,
    data: ECGDataModule,
    backbone: str,
    max_epochs: int,
    *,
    first: Sequence[pl.Callback] = (),
    evaluate_every: int = 1,
) -> Run:
    """Train as a run does, short of its final scores.

    Args:
        folder: Of the run; new.
        data: Set up.
        backbone: A key of `BACKBONES` or `package.module:factory`.
        max_epochs: How many.
        first: Callbacks that are called before the run's own.
        evaluate_every: Epochs between two evaluations.
    """
    run_trainer.quiet_lightning()
    overrides = {"optim.batch_size": data.batch_size, "optim.evaluate_every": evaluate_every}
    config = make_config("scratch", "ptb", backbone=backbone, overrides=overrides)
    pl.seed_everything(0, verbose=False)
    classifier = ECGClassifier(backbone, data.label_names, optim=config.optim)
    run = Run(folder)
    folder.mkdir(parents=True)
    trainer = run_trainer.build_trainer(config, run, data, max_epochs, progress=True, extra=first)
    with training_settings():
        run_trainer.fit(trainer, classifier, data, None)
    return run
