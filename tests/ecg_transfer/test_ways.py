"""What each way trains in which epoch, and at what rate: checked against lists written by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from ecg_transfer.config import ConfigError, OptimConfig, TransferConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.models import BACKBONES, Backbone, create_backbone
from ecg_transfer.optim import configure
from ecg_transfer.runs import run_name
from ecg_transfer.ways import (
    batch_norms,
    first_whole_epoch,
    kept_in_evaluation,
    num_frozen_stages,
    num_probe_epochs,
    parameter_groups,
    require_possible,
    require_sensible,
    stage_names,
    stage_parameters,
)

RESNET_STAGES = ["conv1", "layer1", "layer2", "layer3", "layer4", "embedding"]


def frozen(transfer: TransferConfig, num_epochs: int, num_stages: int) -> list[int]:
    return [num_frozen_stages(transfer, epoch, num_epochs, num_stages) for epoch in range(num_epochs)]


@pytest.mark.parametrize(
    ("transfer", "num_epochs", "num_stages", "expected"),
    [
        (TransferConfig(), 3, 6, [0, 0, 0]),
        (TransferConfig(way="layerwise"), 3, 6, [0, 0, 0]),
        (TransferConfig(way="l2_sp"), 3, 6, [0, 0, 0]),
        (TransferConfig(way="linear_probe"), 3, 6, [6, 6, 6]),
        (TransferConfig(way="lp_ft"), 4, 6, [6, 6, 0, 0]),
        (TransferConfig(way="lp_ft", probe_share=0.2), 10, 6, [6, 6, 0, 0, 0, 0, 0, 0, 0, 0]),
        (TransferConfig(way="lp_ft", probe_share=0.01), 4, 6, [6, 0, 0, 0]),
        (TransferConfig(way="lp_ft", probe_share=1.0), 4, 6, [6, 6, 6, 0]),
        (TransferConfig(way="lp_ft"), 2, 1, [1, 0]),
        # six stages over half of 24 epochs: one every other epoch
        (TransferConfig(way="gradual"), 24, 6, [6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1] + 12 * [0]),
        (TransferConfig(way="gradual", unfreeze_share=1.0), 6, 6, [6, 5, 4, 3, 2, 1]),
        # six stages over three epochs: two at a time
        (TransferConfig(way="gradual", unfreeze_share=0.75), 4, 6, [6, 4, 2, 0]),
        (TransferConfig(way="gradual", unfreeze_share=0.1), 4, 6, [6, 0, 0, 0]),
        # three stages over thirds that binary fractions cannot hold
        (TransferConfig(way="gradual", unfreeze_share=0.3), 10, 3, [3, 2, 1, 0, 0, 0, 0, 0, 0, 0]),
        # a recurrent net: as lp_ft
        (TransferConfig(way="gradual"), 4, 1, [1, 1, 0, 0]),
    ],
)
def test_what_is_frozen_in_each_epoch(
    transfer: TransferConfig, num_epochs: int, num_stages: int, expected: list[int]
) -> None:
    assert frozen(transfer, num_epochs, num_stages) == expected


def test_a_probe_leaves_an_epoch_for_the_rest() -> None:
    assert [num_probe_epochs(TransferConfig(probe_share=0.5), epochs) for epochs in (2, 3, 4, 10)] == [1, 2, 2, 5]


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_the_stages_of_every_backbone_have_names_and_hold_each_weight_once(name: str) -> None:
    with torch.device("meta"):
        backbone = create_backbone(name)
    names = stage_names(backbone)
    assert len(set(names)) == len(names) == len(backbone.stages())
    listed = [id(weight) for stage in stage_parameters(backbone) for weight in stage]
    assert sorted(listed) == sorted(id(weight) for weight in backbone.parameters())


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return create_backbone("resnet1d18")


def test_resnet_stages(resnet: Backbone) -> None:
    assert stage_names(resnet) == RESNET_STAGES


class Forgetful(Backbone):
    """Its second layer is in no stage."""

    def __init__(self) -> None:
        super().__init__(num_leads=12, num_features=2)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 2)

    def stages(self) -> list[list[nn.Module]]:
        return [[self.first]]


def test_a_weight_in_no_stage_is_named() -> None:
    with pytest.raises(ConfigError, match=r"Forgetful.stages\(\) has the weights second.weight, second.bias in no"):
        stage_parameters(Forgetful())
    with pytest.raises(ConfigError, match="second"):
        require_possible(TransferConfig(way="linear_probe"), Forgetful(), 2)


def test_a_backbone_without_stages_is_told_what_to_do() -> None:
    backbone = Backbone(num_leads=12, num_features=3)
    require_possible(TransferConfig(), backbone, 3)
    with pytest.raises(ConfigError, match=r"Backbone has no method stages\(\).*or take transfer.way=full"):
        require_possible(TransferConfig(way="layerwise"), backbone, 3)


def rates(backbone: Backbone, optim: OptimConfig, transfer: TransferConfig) -> dict[str, float]:
    """The optimizer's rate of every weight, by name."""
    head = nn.Linear(backbone.num_features, 3)
    optimizer = configure(parameter_groups(backbone, head, transfer, optim), optim, 100)["optimizer"]
    by_weight = {id(weight): float(group["lr"]) for group in optimizer.param_groups for weight in group["params"]}
    named = [*backbone.named_parameters(), *((f"head.{name}", weight) for name, weight in head.named_parameters())]
    assert len(by_weight) == len(named), "every weight is in the optimizer, and once"
    return {name: by_weight[id(weight)] for name, weight in named}


