"""Training, evaluating and resuming on a GPU, held against the same on the CPU. Skipped where there is none."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

import ecg_transfer as et
from data_modules.batches import Batch
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import OptimConfig
from ecg_transfer.cuda_graphs import RecordedForward
from ecg_transfer.evaluation import predict_again
from ecg_transfer.memory import OutOfMemoryError
from ecg_transfer.models import BACKBONES
from ecg_transfer.optim import configure
from ecg_transfer.precision import in_full_precision
from ecg_transfer.runs import Run
from ecg_transfer.trainer import fill_no_new_tensors
from tests.data_modules.fake_corpus import random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_runs import settings
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer, weights_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as Lightning sets it for deterministic trainings

LABELS = ("A", "B", "C")
NUM_SAMPLES = 256


def batch_on(device: str, size: int = 8) -> Batch:
    drawn = torch.Generator().manual_seed(1)
    signal = torch.rand(size, NUM_SAMPLES, 12, generator=drawn) * 2 - 1
    label = (torch.rand(size, len(LABELS), generator=drawn) < 0.4).float()
    return {
        "signal": signal.to(device).transpose(1, 2),
        "label": label.to(device),
        "index": torch.arange(size, device=device),
    }


def classifier_of(backbone: str) -> ECGClassifier:
    pl.seed_everything(0, verbose=False)
    return ECGClassifier(backbone, LABELS, num_samples=NUM_SAMPLES, optim=OptimConfig(lr=1e-3, gradient_clip=None))


FUSED = ("resnet1d50", "resnet1d101")
"""Backbones that are recorded with kernels of their own: see `ecg_transfer.models.normalization`."""
SIZES = (8, 8, 5, 8)
"""Of the batches of a training."""


def trained(
    backbone: str,
    precision: Literal[32, "bf16"],
    change: Callable[[ECGClassifier, int], object] = lambda classifier, step: None,
    *,
    is_recorded: bool = False,
) -> dict[str, torch.Tensor]:
    """The weights after some steps on the GPU, with deterministic algorithms alone; `change` is called before each."""
    classifier = classifier_of(backbone).cuda()
    if is_recorded:
        classifier.backbone.forward = RecordedForward(classifier.backbone)  # type: ignore[method-assign]
    optimizer = configure(classifier.parameters(), classifier.optim, 3)["optimizer"]
    classifier.train()
    classifier.on_train_epoch_start()
    fill_no_new_tensors()
    torch.use_deterministic_algorithms(True)
    try:
        for step, size in enumerate(SIZES):
            change(classifier, step)
            optimizer.zero_grad()
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
                loss = classifier.training_step(batch_on("cuda", size), step)
            loss.backward()
            optimizer.step()
    finally:
        torch.use_deterministic_algorithms(False)
    assert bool(torch.isfinite(loss))
    return {name: value.cpu() for name, value in classifier.state_dict().items()}


@pytest.mark.parametrize("precision", [32, "bf16"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_trains_to_the_same_bits(backbone: str, precision: Literal[32, "bf16"]) -> None:
    """What is recorded, to those of what is launched, unless it has other kernels: then twice to its own."""
    one, other = trained(backbone, precision), trained(backbone, precision)
    recorded, again = (trained(backbone, precision, is_recorded=True) for _ in range(2))
    start = classifier_of(backbone).state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert all(torch.equal(value, again[name]) for name, value in recorded.items())
    assert backbone in FUSED or all(torch.equal(value, recorded[name]) for name, value in one.items())
    assert any(not torch.equal(value, start[name]) for name, value in one.items())


@pytest.mark.parametrize("backbone", FUSED)
def test_the_gradients_of_other_kernels_are_as_near_the_truth(backbone: str) -> None:
    """The truth is float64's. A new deep network makes 2 to 7 % of float32's rounding, PyTorch's own kernels' too."""

    def gradient(dtype: torch.dtype, *, is_recorded: bool = False) -> torch.Tensor:
        classifier = classifier_of(backbone).to("cuda", dtype)
        if is_recorded:
            classifier.backbone.forward = RecordedForward(classifier.backbone)  # type: ignore[method-assign]
        classifier.train()
        classifier.on_train_epoch_start()
        batch = batch_on("cuda")
        batch["signal"], batch["label"] = batch["signal"].to(dtype), batch["label"].to(dtype)
        classifier.training_step(batch, 0).backward()
        return torch.cat(
            [weight.grad.double().flatten() for weight in classifier.parameters() if weight.grad is not None]
        )

    with in_full_precision(torch.device("cuda")):
        truth, launched = gradient(torch.float64), gradient(torch.float32)
        recorded = gradient(torch.float32, is_recorded=True)
    assert not torch.equal(recorded, launched)
    assert float((recorded - truth).norm()) < 2 * float((launched - truth).norm())


def thaw_by_and_by(classifier: ECGClassifier, step: int) -> None:
    """The head alone, then the last stage too, then all, with the first BatchNorm frozen."""
    stages = classifier.backbone.stages()
    for number, stage in enumerate(stages):
        for module in stage:
            module.requires_grad_(step > 1 or (step == 1 and number == len(stages) - 1))
    classifier.kept_in_evaluation = [
        next(m for m in classifier.modules() if isinstance(m, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d))
    ]
    classifier.train()


def test_recorded_steps_follow_what_is_frozen() -> None:
    one = trained("resnet1d18", 32, thaw_by_and_by)
    recorded = trained("resnet1d18", 32, thaw_by_and_by, is_recorded=True)
    assert all(torch.equal(value, recorded[name]) for name, value in one.items())


class AsksTheDevice(torch.nn.Module):
    """What no graph can hold: a number that the CPU must know."""

    num_features = 12

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(12))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        mean = signal.mean(dim=2) * self.scale
        return mean * 2 if float(mean.sum()) > 0 else mean


def test_what_cannot_be_recorded_is_trained_without() -> None:
    backbone = AsksTheDevice().cuda()
    backbone.forward = RecordedForward(backbone)  # type: ignore[method-assign]
    signal = batch_on("cuda")["signal"]
    with pytest.warns(UserWarning, match="no graph could be recorded"):
        first = backbone(signal)
    first.sum().backward()
    torch.testing.assert_close(backbone(signal), AsksTheDevice().cuda()(signal))
    assert backbone.scale.grad is not None
    copied = copy.deepcopy(backbone)
    torch.testing.assert_close(copied(signal), first)
    torch.cuda.synchronize()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_evaluation_gives_the_cpus_numbers(backbone: str) -> None:
    classifier = classifier_of(backbone).eval()
    with torch.inference_mode():
        wanted = classifier.evaluated_output(batch_on("cpu")["signal"])
        classifier.cuda()
        with torch.autocast("cuda", torch.bfloat16):
            found = classifier.evaluated_output(batch_on("cuda")["signal"]).cpu()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def scratch(folder: Path, name: str, **more: object) -> Run:
    overrides = settings(folder / "data", **{"trainer.accelerator": "gpu", "model.backbone": "gru_mean", **more})
    return et.train_from_scratch("cpsc2018", recipe="modern", overrides=overrides, output=folder / name)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"trainer.precision": "bf16"},
        {"trainer.precision": 64},
        {"optim.ema": 0.9, "optim.mixup": 0.2, "optim.balance": 0.5, "optim.gradient_clip": 1.0},
        {"augment.scaling": 0.2, "augment.lead_masking": 0.1, "augment.noise": 0.1},
        {"crops.seconds": 2.5},
    ],
    ids=str,
)
def test_a_runs_scores_are_those_of_its_weights_on_the_cpu(tmp_path: Path, more: dict[str, object]) -> None:
    run = scratch(tmp_path, "runs", **more)
    found = run.predictions["val_selected/test"]
    again, _ = predict_again(run, device="cpu")
    assert np.array_equal(found.record_ids, again.record_ids)
    np.testing.assert_allclose(found.logits, again.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", ["full", "linear_probe", "lp_ft", "layerwise", "gradual", "l2_sp"])
@pytest.mark.parametrize("batch_norm", ["train", "frozen", "reestimate"])
def test_every_way_of_fine_tuning_ends(tmp_path: Path, way: str, batch_norm: str) -> None:
    common: dict[str, Any] = {"backbone": "resnet1d18", "recipe": "modern", "output": tmp_path / "runs"}
    more = {"trainer.accelerator": "gpu", "optim.max_epochs": 2, "data.num_samples": 200}
    small = settings(tmp_path / "data", **more)
    et.pretrain("cpsc2018", overrides=small, **common)
    chosen = {"transfer.way": way, "transfer.batch_norm": batch_norm}
    run = et.finetune("ptb", upstream="cpsc2018", overrides=small | chosen, **common)
    assert run.is_done
    again, _ = predict_again(run, device="cpu")
    np.testing.assert_allclose(run.predictions["val_selected/test"].logits, again.logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("task", ["contrastive", "masked"])
def test_a_pretraining_without_labels_ends(tmp_path: Path, task: str) -> None:
    backbone = "resnet1d18" if task == "contrastive" else "patch_transformer"
    more = {"trainer.accelerator": "gpu", "pretext.task": task, "optim.max_epochs": 2}
    run = et.pretrain(
        "cpsc2018", backbone=backbone, recipe="modern", overrides=settings(tmp_path / "data", **more),
        output=tmp_path / "runs",
    )  # fmt: skip
    assert run.is_done


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_an_interrupted_training_ends_in_the_same_bits(tmp_path: Path, precision: str) -> None:
    corpus = write_fake_corpus(tmp_path / "data" / "fake", random_labels(60, seed=3))

    def after(name: str, *num_epochs: int) -> dict[str, torch.Tensor]:
        for number in num_epochs:
            data = tiny_data(corpus)
            last = tmp_path / name / "last.ckpt"
            trainer = tiny_trainer(tmp_path / name, data, number, accelerator="gpu", precision=precision)
            fit(trainer, tiny_classifier(data), data, last if last.exists() else None)
        return weights_of(tmp_path / name / "last.ckpt")

    whole, resumed = after("whole", 4), after("resumed", 2, 4)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_compiled_run_ends_like_a_plain_one(tmp_path: Path) -> None:
    """Three whole batches an epoch and a smaller one.

    In float64: in float32 rounding alone moves a quarter of a ResNet1d-18's logits by more than 5 % in these eight
    steps, on a CPU too.
    """
    small = "tests.ecg_transfer.tiny_backbone:staged_without_dropout"
    chosen = {"model.backbone": small, "optim.max_epochs": 2, "trainer.precision": 64}
    plain, compiled = (scratch(tmp_path, "runs", **chosen, **{"trainer.compile": on}) for on in (False, True))
    ours, theirs = (run.predictions["last_epoch/test"].logits for run in (plain, compiled))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6)
    assert list(weights_of(plain.path / "best.ckpt")) == list(weights_of(compiled.path / "best.ckpt"))


def test_too_little_memory_says_so(tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.002)
    try:
        with pytest.raises(OutOfMemoryError, match="GPU memory is not enough"):
            scratch(tmp_path, "runs", **{"model.backbone": "resnet1d101", "optim.batch_size": 64})
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
