"""A run's story: data, model, upstream's weights, training, scores, seal."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from data_modules.claim import is_first_process, require_held
from data_modules.datamodule import ECGDataModule
from data_modules.label_map import shared_labels
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.compilation import compile_backbone
from ecg_transfer.config import ConfigError, RunConfig
from ecg_transfer.config_reading import departures
from ecg_transfer.data_identity import refuse_other_data, require_same_upstream
from ecg_transfer.evaluation import Untrained, write_scores
from ecg_transfer.files import write_json
from ecg_transfer.learner import Learner
from ecg_transfer.manifest import describe, now
from ecg_transfer.pretext.module import PretextModule
from ecg_transfer.pretext.requirements import view_samples
from ecg_transfer.resolve import Resolved
from ecg_transfer.resume import newest_state, recover
from ecg_transfer.runs import Run, save_config
from ecg_transfer.trainer import build_trainer, fit, num_devices, way_callbacks
from ecg_transfer.ways import require_possible
from ecg_transfer.weights import require_numbers
from ecg_transfer.windows import Windows


def fit_and_score(resolved: Resolved, *, progress: bool | None) -> None:
    """Train a resolved run from its last good state to its end, score its best weights, and seal it."""
    config, run = resolved.config, resolved.run
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = ECGDataModule(
        config.data,
        crops=config.crops,
        augment=config.augment,
        positives=config.pretext.positives if config.pretext.task == "contrastive" else None,
        batch_size=config.optim.batch_size,
        seed=config.seed,
        progress=progress,
    )
    data.setup()
    require_monitored(config, data)
    updates_per_epoch = data.updates_per_epoch(num_devices(config))
    if not updates_per_epoch:
        raise ConfigError(
            f"{len(data.rows['train'])} training records are not one for each of {num_devices(config)} devices: take "
            "fewer with trainer.devices"
        )
    num_epochs = config.optim.num_epochs(updates_per_epoch)
    _say_what_overrules(config, num_epochs)
    learner = _learner(config, data)
    require_possible(config.transfer, learner.backbone, num_epochs)
    if config.is_supervised:
        require_numbers(learner.state_dict())  # what could not be read again is refused before it is trained
    if config.trainer.precision == 64:
        learner.double()
    num_loaded, untrained = _load_upstream(learner, resolved, data)
    is_first = num_devices(config) == 1 or is_first_process()
    state = _state_to_go_on_from(resolved, data, is_first=is_first)
    shared = _share_head(learner, resolved, data, untrained)
    trainer = build_trainer(config, run, data, num_epochs, progress, way_callbacks(config, learner))
    if config.trainer.compile:
        compile_backbone(learner.backbone, trainer.strategy.root_device)
    if trainer.is_global_zero:
        if state is not None and trainer.strategy.root_device.type == "cpu":
            _say_other_threads(run.attempts)
        run.path.mkdir(parents=True, exist_ok=True)
        save_config(run.path / "config.yaml", config)
        if resolved.upstream is not None:
            resolved.upstream.leave_records(run.path)
        manifest = describe(resolved, data, learner, num_loaded, shared, num_epochs, updates_per_epoch)
        write_json(run.path / "manifest.json", manifest)
    started = time.perf_counter()
    fit(trainer, learner, data, state)
    if not trainer.is_global_zero:
        return
    write_scores(run, data, trainer.strategy.root_device, untrained)
    manifest["finished"] = now()
    manifest["attempts"][-1]["seconds"] = round(time.perf_counter() - started, 1)
    write_json(run.path / "manifest.json", manifest)
    require_held(run.path)
    run.seal()
    run.tidy()


def _say_what_overrules(config: RunConfig, num_epochs: int) -> None:
    """Warn where other epochs than the recipe's were asked for, and its updates take more of them."""
    optim = config.optim
    if optim.max_updates is None and num_epochs > optim.max_epochs and "optim.max_epochs" in departures(config):
        warnings.warn(
            f"{num_epochs} epochs and not optim.max_epochs={optim.max_epochs}: on these records "
            f"optim.min_updates={optim.min_updates} takes so many; optim.min_updates=0 leaves it at the epochs",
            stacklevel=2,
        )


def _say_other_threads(attempts: Sequence[Mapping[str, Any]]) -> None:
    """Warn where a run goes on with another number of threads than it was begun with: they add up in another order."""
    now, before = torch.get_num_threads(), attempts[-1].get("threads") if attempts else None
    if before not in (None, now):
        warnings.warn(
            f"begun with {before} threads, this run goes on with {now}: its weights will be, bit for bit, those of "
            f"neither; OMP_NUM_THREADS={before} goes on as it began",
            stacklevel=2,
        )


