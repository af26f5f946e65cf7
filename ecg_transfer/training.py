"""One run from start to end: pre-train, fine-tune or train from scratch, and evaluate."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import torch.utils.deterministic
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import TensorBoardLogger

from data_modules.claim import claimed, is_first_process, require_held
from data_modules.datamodule import ECGDataModule
from data_modules.label_map import shared_labels
from ecg_transfer.allocator import freed_memory_kept
from ecg_transfer.callbacks.checkpoints import AtomicCheckpointIO, BestF1, LastEpoch
from ecg_transfer.callbacks.convergence import Convergence
from ecg_transfer.callbacks.early_stop import EarlyStop
from ecg_transfer.callbacks.epoch_seed import EpochSeed
from ecg_transfer.callbacks.finite_loss import FiniteLoss
from ecg_transfer.callbacks.freezing import Freezing
from ecg_transfer.callbacks.l2_sp import L2SP
from ecg_transfer.callbacks.movement import Movement
from ecg_transfer.callbacks.progress import Progress
from ecg_transfer.callbacks.reestimate import ReestimateBatchNorm
from ecg_transfer.callbacks.save_predictions import SavePredictions
from ecg_transfer.callbacks.stoppable import Stoppable
from ecg_transfer.checks import checks
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.compilation import compile_backbone
from ecg_transfer.config import ConfigError, Overrides, RunConfig, make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.data_identity import refuse_other_data, require_same_data
from ecg_transfer.evaluation import write_scores
from ecg_transfer.files import write_json
from ecg_transfer.memory import explained
from ecg_transfer.provenance import provenance
from ecg_transfer.resolve import Resolved, pretrain_config, resolve
from ecg_transfer.resume import newest_state, recover
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, RunNotFoundError, save_config
from ecg_transfer.upstream import RecordsOverlapWarning, Upstream
from ecg_transfer.ways import FREEZING, require_possible, require_sensible
from ecg_transfer.windows import Windows

PRECISION = {32: "32-true", "bf16": "bf16-mixed", 64: "64-true"}
"""Lightning's names of our precisions."""


def datamodule(corpus: str, *, recipe: str = "paper", overrides: Overrides = ()) -> ECGDataModule:
    """A corpus as a data module that is set up, prepared and split as a run of this recipe would have it.

    Args:
        corpus: Name of the corpus.
        recipe: `paper` or `modern`.
        overrides: Fields to change, `{"data.subset": 200}`.
    """
    config = make_config("scratch", corpus, recipe=recipe, overrides=overrides)
    module = ECGDataModule(config.data, batch_size=config.optim.batch_size, seed=config.seed)
    module.setup()
    return module


def pretrain(
    corpus: str,
    *,
    backbone: str | None = None,
    recipe: str = "paper",
    seed: int | None = None,
    overrides: Overrides = (),
    output: str | Path = DEFAULT_OUTPUT,
    progress: bool | None = None,
) -> Run:
    """Train a model on an upstream corpus; `finetune` starts from its backbone.

    Args:
        corpus: Name of the corpus.
        backbone: A key of `BACKBONES`, or `package.module:factory`.
        recipe: `paper` or `modern`.
        seed: Of everything random but the split.
        overrides: Any field of `RunConfig`, `{"optim.max_epochs": 5}` or `["optim.max_epochs=5"]`.
        output: Where runs live.
        progress: Whether to show bars; None shows them where there is a terminal.

    Returns:
        The finished run. If the same configuration was run before, that run, at once.
    """
    config = make_config("pretrain", corpus, recipe=recipe, backbone=backbone, seed=seed, overrides=overrides)
    return train(config, output=output, progress=progress)


def finetune(
    corpus: str,
    *,
    upstream: str,
    backbone: str | None = None,
    recipe: str = "paper",
    seed: int | None = None,
    overrides: Overrides = (),
    output: str | Path = DEFAULT_OUTPUT,
    progress: bool | None = None,
    with_pretrain: bool = False,
) -> Run:
    """Train on a downstream corpus, starting from a pre-trained backbone and a new head.

    Args:
        corpus: Name of the downstream corpus.
        upstream: A corpus name, whose pre-training is looked up; a run's name or directory; or an exported model's
            folder.
        backbone: As the upstream's.
        recipe: As for `pretrain`.
        seed: As for `pretrain`.
        overrides: As for `pretrain`.
        output: As for `pretrain`.
        progress: As for `pretrain`.
        with_pretrain: Pre-train first where the upstream run is missing, with the same recipe, seed and overrides.

    Raises:
        RunNotFoundError: The upstream run is missing; the message says which command makes it.
        UpstreamError: It does not fit.
    """
    config = make_config(
        "finetune", corpus, recipe=recipe, backbone=backbone, seed=seed, upstream=upstream, overrides=overrides
    )
    return train(config, output=output, progress=progress, with_pretrain=with_pretrain)