def test_layerwise_rates_fall_towards_the_signal(resnet: Backbone) -> None:
    found = rates(resnet, OptimConfig(lr=0.064), TransferConfig(way="layerwise", layer_decay=0.5))
    expected = {"head.": 0.064, "embedding.": 0.032, "layer4.": 0.016, "layer3.": 0.008, "layer2.": 0.004}
    expected |= {"layer1.": 0.002, "conv1.": 0.001, "bn1.": 0.001}
    for name, rate in found.items():
        (stage,) = (stage for stage in expected if name.startswith(stage))
        assert rate == pytest.approx(expected[stage], rel=1e-12), name


def test_layerwise_rates_follow_one_schedule(resnet: Backbone) -> None:
    for schedule in ("one_cycle", "cosine"):
        optim = OptimConfig(lr=0.064, schedule=schedule, optimizer="adamw", warmup=0.1)  # type: ignore[arg-type]
        transfer = TransferConfig(way="layerwise", layer_decay=0.5)
        groups = parameter_groups(resnet, nn.Linear(512, 3), transfer, optim)
        configured = configure(groups, optim, 20)
        optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
        plain = configure([nn.Parameter(torch.ones(1))], optim, 20)
        for _ in range(19):
            base = plain["optimizer"].param_groups[0]["lr"]
            found = [group["lr"] for group in optimizer.param_groups]
            assert found == pytest.approx([base * 0.5**depth for depth in range(7)], rel=1e-9)
            for one, steps in ((optimizer, scheduler), (plain["optimizer"], plain["lr_scheduler"]["scheduler"])):
                one.step()
                steps.step()


@pytest.mark.parametrize("way", ["full", "linear_probe", "lp_ft", "gradual", "l2_sp"])
def test_other_ways_have_one_rate_but_for_the_heads(resnet: Backbone, way: str) -> None:
    transfer = TransferConfig(way=way)  # type: ignore[arg-type]
    assert set(rates(resnet, OptimConfig(lr=0.02), transfer).values()) == {0.02}
    transfer.head_lr = 5.0
    for name, rate in rates(resnet, OptimConfig(lr=0.02), transfer).items():
        assert rate == pytest.approx(0.1 if name.startswith("head.") else 0.02)


def test_l2_sp_takes_the_place_of_weight_decay(resnet: Backbone) -> None:
    optim = OptimConfig(weight_decay=0.3)
    for transfer, expected in ((TransferConfig(), 0.3), (TransferConfig(way="l2_sp"), 0.0)):
        groups = parameter_groups(resnet, nn.Linear(512, 3), transfer, optim)
        assert [group["weight_decay"] for group in groups] == [expected]


