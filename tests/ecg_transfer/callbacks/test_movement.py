"""How far each stage moved from the pre-trained weights, against numpy and a likeness by quadruples."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.func import functional_call

from ecg_transfer.callbacks.movement import Movement
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.models import create_backbone
from ecg_transfer.windows import Windows
from tests.data_modules.fake_corpus import FakeCorpus
from tests.ecg_transfer.callbacks.staged_training import STAGED, State, finetune, pretrained, signals, write_corpus
from tests.ecg_transfer.test_cka import hsic_by_quadruples
from tests.ecg_transfer.tiny_backbone import StagedBackbone


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_corpus(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def upstream() -> State:
    return pretrained()


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
