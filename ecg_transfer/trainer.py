"""The Lightning trainer of a run: its callbacks, its logger, its strategy."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.utils.deterministic
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from data_modules.datamodule import ECGDataModule
from ecg_transfer.callbacks.checkpoints import AtomicCheckpointIO, BestF1, LastEpoch
from ecg_transfer.callbacks.convergence import Convergence, points_of
from ecg_transfer.callbacks.cuda_graphs import CudaGraphs
from ecg_transfer.callbacks.early_stop import EarlyStop
from ecg_transfer.callbacks.epoch_seed import EpochSeed
from ecg_transfer.callbacks.evaluate_last import EvaluateLast
from ecg_transfer.callbacks.finite_loss import FiniteLoss
from ecg_transfer.callbacks.freezing import Freezing
from ecg_transfer.callbacks.l2_sp import L2SP
from ecg_transfer.callbacks.movement import Movement
from ecg_transfer.callbacks.progress import Progress
from ecg_transfer.callbacks.reestimate import ReestimateBatchNorm
from ecg_transfer.callbacks.save_predictions import SavePredictions
from ecg_transfer.callbacks.stoppable import Stoppable
from ecg_transfer.config import RunConfig
from ecg_transfer.cuda_graphs import may_be_recorded
from ecg_transfer.curve import read_curve
from ecg_transfer.learner import Learner
from ecg_transfer.runs import Run
from ecg_transfer.ways import FREEZING, first_whole_epoch

PRECISION = {32: "32-true", "bf16": "bf16-mixed", 64: "64-true"}
"""Lightning's names of our precisions."""


def build_trainer(
    config: RunConfig,
    run: Run,
    datamodule: ECGDataModule,
    num_epochs: int,
    progress: bool | None,
    extra: Sequence[Callback] = (),
) -> pl.Trainer:
    """The trainer that a configuration asks for.

    Args:
        config: Of the run.
        run: Where curves, checkpoints and predictions go.
        datamodule: Set up; errors name its records.
        num_epochs: Of the whole training.
        progress: Whether to show bars; None shows them where there is a terminal.
        extra: Callbacks that come before the run's own.
    """
    is_distributed = num_devices(config) > 1
    fill_no_new_tensors()
    show_bar = sys.stderr.isatty() if progress is None else progress
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        strategy=_strategy(config) if is_distributed else "auto",
        sync_batchnorm=is_distributed and torch.cuda.is_available() and config.trainer.accelerator != "cpu",
        precision=PRECISION[config.trainer.precision],  # type: ignore[arg-type]
        deterministic=config.trainer.deterministic,
        gradient_clip_val=config.optim.gradient_clip,
        max_epochs=num_epochs,
        check_val_every_n_epoch=config.optim.evaluate_every,
        callbacks=[*extra, *callbacks_of(config, run, datamodule, num_epochs, show_bar)],
        logger=_tensorboard(run),
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if not is_distributed else [])],
        default_root_dir=run.path,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=show_bar,
        log_every_n_steps=1,
    )


def callbacks_of(
    config: RunConfig, run: Run, datamodule: ECGDataModule, num_epochs: int, show_bar: bool
) -> list[Callback]:
    """What every run has around it, in the order in which it is called."""
    patience, (monitor, mode) = config.optim.early_stop_patience, config.selection
    counts_from = first_whole_epoch(config.transfer, num_epochs)
    is_wanted = config.trainer.cuda_graphs and not config.trainer.compile and may_be_recorded(config.model.backbone)
    return [
        *([CudaGraphs()] if is_wanted and config.is_supervised and num_devices(config) == 1 else []),
        EpochSeed(config.seed),
        EvaluateLast(),
        FiniteLoss(lambda row: datamodule.record_ids[row]),
        Stoppable(),
        Convergence(run.path / "metrics.jsonl"),
        *([SavePredictions(run.path / "predictions.npz", config.monitor)] if config.is_supervised else []),
        *([EarlyStop(monitor, patience, mode, from_epoch=counts_from)] if patience else []),
        *([Progress()] if show_bar else []),
        BestF1(run.path, monitor, mode),
        LastEpoch(run.path, config.trainer.checkpoint_seconds),
    ]


def way_callbacks(config: RunConfig, learner: Learner) -> list[Callback]:
    """What a way of fine-tuning adds; the learner has the upstream's weights."""
    transfer = config.transfer
    if config.phase != "finetune":
        return []
    start = {name: value.detach().clone() for name, value in learner.backbone.state_dict().items()}
    return [
        *([ReestimateBatchNorm()] if transfer.batch_norm == "reestimate" else []),
        *([Freezing(transfer)] if transfer.way in FREEZING or transfer.batch_norm != "train" else []),
        *([L2SP(start, transfer.l2_sp, transfer.l2_sp_head)] if transfer.way == "l2_sp" else []),
        Movement(start),
    ]


def _strategy(config: RunConfig) -> str:
    """Distributed training; frozen weights are waited for in vain unless the processes look for unused ones."""
    return "ddp_find_unused_parameters_true" if config.transfer.way in FREEZING else "ddp"


def _tensorboard(run: Run) -> TensorBoardLogger:
    """A view of the run's records; those of earlier attempts are drawn anew."""
    logger = TensorBoardLogger(run.path, name="", version="tensorboard", default_hp_metric=False)
    for record in read_curve(run.path / "metrics.jsonl"):
        logger.log_metrics(points_of(record), step=record["epoch"])
    return logger


def num_devices(config: RunConfig) -> int:
    """Devices of all machines."""
    return config.trainer.devices * config.trainer.num_nodes


def fit(trainer: pl.Trainer, learner: Learner, datamodule: ECGDataModule, state: Path | None) -> None:
    """Fit, and let an interruption be seen: `KeyboardInterrupt`, or an exit with 143."""
    (stoppable,) = (callback for callback in trainer.callbacks if isinstance(callback, Stoppable))  # type: ignore[attr-defined]
    with stoppable.listening():
        trainer.fit(learner, datamodule=datamodule, ckpt_path=state, weights_only=True)


def fill_no_new_tensors() -> None:
    """Switch off what deterministic algorithms do besides: fill every new tensor with NaN.

    That shows code which reads what nobody wrote, changes no result of ours, and costs 4 % of a ResNet1d-18's step,
    11 % of it in bfloat16, 21 % of an LSTM's (batch 32, one core's CPU time, medians of 9 to 15 interleaved rounds).
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def quiet_lightning() -> None:
    """Silence Lightning's notes on devices and tips, and warnings about what is meant: they hide what a run says."""
    for message in (".*does not have many workers", ".*exists and is not empty", ".*LeafSpec"):
        warnings.filterwarnings("ignore", message)
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