def test_what_stays_in_evaluation_mode(resnet: Backbone) -> None:
    norms = batch_norms([resnet])
    assert len(norms) == 20, "one in the stem, two in each of eight blocks, three shortcuts"
    assert kept_in_evaluation(resnet, TransferConfig(), 0) == []
    assert kept_in_evaluation(resnet, TransferConfig(batch_norm="frozen"), 0) == norms
    assert kept_in_evaluation(resnet, TransferConfig(way="linear_probe"), 6) == [resnet]
    two = kept_in_evaluation(resnet, TransferConfig(way="gradual"), 2)
    assert two == [resnet.conv1, resnet.bn1, resnet.layer1]


@pytest.mark.parametrize(
    ("phase", "overrides", "message"),
    [
        ("scratch", {"transfer.way": "lp_ft"}, "transfer.way=lp_ft is for fine-tunings; this run is of phase scratch"),
        ("pretrain", {"transfer.batch_norm": "frozen"}, "transfer.batch_norm=frozen is for fine-tunings"),
        ("scratch", {"transfer.layer_decay": 0.9}, "transfer.layer_decay=0.9 is for fine-tunings"),
        ("scratch", {"transfer.upstream": "cpsc2018"}, "transfer.upstream=cpsc2018 is for fine-tunings"),
        ("finetune", {"transfer.layer_decay": 0.3}, "transfer.layer_decay=0.3 has no effect without transfer.way="),
        ("finetune", {"transfer.way": "lp_ft", "transfer.l2_sp": 0.1}, "without transfer.way=l2_sp: leave it out"),
        ("scratch", {"optim.warmup": 0.1}, "optim.warmup=0.1 has no effect without optim.schedule=cosine"),
        ("scratch", {"data.split": "paper", "data.test_fraction": 0.5}, "no effect without data.split=patient"),
        ("scratch", {"crops.windows": "mean"}, "crops.windows=mean has no effect without crops.seconds"),
    ],
)
def test_what_makes_no_sense_is_refused(phase: str, overrides: Mapping[str, object], message: str) -> None:
    config = make_config(phase, "ptb", overrides=overrides)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=message):
        require_sensible(config)


def test_what_a_recipe_has_by_itself_is_not_refused() -> None:
    require_sensible(make_config("scratch", "ptb", recipe="ptbxl_best", overrides={"crops.seconds": None}))
    fields = {"transfer.way": "lp_ft", "transfer.probe_share": 0.3, "optim.schedule": "cosine", "optim.warmup": 0.1}
    require_sensible(make_config("finetune", "ptb", overrides=fields))


@pytest.mark.parametrize("num_epochs", [2, 3, 7, 10])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("num_stages", [1, 4])
def test_all_is_trained_from_the_first_whole_epoch_on(num_epochs: int, share: float, num_stages: int) -> None:
    for way in ("full", "layerwise", "l2_sp", "lp_ft", "gradual"):
        transfer = TransferConfig(way=way, probe_share=share, unfreeze_share=share)  # type: ignore[arg-type]
        frozen = [num_frozen_stages(transfer, epoch, num_epochs, num_stages) for epoch in range(num_epochs)]
        whole = [epoch for epoch, count in enumerate(frozen) if count == 0]
        assert first_whole_epoch(transfer, num_epochs) == (min(whole) if whole else num_epochs)
    assert first_whole_epoch(TransferConfig(way="linear_probe"), num_epochs) == 0  # it never trains more


def test_what_a_backbone_or_a_budget_cannot_do_is_refused(resnet: Backbone) -> None:
    require_possible(TransferConfig(way="gradual", batch_norm="frozen"), resnet, 2)
    for way in ("lp_ft", "gradual"):
        with pytest.raises(ConfigError, match="needs two epochs or more, this training has 1"):
            require_possible(TransferConfig(way=way), resnet, 1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="this RecurrentBackbone has no BatchNorm"):
        require_possible(TransferConfig(batch_norm="frozen"), create_backbone("gru_mean"), 2)


def test_a_runs_name_tells_its_way() -> None:
    plain = make_config("finetune", "ptb", upstream="run", seed=1)
    assert run_name(plain, "ptbxl").startswith("finetune-ptb-from-ptbxl-resnet1d18-s1-")
    other = make_config(
        "finetune", "ptb", upstream="run", overrides={"transfer.way": "lp_ft", "transfer.batch_norm": "frozen"}
    )
    assert run_name(other, "ptbxl").startswith("finetune-ptb-from-ptbxl-resnet1d18-lp_ft-frozen_bn-s0-")
