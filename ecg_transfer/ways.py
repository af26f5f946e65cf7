"""The ways to transfer: which stages are trained in an epoch, at what rate, and what such a run asks for.

All of it follows from the configuration and the number of the epoch, so that an interrupted run goes on as it would
have. A backbone's stages are frozen from the signal on; one with a single stage (a recurrent net, a module of one's
own) is frozen as a whole, and `gradual` is then `lp_ft` by another name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ecg_transfer.config import ConfigError, OptimConfig, RunConfig, TransferConfig
from ecg_transfer.config_reading import departures
from ecg_transfer.models import Backbone
from ecg_transfer.way_names import NUMBERS

FREEZING = ("linear_probe", "lp_ft", "gradual")
"""Ways in which some weights get no gradient in some epochs."""

LR_FACTOR = "lr_factor"
"""In a group of the optimizer: its rate as a multiple of `optim.lr`."""

PHASED = ("lp_ft", "gradual")
"""Those in which that changes, so that one epoch is too few."""


def num_frozen_stages(transfer: TransferConfig, epoch: int, num_epochs: int, num_stages: int) -> int:
    """How many stages, counted from the signal, are not trained in an epoch.

    Args:
        transfer: The way.
        epoch: From 0.
        num_epochs: Of the whole training.
        num_stages: Of the backbone.

    Returns:
        0 trains all, `num_stages` the head alone.

    Example:
        >>> [num_frozen_stages(TransferConfig(way="gradual"), epoch, 8, 2) for epoch in range(8)]
        [2, 2, 1, 1, 0, 0, 0, 0]
    """
    if transfer.way == "linear_probe":
        return num_stages
    if transfer.way == "lp_ft":
        return num_stages if epoch < num_probe_epochs(transfer, num_epochs) else 0
    if transfer.way == "gradual":
        num_trained = math.floor(epoch * num_stages / (transfer.unfreeze_share * num_epochs) + 1e-9)
        return max(0, num_stages - num_trained)
    return 0


def num_probe_epochs(transfer: TransferConfig, num_epochs: int) -> int:
    """Epochs of the probe of `lp_ft`: its share, and at least one of either kind."""
    return min(max(1, round(transfer.probe_share * num_epochs)), num_epochs - 1)


def first_whole_epoch(transfer: TransferConfig, num_epochs: int) -> int:
    """The first epoch from which on as many weights are trained as ever."""
    if transfer.way not in PHASED:
        return 0
    return next(epoch for epoch in range(num_epochs + 1) if num_frozen_stages(transfer, epoch, num_epochs, 1) == 0)


def stage_names(backbone: Backbone) -> list[str]:
    """A name for each stage, unique within the backbone: that of its first module, `layer1` say."""
    names = {id(module): name for name, module in backbone.named_modules()}
    return [names[id(stage[0])] for stage in backbone.stages()]


def stage_parameters(backbone: Backbone) -> list[list[nn.Parameter]]:
    """The weights of each stage, from the signal to the embedding.

    Raises:
        ConfigError: A weight is in no stage, or in two; or the backbone lists no stages.
    """
    try:
        listed_modules = backbone.stages()
    except NotImplementedError:
        raise ConfigError(
            f"{type(backbone).__name__} has no method stages() that lists its parts; write one, or take "
            "transfer.way=full"
        ) from None
    stages = [
        list({id(value): value for module in stage for value in module.parameters()}.values())
        for stage in listed_modules
    ]
    listed = Counter(id(value) for stage in stages for value in stage)
    problems = [name for name, value in backbone.named_parameters() if listed[id(value)] != 1]
    if problems:
        raise ConfigError(
            f"{type(backbone).__name__}.stages() has the weights {', '.join(problems[:4])} in no stage or in several; "
            "list each in exactly one, or take transfer.way=full"
        )
    return stages


def lists_stages(backbone: Backbone) -> bool:
    """Whether a backbone says of each weight in which stage it is; one of the user's own need not."""
    try:
        stage_parameters(backbone)
    except ConfigError:
        return False
    return True