def _learner(config: RunConfig, data: ECGDataModule) -> Learner:
    """What is trained: all in which a training with labels and one without them differ, but for their scores."""
    if not config.is_supervised:
        return PretextModule(
            config.model.backbone,
            config.pretext,
            num_samples=view_samples(config),
            dropout=config.model.dropout,
            optim=config.optim,
        )
    classifier = ECGClassifier(
        config.model.backbone,
        data.label_names,
        num_samples=config.data.num_samples,
        windows=Windows.of(config.crops, config.data),
        dropout=config.model.dropout,
        optim=config.optim,
        transfer=config.transfer,
    )
    classifier.balance(data.labels[data.rows["train"]])
    return classifier


def _state_to_go_on_from(resolved: Resolved, data: ECGDataModule, *, is_first: bool) -> Path | None:
    """The state of an interrupted attempt; what an attempt without one left is removed."""
    run = resolved.run
    damaged = run.damaged
    if is_first:  # a damaged one must not vouch for what this attempt writes
        (run.path / "DONE").unlink(missing_ok=True)
    state, said = recover(run.path) if is_first else newest_state(run.path)
    if is_first:
        if damaged and state is None:
            said.append(f"{run.path} was finished, and {', '.join(damaged)} is missing or cut: it begins anew")
        sys.stderr.writelines(f"{sentence}\n" for sentence in said)
        for events in sorted((run.path / "tensorboard").glob("events.*")):  # torn, or beyond the state
            events.unlink()
    if state is not None:
        refuse_other_data(run, data.digest())
        require_same_upstream(run, resolved.upstream)
    elif is_first:
        _clear(run)
    return state


def _clear(run: Run) -> None:
    """Remove what an attempt left that ended before its first whole epoch."""
    for name in ("metrics.jsonl", "predictions.npz", "scores.json", "best.ckpt", "FAILED"):
        (run.path / name).unlink(missing_ok=True)


def require_monitored(config: RunConfig, data: ECGDataModule) -> None:
    """Refuse to choose epochs by an AUROC that validation or test records do not have."""
    for part in ("val", "test") if config.selection[0] == "auroc_macro" else ():
        present = data.labels[data.rows[part]].mean(axis=0)
        if not ((present > 0) & (present < 1)).any():
            raise ValueError(
                f"monitor=auroc_macro: no label has positives and negatives among the {len(data.rows[part])} {part} "
                f"records of {data.corpus.spec.name}; choose the epoch by monitor=f1_weighted"
            )


def _load_upstream(learner: Learner, resolved: Resolved, data: ECGDataModule) -> tuple[int, Untrained | None]:
    """Start the backbone from the upstream's: how many numbers; and the model with the upstream's head, if it fits."""
    upstream = resolved.upstream
    if upstream is None:
        return 0, None
    assert isinstance(learner, ECGClassifier)
    state = upstream.state_dict()
    num_loaded = learner.load_backbone(state)
    shared = shared_labels(upstream.matches(data.config.corpus, data.label_names, data.config.root))
    if not shared:
        return num_loaded, None
    untrained = deepcopy(learner)
    untrained.load_head(state, upstream.label_names, shared)
    return num_loaded, Untrained(classifier=untrained, shared=shared)


def _share_head(
    learner: Learner, resolved: Resolved, data: ECGDataModule, untrained: Untrained | None
) -> dict[str, str]:
    """Start the head's rows of shared labels with the upstream's; which they are, own label -> upstream's.

    Raises:
        ConfigError: That was asked for, and no label means the same.
    """
    upstream = resolved.upstream
    if upstream is None or resolved.config.transfer.head == "new":
        return {}
    if not upstream.label_names:
        raise ConfigError(f"transfer.head=shared: {upstream.name} was trained without labels and has no head")
    if untrained is None:
        raise ConfigError(
            f"transfer.head=shared: no label of {upstream.name} ({', '.join(upstream.label_names)}) means the same as "
            f"one of {data.corpus.spec.name} ({', '.join(data.label_names)}); transfer.head=new does without. "
            f"`ecg-transfer labels {upstream.corpus} {data.config.corpus}` shows the map"
        )
    learner.load_state_dict(untrained.classifier.state_dict())
    return dict(untrained.shared)
