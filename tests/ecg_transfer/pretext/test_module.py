"""Pre-trainings without labels on a fake corpus: no label plays a part, the best epoch is that of the least loss."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from data_modules.config import AugmentConfig, CropConfig, DataConfig
from data_modules.datamodule import ECGDataModule
from ecg_transfer.callbacks.checkpoints import AtomicCheckpointIO
from ecg_transfer.config import ConfigError, OptimConfig, RunConfig
from ecg_transfer.config_reading import config_from, make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.models.patch_transformer import PatchTransformer
from ecg_transfer.pretext.config import PretextConfig, pretext_name
from ecg_transfer.pretext.masked import MaskedPatches
from ecg_transfer.pretext.module import PretextModule
from ecg_transfer.pretext.requirements import require_pretext
from ecg_transfer.runs import Run
from ecg_transfer.trainer import callbacks_of
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.callbacks.test_resume import TIMES, StopAt
from tests.ecg_transfer.tiny_backbone import NAME
from tests.ecg_transfer.tiny_training import weights_of

TRANSFORMER = "tests.ecg_transfer.tiny_backbone:tiny_transformer"
NUM_RECORDS, NUM_EPOCHS = 30, 3
PATIENTS = [f"p{number // 2}" for number in range(NUM_RECORDS)]
FOLDS = [1] * 18 + [9] * 6 + [10] * 6
"""Training, validation and test, whole patients in each."""
KINDS: dict[str, dict[str, Any]] = {
    "contrastive": {"task": "contrastive", "positives": "patient"},
    "masked": {"task": "masked", "mask_share": 0.5},
}


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def written(folder: Path, *, labels_seed: int = 1) -> FakeCorpus:
    labels = random_labels(NUM_RECORDS, seed=labels_seed)
    return write_fake_corpus(folder / "fake", labels, patients=PATIENTS, folds=FOLDS)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return written(tmp_path_factory.mktemp("data"))


def pretrain(
    corpus: FakeCorpus,
    folder: Path,
    kind: str,
    *,
    stop_at: int | None = None,
    seconds: float | None = None,
    **optim: Any,  # noqa: ANN401
) -> Run:
    """Train as a run does, from its last state where there is one, on pieces of so many seconds where that is given.

    `stop_at` interrupts it in that epoch.
    """
    pretext = PretextConfig(**KINDS[kind])
    config = RunConfig(phase="pretrain", pretext=pretext, optim=OptimConfig(**{"lr": 0.01, "batch_size": 8, **optim}))
    config.trainer.checkpoint_seconds = 0
    data = ECGDataModule(
        DataConfig(corpus="fake", root=str(corpus.root.parent), num_samples=200),
        crops=CropConfig(seconds=seconds),
        augment=AugmentConfig(scaling=0.5, noise=0.1),
        corpus=corpus,
        positives=pretext.positives if kind == "contrastive" else None,
        batch_size=8,
    )
    data.setup()
    pl.seed_everything(0, verbose=False)
    backbone, length = (NAME, 100) if kind == "contrastive" else (TRANSFORMER, round(100 * (seconds or 2)))
    module = PretextModule(backbone, pretext, num_samples=length, optim=config.optim)
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(folder, backbone)
    extra = [] if stop_at is None else [StopAt(stop_at)]
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_epochs=NUM_EPOCHS, deterministic=True, logger=False,
        callbacks=[*extra, *callbacks_of(config, run, data, NUM_EPOCHS, False)], plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0, enable_model_summary=False, enable_progress_bar=False, log_every_n_steps=1,
    )  # fmt: skip
    last = folder / "last.ckpt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
        except (KeyboardInterrupt, SystemExit):
            assert stop_at is not None
    return run


def assert_same(found: Run, expected: Run) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = weights_of(found.path / name), weights_of(expected.path / name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    curves = [
        [{key: value for key, value in record.items() if key not in TIMES} for record in read_curve(each)]
        for each in (found.path / "metrics.jsonl", expected.path / "metrics.jsonl")
    ]
    assert curves[0] == curves[1]


@pytest.mark.parametrize(("kind", "optim"), [("contrastive", {"ema": 0.9, "schedule": "one_cycle"}), ("masked", {})])
def test_an_interrupted_pretraining_ends_as_if_it_had_never_stopped(
    kind: str, optim: dict[str, Any], corpus: FakeCorpus, tmp_path: Path
) -> None:
    whole = pretrain(corpus, tmp_path / "whole", kind, **optim)
    pretrain(corpus, tmp_path / "cut", kind, stop_at=1, **optim)
    assert len(read_curve(tmp_path / "cut" / "metrics.jsonl")) == 1
    assert_same(pretrain(corpus, tmp_path / "cut", kind, **optim), whole)


@pytest.mark.parametrize("kind", list(KINDS))
def test_labels_play_no_part_and_the_least_validation_loss_chooses(
    kind: str, corpus: FakeCorpus, tmp_path: Path
) -> None:
    ours = pretrain(corpus, tmp_path / "ours", kind)
    other = written(tmp_path / "other", labels_seed=2)
    assert not np.array_equal(other.table.labels, corpus.table.labels)
    assert_same(pretrain(other, tmp_path / "theirs", kind), ours)
    curve = read_curve(ours.path / "metrics.jsonl")
    losses = [record["val"]["loss"] for record in curve]
    assert torch.load(ours.path / "best.ckpt", weights_only=True)["epoch"] == int(np.argmin(losses))
    names = ["loss", "retrieval"] if kind == "contrastive" else ["loss"]
    assert [list(curve[-1][part]) for part in ("train", "val", "test")] == [names] * 3
    assert not (ours.path / "predictions.npz").exists()
    assert len(set(losses)) == NUM_EPOCHS


@pytest.mark.parametrize("kind", list(KINDS))
def test_weights_that_stand_still_have_the_same_loss_in_every_epoch(
    kind: str, corpus: FakeCorpus, tmp_path: Path
) -> None:
    """Views and masks of an evaluation do not change; those of training do."""
    curve = read_curve(pretrain(corpus, tmp_path, kind, lr=0.0).path / "metrics.jsonl")
    of_part = {part: {record[part]["loss"] for record in curve} for part in ("train", "val", "test")}
    assert len(of_part["train"]) == NUM_EPOCHS
    if kind == "masked":  # BatchNorm of the other backbone follows the batches all the same
        assert len(of_part["val"]) == len(of_part["test"]) == 1


def test_what_is_trained_on_pieces_is_judged_by_pieces(corpus: FakeCorpus, tmp_path: Path) -> None:
    """With a learning rate of zero: each patch that was left out against what is filled in from its own piece."""
    run = pretrain(corpus, tmp_path, "masked", seconds=0.5, lr=0.0)
    config = DataConfig(corpus="fake", root=str(corpus.root.parent), num_samples=200)
    data = ECGDataModule(config, corpus=corpus, batch_size=8)
    data.setup()
    (batch,) = data.ordered_loader("val", sharded=False)
    pieces = torch.cat([signal.unfold(1, 50, 50).transpose(0, 1) for signal in batch["signal"]])
    module = PretextModule(TRANSFORMER, PretextConfig(**KINDS["masked"]), num_samples=50)
    module.load_state_dict(weights_of(run.path / "best.ckpt"))
    with torch.no_grad():
        expected = module.eval()(pieces, torch.arange(24), torch.Generator().manual_seed(0))["loss"]
    for record in read_curve(run.path / "metrics.jsonl"):
        assert record["val"]["loss"] == pytest.approx(float(expected), rel=1e-6)


MASKED = ("pretext.task=masked", "model.backbone=patch_transformer")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["pretext.task=masked"], "resnet1d18 has none: take --backbone patch_transformer"),
        (["pretext.temperature=0.5"], "pretext.temperature=0.5 has no effect without pretext.task=contrastive"),
        (["pretext.task=contrastive", "pretext.mask_share=0.5"], "no effect without pretext.task=masked"),
        (["pretext.task=masked", "pretext.positives=patient"], "has no effect without pretext.task=contrastive"),
        (["pretext.task=contrastive", "optim.mixup=0.2"], "optim.mixup is about labels"),
        (["pretext.task=contrastive", "optim.balance=0.5"], "optim.balance is about labels"),
        (["pretext.task=contrastive", "pretext.temperature=0"], "expected a number above 0"),
        ([*MASKED, "pretext.mask_share=1"], "between 0 and 1"),
        ([*MASKED, "crops.seconds=0.25"], "25 samples hold one: crops.seconds has to be larger"),
        ([*MASKED, "data.num_samples=20"], "20 samples hold one: data.num_samples has to be larger"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_read(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        require_pretext(make_config("pretrain", "ptbxl", overrides=overrides))


def test_two_patches_are_enough_to_fill_in_one() -> None:
    config = make_config("pretrain", "ptbxl", overrides=[*MASKED, "crops.seconds=0.26"])
    require_pretext(config)
    backbone = PatchTransformer(12, 1, 3)
    values = MaskedPatches(backbone, config.pretext)(backbone, torch.randn(3, 12, 26), torch.arange(3), None)
    assert torch.isfinite(values["loss"])


def test_scratch_has_no_pretext() -> None:
    with pytest.raises(ConfigError, match="is for pre-trainings, and this run of phase scratch"):
        require_pretext(make_config("scratch", "ptb", overrides=["pretext.task=contrastive"]))


@pytest.mark.parametrize("backbone", ["bilstm", "gru", "s4d_small", "xresnet1d18", "patch_transformer"])
def test_backbones_that_flatten_or_pool_time_can_all_be_trained_on_pieces(backbone: str) -> None:
    require_pretext(make_config("pretrain", "ptbxl", backbone=backbone, overrides=["pretext.task=contrastive"]))


def test_a_pretext_names_itself_and_leaves_other_runs_their_names() -> None:
    plain = make_config("pretrain", "ptbxl")
    tree = plain.as_dict()
    tree.pop("pretext")
    assert config_from(tree).digest() == plain.digest()
    assert plain.digest() == make_config("pretrain", "ptbxl", overrides=["pretext.task=none"]).digest()
    assert make_config("pretrain", "ptbxl", overrides=["pretext.task=contrastive"]).digest() != plain.digest()
    assert pretext_name(PretextConfig(task="masked", temperature=0.5, mask_share=0.6)) == "masked (mask_share 0.6)"