def parameter_groups(
    backbone: Backbone, head: nn.Module, transfer: TransferConfig, optim: OptimConfig
) -> list[dict[str, Any]]:
    """The optimizer's groups: every weight from the start, those that are frozen at first too.

    Adam and AdamW leave a weight alone that has no gradient, its decay and its moments too.

    Args:
        backbone: With its stages.
        head: The new one.
        transfer: The way.
        optim: The base rate and the weight decay.

    Returns:
        A group of all weights where they have one rate; else the head's first, then the stages from the last back.
    """
    decay = 0.0 if transfer.way == "l2_sp" else optim.weight_decay
    if transfer.way != "layerwise":
        groups = [(transfer.head_lr, list(head.parameters())), (1.0, list(backbone.parameters()))]
        if transfer.head_lr == 1.0:
            groups = [(1.0, [*backbone.parameters(), *head.parameters()])]
    else:
        groups = [(transfer.head_lr, list(head.parameters()))]
        groups += [
            (transfer.layer_decay**depth, stage)
            for depth, stage in enumerate(reversed(stage_parameters(backbone)), start=1)
        ]
    return [
        {"params": values, "lr": optim.lr * factor, "weight_decay": decay, LR_FACTOR: factor}
        for factor, values in groups
        if values
    ]


def kept_in_evaluation(backbone: Backbone, transfer: TransferConfig, num_frozen: int) -> list[nn.Module]:
    """The modules that stay in evaluation mode while the rest is trained: frozen stages whole, and frozen BatchNorm.

    A frozen stage is frozen with its statistics and without dropout: its output for a record is always the same.

    Args:
        backbone: With its stages.
        transfer: The way.
        num_frozen: Stages that are not trained, counted from the signal.
    """
    stages = backbone.stages()
    if num_frozen == len(stages):
        return [backbone]
    frozen = [module for stage in stages[:num_frozen] for module in stage]
    return frozen if transfer.batch_norm == "train" else [*frozen, *batch_norms([backbone])]


def batch_norms(modules: Sequence[nn.Module]) -> list[_BatchNorm]:
    """The BatchNorm layers within some modules."""
    return [layer for module in modules for layer in module.modules() if isinstance(layer, _BatchNorm)]


def require_sensible(config: RunConfig) -> None:
    """Refuse what no run can do.

    Raises:
        ConfigError: A way for a run that starts from nothing, or a setting that changes nothing.
    """
    transfer, plain = config.transfer, TransferConfig()
    if config.phase != "finetune":
        for name in vars(plain).keys() - {"allow_simulated"}:
            if getattr(transfer, name) != getattr(plain, name):
                raise ConfigError(
                    f"transfer.{name}={getattr(transfer, name)} is for fine-tunings; this run is of phase "
                    f"{config.phase}, which starts from no upstream: leave it out"
                )
    require_effect(config)


def require_effect(config: RunConfig) -> None:
    """Refuse settings that change nothing beside others: who gave them believes them in force.

    Raises:
        ConfigError: There is one that the recipe does not have by itself.
    """
    way_of = {f"transfer.{name}": way for way, names in NUMBERS.items() for name in names}
    needed = {name: (f"transfer.way={way}", config.transfer.way == way) for name, way in way_of.items()}
    needed["optim.warmup"] = "optim.schedule=cosine", config.optim.schedule == "cosine"
    for name in ("data.val_fraction", "data.test_fraction"):
        needed[name] = "data.split=patient", config.data.split == "patient"
    for name in ("crops.windows", "crops.stride_seconds"):
        needed[name] = "crops.seconds", config.crops.seconds is not None
    for name, value in departures(config).items():
        other, is_given = needed.get(name, ("", True))
        if not is_given:
            raise ConfigError(f"{name}={value} has no effect without {other}: leave it out, or give that too")


def require_possible(transfer: TransferConfig, backbone: Backbone, num_epochs: int) -> None:
    """Refuse what this backbone and this many epochs cannot do.

    Raises:
        ConfigError: Stages that do not hold every weight once, one epoch for a way of two phases, or a choice about
            BatchNorm where there is none.
    """
    if transfer.way in (*FREEZING, "layerwise"):
        stage_parameters(backbone)
    if transfer.way in PHASED and num_epochs < 2:
        raise ConfigError(f"transfer.way={transfer.way} needs two epochs or more, this training has {num_epochs}")
    if transfer.batch_norm != "train" and not batch_norms([backbone]):
        raise ConfigError(
            f"transfer.batch_norm={transfer.batch_norm}: this {type(backbone).__name__} has no BatchNorm; leave it out"
        )