def train_from_scratch(
    corpus: str,
    *,
    backbone: str | None = None,
    recipe: str = "paper",
    seed: int | None = None,
    overrides: Overrides = (),
    output: str | Path = DEFAULT_OUTPUT,
    progress: bool | None = None,
) -> Run:
    """Train on a downstream corpus from random weights: the arm that a fine-tuning is compared with.

    With the same seed it has the same head, the same batches in the same order and the same split as the fine-tuning.
    Arguments and result are those of `pretrain`.
    """
    config = make_config("scratch", corpus, recipe=recipe, backbone=backbone, seed=seed, overrides=overrides)
    return train(config, output=output, progress=progress)


def train(
    config: RunConfig,
    *,
    output: str | Path = DEFAULT_OUTPUT,
    progress: bool | None = None,
    with_pretrain: bool = False,
) -> Run:
    """Bring the run of a configuration to its end: start it, resume it, or find it done.

    Args:
        config: What to run.
        output: Where runs live.
        progress: Whether to show bars; None shows them where there is a terminal.
        with_pretrain: Pre-train first where the upstream run is missing.

    Returns:
        The finished run.

    Raises:
        KeyboardInterrupt, SystemExit: Ctrl-C, or SIGTERM (code 143); the same call resumes it at its last whole epoch.
        RunClaimedError: Another process is at it.
        OutOfMemoryError: It needs more memory than there is; the message says what needs less.
        ConfigError: A way to transfer that makes no sense here.
    """
    require_sensible(config)
    try:
        resolved = resolve(config, Path(output))
    except RunNotFoundError:
        if not (with_pretrain and config.phase == "finetune"):
            raise
        train(pretrain_config(config), output=output, progress=progress)
        resolved = resolve(config, Path(output))
    run = resolved.run
    if run.is_done:
        require_same_data(run, resolved.config)
        run.tidy()
        return run
    _quiet_lightning()
    with claimed(run.path, distributed=_num_devices(config) > 1):
        if run.is_done:  # by another process, a moment ago
            return run
        try:
            with freed_memory_kept():
                _fit_and_score(resolved, progress=progress)
        except Exception as found:
            error = explained(found, config)
            if run.path.exists():
                run.fail(error)
            if error is found:
                raise
            raise error from found
    return run


def _fit_and_score(resolved: Resolved, *, progress: bool | None) -> None:
    config, run = resolved.config, resolved.run
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = ECGDataModule(
        config.data,
        crops=config.crops,
        augment=config.augment,
        batch_size=config.optim.batch_size,
        seed=config.seed,
        progress=progress,
    )
    data.setup()
    _require_monitored(config, data)
    num_epochs = config.optim.num_epochs(len(data.train_dataloader()))
    classifier = ECGClassifier(
        config.model.backbone,
        data.label_names,
        num_samples=config.data.num_samples,
        windows=Windows.of(config.crops, config.data),
        dropout=config.model.dropout,
        optim=config.optim,
        transfer=config.transfer,
    )
    require_possible(config.transfer, classifier.backbone, num_epochs)
    if config.trainer.precision == 64:
        classifier.double()
    num_loaded = _load_upstream(classifier, resolved.upstream)
    is_first = _num_devices(config) == 1 or is_first_process()
    state = _state_to_go_on_from(run, data, is_first=is_first)
    shared = _share_head(classifier, resolved, data)
    trainer = _trainer(config, run, data, num_epochs, progress, _way_callbacks(config, classifier))
    if config.trainer.compile:
        compile_backbone(classifier.backbone, trainer.strategy.root_device)
    if trainer.is_global_zero:
        run.path.mkdir(parents=True, exist_ok=True)
        save_config(run.path / "config.yaml", config)
        if resolved.upstream is not None:
            resolved.upstream.leave_records(run.path)
        manifest = _manifest(resolved, data, classifier, num_loaded, shared, num_epochs)
        write_json(run.path / "manifest.json", manifest)
    started = time.perf_counter()
    _fit(trainer, classifier, data, state)
    if not trainer.is_global_zero:
        return
    write_scores(run, data, device=trainer.strategy.root_device)
    manifest["finished"] = _now()
    manifest["attempts"][-1]["seconds"] = round(time.perf_counter() - started, 1)
    write_json(run.path / "manifest.json", manifest)
    require_held(run.path)
    run.seal()
    run.tidy()


