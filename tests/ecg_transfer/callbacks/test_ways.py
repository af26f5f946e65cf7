"""Each way, trained: what moves and what does not, to the bit."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ecg_transfer.callbacks.l2_sp import L2SP
from ecg_transfer.callbacks.reestimate import ReestimateBatchNorm, reestimate
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.curve import read_curve
from ecg_transfer.windows import Windows
from tests.data_modules.fake_corpus import FakeCorpus
from tests.ecg_transfer.callbacks.staged_training import (
    NUM_EPOCHS,
    STAGED,
    State,
    finetune,
    pretrained,
    signals,
    write_corpus,
)
from tests.ecg_transfer.callbacks.test_resume import assert_same_run
from tests.ecg_transfer.tiny_backbone import StagedBackbone
from tests.ecg_transfer.tiny_training import tiny_data, weights_of


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def upstream() -> State:
    return pretrained()


def changed(one: State, other: State) -> set[str]:
    """Stages in which anything differs, statistics too."""
    return {name.partition(".")[0].partition("_")[0] for name in one if not torch.equal(one[name], other[name])}


def test_a_linear_probe_leaves_the_backbone_as_it_was_to_the_bit(
    corpus: FakeCorpus, tmp_path: Path, upstream: State
) -> None:
    noted = finetune(corpus, tmp_path, upstream, way="linear_probe")
    assert len(noted.states) == NUM_EPOCHS
    assert [changed(state, upstream) for state in noted.states] == [set()] * NUM_EPOCHS
    assert noted.training == [set()] * NUM_EPOCHS, "no dropout, no statistics"
    pl.seed_everything(0, verbose=False)
    fresh = ECGClassifier(STAGED, ("NORM", "AF", "MI"), num_samples=50)
    assert not torch.equal(weights_of(tmp_path / "last.ckpt")["head.weight"], fresh.head.weight)
    for record in read_curve(tmp_path / "metrics.jsonl"):
        assert set(record["movement"]["distance"].values()) == {0.0} == {record["movement"]["distance_all"]}
        assert record["movement"]["cka_embedding"] == pytest.approx(1.0, abs=1e-6)


def test_lp_ft_is_a_linear_probe_until_it_is_not(corpus: FakeCorpus, tmp_path: Path, upstream: State) -> None:
    finetune(corpus, tmp_path / "probe", upstream, way="linear_probe", stop_at=2)
    finetune(corpus, tmp_path / "lp_ft", upstream, way="lp_ft", probe_share=0.5, stop_at=2)
    probe, lp_ft = (weights_of(tmp_path / name / "last.ckpt") for name in ("probe", "lp_ft"))
    assert probe.keys() == lp_ft.keys()
    assert all(torch.equal(probe[name], lp_ft[name]) for name in probe)
    noted = finetune(corpus, tmp_path / "lp_ft", upstream, way="lp_ft", probe_share=0.5)
    assert [changed(state, upstream) for state in noted.states] == [{"stem", "block", "embedding"}] * 2


def test_gradual_unfreezing_comes_from_the_last_stage_back(corpus: FakeCorpus, tmp_path: Path, upstream: State) -> None:
    noted = finetune(corpus, tmp_path, upstream, way="gradual", unfreeze_share=0.75)
    before = [upstream, *noted.states[:-1]]
    moved = [changed(now, then) for now, then in zip(noted.states, before, strict=True)]
    assert moved == [set(), {"embedding"}, {"embedding", "block"}, {"embedding", "block", "stem"}]
    whole = {"", "stem", "stem_norm", "block", "block.0", "block.1", "block.2", "block.3", "embedding"}
    second = whole - {"stem", "stem_norm"}
    assert noted.training == [set(), {"", "embedding"}, second, whole]


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_scale(
    corpus: FakeCorpus, tmp_path: Path, upstream: State
) -> None:
    (state, *_) = finetune(corpus, tmp_path, upstream, batch_norm="frozen", stop_at=1).states
    for name, value in state.items():
        is_statistic = name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        assert torch.equal(value, upstream[name]) == is_statistic, name


def test_frozen_batch_norm_stays_frozen_whoever_asks_for_training(upstream: State) -> None:
    classifier = ECGClassifier(STAGED, ("AF",), num_samples=50)
    backbone = classifier.backbone
    assert isinstance(backbone, StagedBackbone)
    classifier.kept_in_evaluation = [backbone.stem_norm]
    for _ in range(2):
        classifier.eval()
        classifier.train()
        assert (backbone.stem_norm.training, backbone.block[1].training, backbone.training) == (False, True, True)


@pytest.mark.parametrize(
    "transfer",
    [
        {"way": "gradual", "unfreeze_share": 0.75},
        {"way": "lp_ft", "batch_norm": "reestimate"},
        {"way": "l2_sp", "l2_sp": 0.1},
        {"way": "layerwise", "head_lr": 3.0},
    ],
    ids=lambda transfer: str(transfer["way"]),
)
def test_a_resumed_fine_tuning_is_the_same_to_the_last_bit(
    corpus: FakeCorpus, tmp_path: Path, upstream: State, transfer: dict[str, Any]
) -> None:
    """Interrupted before and after what is frozen changes."""
    finetune(corpus, tmp_path / "whole", upstream, **transfer)
    for epoch in (1, 2, 3):
        finetune(corpus, tmp_path / "resumed", upstream, stop_at=epoch, **transfer)
    finetune(corpus, tmp_path / "resumed", upstream, **transfer)
    assert_same_run(tmp_path / "resumed", tmp_path / "whole")


def test_reestimated_statistics_are_numpys(upstream: State) -> None:
    backbone = StagedBackbone()
    backbone.load_state_dict(upstream)
    sizes = (7, 7, 2)
    reestimate(backbone, signals(sizes))
    with torch.no_grad():
        first = torch.cat([backbone.stem(signal) for signal in signals(sizes)]).double().numpy()
    np.testing.assert_allclose(backbone.stem_norm.running_mean, first.mean(axis=(0, 2)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(backbone.stem_norm.running_var, first.var(axis=(0, 2), ddof=1), rtol=1e-5)
    differing = {name for name, value in backbone.state_dict().items() if not torch.equal(value, upstream[name])}
    norms = ("stem_norm", "block.1")
    assert differing == {f"{norm}.{name}" for norm in norms for name in ("running_mean", "running_var")}
    assert all(module.training for module in backbone.modules())


def test_reestimated_statistics_of_deeper_layers_are_those_of_a_single_batch(upstream: State) -> None:
    """Against torch's own BatchNorm, which takes over a batch's statistics whole with momentum 1."""
    ours, torchs = StagedBackbone(), StagedBackbone(dropout=0.0)
    for backbone in (ours, torchs):
        backbone.load_state_dict(upstream)
    (batch,) = signals((16,))
    reestimate(ours, [batch])
    torchs.stem_norm.momentum = torchs.block[1].momentum = 1.0
    torchs.train()(batch)
    for name, value in torchs.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-6)


def test_a_fine_tuning_keeps_the_reestimated_statistics(corpus: FakeCorpus, tmp_path: Path, upstream: State) -> None:
    noted = finetune(corpus, tmp_path, upstream, batch_norm="reestimate", stop_at=2)
    backbone = StagedBackbone()
    backbone.load_state_dict(upstream)
    reestimate(backbone, [batch["signal"] for batch in tiny_data(corpus).ordered_loader("train", sharded=False)])
    for state in noted.states:
        for name, value in backbone.state_dict().items():
            if "running" in name:
                assert torch.equal(state[name], value)


def test_a_model_for_crops_is_reestimated_on_its_windows(corpus: FakeCorpus, upstream: State) -> None:
    data, windows = tiny_data(corpus), Windows(length=20, stride=10)
    classifier = ECGClassifier(STAGED, data.label_names, num_samples=20, windows=windows)
    backbone = StagedBackbone()
    for one in (classifier.backbone, backbone):
        one.load_state_dict(upstream)
    stub: Any = SimpleNamespace(current_epoch=0, datamodule=data)
    ReestimateBatchNorm().on_train_start(stub, classifier)
    signals = [batch["signal"] for batch in data.ordered_loader("train", sharded=False)]
    pieces = [signal[:, :, start : start + 20] for signal in signals for start in (0, 10, 20, 30)]
    reestimate(backbone, pieces)
    first = "stem_norm.running_mean", "stem_norm.running_var"
    for name in first:
        torch.testing.assert_close(classifier.backbone.state_dict()[name], backbone.state_dict()[name])
    stub.current_epoch = 1
    classifier.backbone.load_state_dict(upstream)
    ReestimateBatchNorm().on_train_start(stub, classifier)
    assert torch.equal(classifier.backbone.state_dict()[first[0]], upstream[first[0]]), "a resumed run has its own"


def test_the_gradient_of_l2_sp_is_autograds_of_the_penalty(upstream: State) -> None:
    alpha, beta = 0.3, 0.07
    pl.seed_everything(1, verbose=False)
    classifier = ECGClassifier(STAGED, ("AF", "MI"), num_samples=50)
    classifier.backbone.load_state_dict(upstream)
    with torch.no_grad():
        for weight in classifier.parameters():
            weight.add_(torch.randn_like(weight))
    (signal,) = signals((8,))
    target = (torch.rand(8, 2) > 0.5).float()
    written = copy.deepcopy(classifier).eval()
    backbone = dict(written.backbone.named_parameters())
    penalty = alpha / 2 * sum(((weight - upstream[name]) ** 2).sum() for name, weight in backbone.items())
    penalty += beta / 2 * sum((weight**2).sum() for weight in written.head.parameters())
    (binary_cross_entropy_with_logits(written(signal), target) + penalty).backward()
    binary_cross_entropy_with_logits(classifier.eval()(signal), target).backward()
    L2SP(upstream, alpha, beta).on_after_backward(pl.Trainer(logger=False, accelerator="cpu"), classifier)
    for ours, theirs in zip(classifier.parameters(), written.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_stronger_pull_stays_nearer(corpus: FakeCorpus, tmp_path: Path, upstream: State) -> None:
    ends = []
    for strength in (0.0, 0.1, 10.0):
        folder = tmp_path / str(strength)
        finetune(corpus, folder, upstream, way="l2_sp", l2_sp=strength)
        ends.append(read_curve(folder / "metrics.jsonl")[-1]["movement"]["distance_all"])
    assert ends[0] > ends[1] > ends[2] > 0
