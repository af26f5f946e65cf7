"""What a pre-training without labels asks of its configuration; Lightning is not needed to tell."""

from __future__ import annotations

from ecg_transfer.config import ConfigError, RunConfig
from ecg_transfer.pretext.config import OWN_FIELDS, PretextConfig


def view_samples(config: RunConfig) -> int:
    """Samples of what the backbone of a pre-training without labels is given."""
    whole = config.data.num_samples
    return config.crops.num_samples(config.data) or (whole // 2 if config.pretext.task == "contrastive" else whole)


def require_pretext(config: RunConfig) -> None:
    """Refuse a pretext that this run cannot have, or a pre-training without labels that asks for them.

    Raises:
        ConfigError: The message says what to do instead.
    """
    pretext, plain = config.pretext, PretextConfig()
    for task, names in OWN_FIELDS.items():
        for name in names if task != pretext.task else ():
            if (value := getattr(pretext, name)) != getattr(plain, name):
                raise ConfigError(f"pretext.{name}={value} has no effect without pretext.task={task}: leave it out")
    if config.is_supervised:
        return
    if config.phase == "scratch":
        raise ConfigError(
            f"pretext.task={pretext.task} is for pre-trainings, and this run of phase scratch starts from nothing: "
            "leave it out"
        )
    if not pretext.temperature > 0:
        raise ConfigError(f"pretext.temperature is {pretext.temperature}, expected a number above 0, 0.1 say")
    if not 0 < pretext.mask_share < 1:
        raise ConfigError(f"pretext.mask_share is {pretext.mask_share}, expected a share between 0 and 1")
    if config.phase == "pretrain":
        _require_trainable(config)


def _require_trainable(config: RunConfig) -> None:
    """Look at the backbone, without its numbers: at the length of a view it must have the weights of the whole's."""
    for name in ("mixup", "label_smoothing", "balance"):
        if getattr(config.optim, name):
            raise ConfigError(
                f"optim.{name} is about labels, and pretext.task={config.pretext.task} has none: set it 0"
            )
    import torch

    from ecg_transfer.models import create_backbone
    from ecg_transfer.models.patch_transformer import PATCH_SAMPLES
    from ecg_transfer.pretext.module import head_of

    name, length = config.model.backbone, view_samples(config)
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        ours = create_backbone(name, num_samples=length)
        theirs = create_backbone(name, num_samples=config.data.num_samples)
        head_of(ours, name, config.pretext, 0.0)
    if config.pretext.task == "masked" and length <= PATCH_SAMPLES:
        raise ConfigError(
            f"pretext.task=masked fills in patches of {PATCH_SAMPLES} samples from others, and {length} samples hold "
            f"one: {'data.num_samples' if config.crops.seconds is None else 'crops.seconds'} has to be larger"
        )
    shapes = [{name: value.shape for name, value in each.state_dict().items()} for each in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise ConfigError(
            f"{name} has other weights for pieces of {length} samples than for records of {config.data.num_samples}: "
            f"what pretext.task={config.pretext.task} would learn could not be taken over. Take a backbone whose "
            "weights do not depend on the length"
        )