def _num_devices(config: RunConfig) -> int:
    return config.trainer.devices * config.trainer.num_nodes


def _state_to_go_on_from(run: Run, data: ECGDataModule, *, is_first: bool) -> Path | None:
    """The state of an interrupted attempt; what an attempt without one left is removed."""
    state, said = recover(run.path) if is_first else newest_state(run.path)
    if is_first:
        sys.stderr.writelines(f"{sentence}\n" for sentence in said)
    if state is not None:
        refuse_other_data(run, data.digest())
    elif is_first:
        _clear(run)
    return state


def _fit(trainer: pl.Trainer, classifier: ECGClassifier, datamodule: ECGDataModule, state: Path | None) -> None:
    """Fit, and let an interruption be seen: `KeyboardInterrupt`, or an exit with 143."""
    (stoppable,) = (callback for callback in trainer.callbacks if isinstance(callback, Stoppable))  # type: ignore[attr-defined]
    with stoppable.listening(trainer.world_size):
        trainer.fit(classifier, datamodule=datamodule, ckpt_path=state, weights_only=True)


def _trainer(
    config: RunConfig,
    run: Run,
    datamodule: ECGDataModule,
    num_epochs: int,
    progress: bool | None,
    extra: Sequence[Callback] = (),
) -> pl.Trainer:
    num_devices = _num_devices(config)
    _fill_no_new_tensors()
    show_bar = sys.stderr.isatty() if progress is None else progress
    return pl.Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        num_nodes=config.trainer.num_nodes,
        strategy=_strategy(config) if num_devices > 1 else "auto",
        sync_batchnorm=num_devices > 1 and torch.cuda.is_available() and config.trainer.accelerator != "cpu",
        precision=PRECISION[config.trainer.precision],  # type: ignore[arg-type]
        deterministic=config.trainer.deterministic,
        gradient_clip_val=config.optim.gradient_clip,
        max_epochs=num_epochs,
        check_val_every_n_epoch=config.optim.evaluate_every,
        callbacks=[*extra, *_callbacks(config, run, datamodule, show_bar)],
        logger=_tensorboard(run),
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if num_devices == 1 else [])],
        default_root_dir=run.path,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=show_bar,
        log_every_n_steps=1,
    )


def _tensorboard(run: Run) -> TensorBoardLogger:
    """Curves that go on after the run's last record: what an interrupted attempt drew beyond it is not shown."""
    curve = read_curve(run.path / "metrics.jsonl")
    purge_step = curve[-1]["epoch"] + 1 if curve else None
    return TensorBoardLogger(run.path, name="", version="tensorboard", default_hp_metric=False, purge_step=purge_step)


def _fill_no_new_tensors() -> None:
    """Switch off what deterministic algorithms do besides: fill every new tensor with NaN.

    That shows code which reads what nobody wrote, changes no result of ours, and costs 4 % of a ResNet1d-18's step,
    11 % of it in bfloat16, 21 % of an LSTM's (batch 32, one core's CPU time, medians of 9 to 15 interleaved rounds).
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _callbacks(config: RunConfig, run: Run, datamodule: ECGDataModule, show_bar: bool) -> list[Callback]:
    patience = config.optim.early_stop_patience
    return [
        EpochSeed(config.seed),
        FiniteLoss(lambda row: datamodule.record_ids[row]),
        Stoppable(),
        Convergence(run.path / "metrics.jsonl"),
        SavePredictions(run.path / "predictions.npz", config.monitor),
        *([EarlyStop(config.monitor, patience)] if patience else []),
        *([Progress()] if show_bar else []),
        BestF1(run.path, config.monitor),
        LastEpoch(run.path, config.trainer.checkpoint_seconds),
    ]


def _strategy(config: RunConfig) -> str:
    """Distributed training; frozen weights are waited for in vain unless the processes look for unused ones."""
    return "ddp_find_unused_parameters_true" if config.transfer.way in FREEZING else "ddp"


def _way_callbacks(config: RunConfig, classifier: ECGClassifier) -> list[Callback]:
    """What a way of fine-tuning adds; the classifier has the upstream's weights."""
    transfer = config.transfer
    if config.phase != "finetune":
        return []
    start = {name: value.detach().clone() for name, value in classifier.backbone.state_dict().items()}
    return [
        *([ReestimateBatchNorm()] if transfer.batch_norm == "reestimate" else []),
        *([Freezing(transfer)] if transfer.way in FREEZING or transfer.batch_norm != "train" else []),
        *([L2SP(start, transfer.l2_sp, transfer.l2_sp_head)] if transfer.way == "l2_sp" else []),
        Movement(start),
    ]


