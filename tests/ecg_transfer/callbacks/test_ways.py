"""Each way, trained: what moves and what does not, to the bit; and what is measured of it."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits

from ecg_transfer.callbacks.l2_sp import L2SP
from ecg_transfer.callbacks.movement import Movement
from ecg_transfer.callbacks.reestimate import ReestimateBatchNorm, reestimate
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import OptimConfig, RunConfig, TransferConfig
from ecg_transfer.curve import read_curve
from ecg_transfer.models import create_backbone
from ecg_transfer.trainer import way_callbacks
from ecg_transfer.windows import Windows
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.callbacks.test_resume import StopAt, assert_same_run
from tests.ecg_transfer.test_cka import hsic_by_quadruples
from tests.ecg_transfer.tiny_backbone import StagedBackbone
from tests.ecg_transfer.tiny_training import fit, tiny_data, tiny_trainer, weights_of

STAGED = "tests.ecg_transfer.tiny_backbone:StagedBackbone"
NUM_EPOCHS = 4
OPTIM: dict[str, Any] = {"lr": 0.05, "batch_size": 8, "optimizer": "adamw", "schedule": "one_cycle"}
OPTIM |= {"weight_decay": 0.1}
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(40, seed=1))


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def upstream() -> State:
    """Weights and statistics as a pre-training might leave them."""
    generator = torch.Generator().manual_seed(5)
    pl.seed_everything(7, verbose=False)
    backbone = StagedBackbone()
    for name, value in backbone.named_buffers():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1 * name.endswith("var"))
    return {name: value.clone() for name, value in backbone.state_dict().items()}


class Noted(pl.Callback):
    """The backbone's state after each epoch, and what was in training mode in it."""

    def __init__(self) -> None:
        self.states: list[State] = []
        self.training: list[set[str]] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *rest: object) -> None:
        modules = pl_module.backbone.named_modules()  # type: ignore[operator, union-attr]
        self.training = self.training[: trainer.current_epoch]
        self.training.append({name for name, module in modules if module.training})

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.backbone.state_dict().items()})  # type: ignore[operator, union-attr]


def finetune(
    corpus: FakeCorpus,
    folder: Path,
    upstream: State,
    *,
    stop_at: int | None = None,
    **transfer: Any,  # noqa: ANN401
) -> Noted:
    """Fine-tune in `folder` in a way, from its last checkpoint where there is one."""
    data = tiny_data(corpus)
    config = RunConfig(phase="finetune", transfer=TransferConfig(**transfer), optim=OptimConfig(**OPTIM))
    pl.seed_everything(0, verbose=False)
    classifier = ECGClassifier(STAGED, data.label_names, num_samples=50, optim=config.optim, transfer=config.transfer)
    classifier.backbone.load_state_dict(upstream)
    noted = Noted()
    extra = [*way_callbacks(config, classifier), noted, *([] if stop_at is None else [StopAt(stop_at)])]
    last = folder / "last.ckpt"
    trainer = tiny_trainer(folder, data, NUM_EPOCHS, extra)
    try:
        fit(trainer, classifier, data, last if last.exists() else None)
    except (KeyboardInterrupt, SystemExit):
        assert stop_at is not None
    return noted


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


def signals(sizes: tuple[int, ...], seed: int = 3) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    for size in sizes:
        yield torch.randn(size, 12, 50, generator=generator) * torch.rand(1, 12, 1, generator=generator) + 0.3


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


def test_averaged_weights_are_measured_where_they_are_evaluated(upstream: State) -> None:
    """As `optim.ema` evaluates them: in place of the trained ones while a batch passes."""
    classifier = ECGClassifier(STAGED, ("AF",), num_samples=50).eval()
    classifier.backbone.load_state_dict(upstream)
    state = classifier.state_dict()
    averaged = {name: 1.5 * value if value.is_floating_point() else value for name, value in state.items()}
    movement, trainer = Movement(upstream), pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    batch: Any = {"signal": next(signals((8,)))}
    with torch.no_grad():
        movement.on_validation_batch_start(trainer, classifier, batch, 0, 0)
        functional_call(classifier, averaged, (batch["signal"],))
        movement.on_validation_batch_end(trainer, classifier, None, batch, 0, 0)
    assert classifier.movement["distance_all"] == pytest.approx(0.5, rel=1e-6)
    assert list(classifier.movement["distance"].values()) == pytest.approx([0.5] * 3, rel=1e-6)


