"""The verbs: pre-train, fine-tune or train from scratch; one run from start to end."""

from __future__ import annotations

import os
from pathlib import Path

from lightning_fabric.utilities.exceptions import MisconfigurationException

from data_modules.claim import claimed
from data_modules.datamodule import ECGDataModule
from ecg_transfer.compilation import explained_compilation
from ecg_transfer.config import ConfigError, RunConfig
from ecg_transfer.config_reading import Overrides, make_config
from ecg_transfer.data_identity import require_same_data, require_same_upstream
from ecg_transfer.devices import require_devices
from ecg_transfer.fitting import fit_and_score
from ecg_transfer.memory import explained
from ecg_transfer.precision import require_precision
from ecg_transfer.pretext.requirements import require_pretext
from ecg_transfer.resolve import pretrain_config, refuse_simulated_upstream, resolve
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, RunNotFoundError
from ecg_transfer.trainer import num_devices, quiet_lightning
from ecg_transfer.training_settings import training_settings
from ecg_transfer.ways import require_sensible


def datamodule(corpus: str, *, recipe: str = "paper", overrides: Overrides = ()) -> ECGDataModule:
    """A corpus as a data module that is set up, prepared and split as a run of this recipe would have it.

    Args:
        corpus: Name of the corpus.
        recipe: A key of `ecg_transfer.recipes.RECIPES`.
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
        recipe: A key of `ecg_transfer.recipes.RECIPES`.
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
    upstream: str | os.PathLike[str],
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
        upstream: A corpus name, whose pre-training is looked up; a run, its name or directory; or an exported model's
            folder.
        backbone: As the upstream's.
        recipe: As for `pretrain`.
        seed: As for `pretrain`.
        overrides: As for `pretrain`.
        output: As for `pretrain`.
        progress: As for `pretrain`.
        with_pretrain: Pre-train first where that is missing, as `ecg_transfer.resolve.pretrain_config` says.

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
        CompilationError: torch.compile fails here.
        OutOfMemoryError: It needs more memory than there is; the message says what needs less.
        ConfigError: A way to transfer, or to pre-train without labels, that makes no sense here; or a precision that
            this machine does not compute in, or devices that it does not have.
        DataChangedError: The run is there, of other data or from another upstream than would be taken today.
    """
    require_sensible(config)
    require_pretext(config)
    try:
        resolved = resolve(config, Path(output))
    except RunNotFoundError:
        if not (with_pretrain and config.phase == "finetune"):
            raise
        refuse_simulated_upstream(config)
        train(pretrain_config(config), output=output, progress=progress)
        resolved = resolve(config, Path(output))
    run = resolved.run
    if run.is_done:
        require_same_upstream(run, resolved.upstream)
        require_same_data(run, resolved.config)
        run.tidy()
        return run
    from ecg_transfer.models import require_name  # PyTorch, which a finished run can do without

    require_name(config.model.backbone)
    require_devices(resolved.config)
    require_precision(resolved.config)
    quiet_lightning()
    with claimed(run.path, distributed=num_devices(config) > 1):
        if run.is_done:  # by another process, a moment ago
            return run
        try:
            with training_settings():
                fit_and_score(resolved, progress=progress)
        except Exception as found:
            error = explained(explained_compilation(found), config)
            if isinstance(found, MisconfigurationException):  # Lightning's word on a setting
                error = ConfigError(" ".join(str(found).split()))
            if run.path.exists():
                run.fail(error)
            if error is found:
                raise
            raise error from found
    return run