def _require_monitored(config: RunConfig, data: ECGDataModule) -> None:
    """Refuse to choose epochs by an AUROC that validation or test records do not have."""
    for part in ("val", "test") if config.monitor == "auroc_macro" else ():
        present = data.labels[data.rows[part]].mean(axis=0)
        if not ((present > 0) & (present < 1)).any():
            raise ValueError(
                f"monitor=auroc_macro: no label has positives and negatives among the {len(data.rows[part])} {part} "
                f"records of {data.corpus.spec.name}; choose the epoch by monitor=f1_weighted"
            )


def _load_upstream(classifier: ECGClassifier, upstream: Upstream | None) -> int:
    if upstream is None:
        return 0
    return classifier.load_backbone(upstream.state_dict())


def _share_head(classifier: ECGClassifier, resolved: Resolved, data: ECGDataModule) -> dict[str, str]:
    """Start the head's rows of shared labels with the upstream's; which they are, own label -> upstream's.

    Raises:
        ConfigError: That was asked for, and no label means the same.
    """
    upstream = resolved.upstream
    if upstream is None or resolved.config.transfer.head == "new":
        return {}
    shared = shared_labels(upstream.matches(data.config.corpus, data.label_names, data.config.root))
    if not shared:
        raise ConfigError(
            f"transfer.head=shared: no label of {upstream.name} ({', '.join(upstream.label_names)}) means the same as "
            f"one of {data.corpus.spec.name} ({', '.join(data.label_names)}); transfer.head=new does without. "
            f"`ecg-transfer labels {upstream.corpus} {data.config.corpus}` shows the map"
        )
    classifier.load_head(upstream.state_dict(), upstream.label_names, shared)
    return shared


def _overlap(resolved: Resolved, data: ECGDataModule) -> dict[str, int] | None:
    """Evaluated recordings that the upstream was trained on, with a warning where there are some."""
    upstream = resolved.upstream
    overlap = upstream.overlap(data) if upstream is not None else None
    if upstream is not None and overlap is not None and any(overlap.values()):
        counts = " and ".join(f"{count} of {len(data.rows[part])} {part}" for part, count in overlap.items())
        warnings.warn(
            f"{counts} records of {data.corpus.spec.name} are exact copies of ones that {upstream.name} was trained "
            "on: scores on them are no scores on new patients",
            RecordsOverlapWarning,
            stacklevel=2,
        )
    return overlap


def _clear(run: Run) -> None:
    """Remove what an attempt left that ended before its first whole epoch."""
    for name in ("metrics.jsonl", "predictions.npz", "scores.json", "best.ckpt", "DONE", "FAILED"):
        (run.path / name).unlink(missing_ok=True)
    for events in sorted((run.path / "tensorboard").glob("events.*")):
        events.unlink()


def _manifest(
    resolved: Resolved,
    datamodule: ECGDataModule,
    classifier: ECGClassifier,
    num_loaded: int,
    shared: dict[str, str],
    num_epochs: int,
) -> dict[str, Any]:
    before = resolved.run.attempts
    upstream = resolved.upstream
    return {
        "run": resolved.run.name,
        "config_digest": resolved.config.digest(),
        "data": datamodule.summary(),
        "model": {
            "backbone_parameters": sum(value.numel() for value in classifier.backbone.parameters()),
            "head_parameters": sum(value.numel() for value in classifier.head.parameters()),
            "numbers_from_upstream": num_loaded,
            "head_rows_from_upstream": shared,
        },
        "upstream": None
        if upstream is None
        else upstream.as_dict() | {"evaluated_records_in_its_training": _overlap(resolved, datamodule)},
        "checks": checks(resolved, datamodule),
        "num_epochs": num_epochs,
        "updates_per_epoch": len(datamodule.train_dataloader()),
        "seeds": {
            "run": resolved.config.seed,
            "split": resolved.config.data.split_seed,
            "subset": resolved.config.data.subset_seed,
        },
        **provenance(),
        "attempts": [*before, {"started": _now()}],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _quiet_lightning() -> None:
    """Silence Lightning's notes on devices and tips, and warnings about what is meant: they hide what a run says."""
    for message in (".*does not have many workers", ".*exists and is not empty", ".*LeafSpec"):
        warnings.filterwarnings("ignore", message)
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch"):
        logging.getLogger(name).setLevel(logging.WARNING)