def test_of_a_model_for_crops_each_record_counts_once(upstream: State) -> None:
    """Its windows are no further records: against the likeness by quadruples of the first window of each record."""
    windows = Windows(length=20, stride=10)
    classifier = ECGClassifier(STAGED, ("AF",), num_samples=50, windows=windows).eval()
    before = StagedBackbone().eval()
    for one in (classifier.backbone, before):
        one.load_state_dict(upstream)
    with torch.no_grad():
        for weight in classifier.backbone.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2)))
    movement, trainer = Movement(upstream), pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    batch: Any = {"signal": next(signals((9,)))}
    with torch.no_grad():
        movement.on_validation_batch_start(trainer, classifier, batch, 0, 0)
        classifier(batch["signal"])
        movement.on_validation_batch_end(trainer, classifier, None, batch, 0, 0)
        after = StagedBackbone().eval()
        after.load_state_dict(classifier.backbone.state_dict())
        first = batch["signal"][:, :, :20]
        given = [one.stem_norm(one.stem(first)).flatten(1) for one in (before, after)]
        then, now = (values.double() @ values.double().T for values in given)
    cross, then_alone, now_alone = (
        hsic_by_quadruples(a.numpy(), b.numpy()) for a, b in ((then, now), (then, then), (now, now))
    )
    expected = cross / math.sqrt(then_alone * now_alone)
    assert expected < 0.99
    assert classifier.movement["cka"]["stem"] == pytest.approx(expected, abs=1e-4)


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


def test_movement_is_numpys_norm_and_falls_off_in_likeness(corpus: FakeCorpus, tmp_path: Path, upstream: State) -> None:
    noted = finetune(corpus, tmp_path, upstream)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    stages = {"stem": ("stem.", "stem_norm."), "block": ("block.",), "embedding": ("embedding.",), "": ("",)}
    for state, record in zip(noted.states, records, strict=True):
        found = {**record["movement"]["distance"], "": record["movement"]["distance_all"]}
        for stage, prefixes in stages.items():
            names = [name for name in dict(StagedBackbone().named_parameters()) if name.startswith(prefixes)]
            now, then = (np.concatenate([s[name].numpy().ravel() for name in names]) for s in (state, upstream))
            assert found[stage] == pytest.approx(np.linalg.norm(now - then) / np.linalg.norm(then), rel=1e-5)
        assert set(record["movement"]["cka"]) == {"stem", "block", "embedding"}
    assert records[-1]["movement"]["cka_embedding"] < records[-1]["movement"]["cka"]["stem"] < 1


def test_movement_does_not_need_stages_that_give_out_tensors() -> None:
    """A GRU gives out a tuple; its stage's output is still told, and its weights are those of a network of its own."""
    classifier = ECGClassifier("gru_mean", ("AF",), num_samples=40)
    start = {name: value.clone() for name, value in classifier.backbone.state_dict().items()}
    movement = Movement(start)
    trainer = pl.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    batch: Any = {"signal": torch.randn(10, 12, 40)}
    before = classifier.eval()(batch["signal"])
    for change, expected in ((0.0, 1.0), (0.5, None)):
        with torch.no_grad():
            for weight in classifier.backbone.parameters():
                weight.add_(change * torch.randn_like(weight))
            movement.on_validation_batch_start(trainer, classifier, batch, 0, 0)
            classifier(batch["signal"])
            movement.on_validation_batch_end(trainer, classifier, None, batch, 0, 0)
        found = classifier.movement
        assert set(found["distance"]) == set(found["cka"]) == {"rnn"}
        if expected is not None:
            assert found["cka"]["rnn"] == pytest.approx(expected, abs=1e-5)
            assert torch.equal(classifier(batch["signal"]), before), "measuring changes nothing"
        else:
            assert found["cka_embedding"] < 0.999
            assert found["distance_all"] > 0.1
    again = create_backbone("gru_mean", num_samples=40)
    again.load_state_dict(start)
    assert not classifier.backbone._forward_hooks
