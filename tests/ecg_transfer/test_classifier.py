from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import f1_score
from torch import nn

from ecg_transfer.classifier import ECGClassifier, WeightsMismatchError, load_classifier
from ecg_transfer.config import OptimConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.fitting import _learner
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_backbone import NAME, TinyBackbone
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer

LABELS = ("NORM", "AF", "MI")
WIDE = NAME.replace("Tiny", "Wide")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(60, seed=1))


def classifier_of(backbone: str | nn.Module = NAME, labels: tuple[str, ...] = LABELS, seed: int = 0) -> ECGClassifier:
    pl.seed_everything(seed, verbose=False)
    return ECGClassifier(backbone, labels, num_samples=50)


def signals(num_records: int = 5) -> torch.Tensor:
    return torch.randn(num_records, 12, 50, generator=torch.Generator().manual_seed(1))


def save(classifier: ECGClassifier, path: Path, **more: object) -> None:
    content = {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams), **more}
    torch.save(content, path)


def test_logits_are_the_heads_of_the_embedding() -> None:
    classifier = classifier_of().eval()
    logits = classifier(signals())
    assert logits.shape == (5, 3)
    embedding = classifier.backbone(signals())
    assert torch.allclose(logits, embedding @ classifier.head.weight.T + classifier.head.bias)


def test_the_loss_is_the_mean_cross_entropy_of_all_labels() -> None:
    classifier = classifier_of().eval()
    label = torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    classifier.on_train_epoch_start()
    loss = classifier.training_step({"signal": signals(2), "label": label, "index": torch.arange(2)}, 0)
    p = 1 / (1 + np.exp(-classifier(signals(2)).detach().double().numpy()))
    expected = -np.mean(label.numpy() * np.log(p) + (1 - label.numpy()) * np.log(1 - p))
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    assert classifier.num_trained == 2


def test_balance_weighs_the_positives_of_the_training_records(corpus: FakeCorpus) -> None:
    data = tiny_data(corpus)
    train = data.labels[data.rows["train"]]
    config = make_config("scratch", "cpsc2018", backbone=NAME, overrides=["optim.balance=0.5"])
    pl.seed_everything(0, verbose=False)
    learner = _learner(config, data)
    assert isinstance(learner, ECGClassifier)
    odds = (train == 0).sum(axis=0) / train.sum(axis=0)
    np.testing.assert_allclose(learner.positive_weight, np.sqrt(odds), rtol=1e-6)
    assert learner.state_dict().keys() == classifier_of().state_dict().keys()
    pl.seed_everything(0, verbose=False)
    plain = _learner(make_config("scratch", "cpsc2018", backbone=NAME), data)
    assert isinstance(plain, ECGClassifier)
    assert plain.positive_weight is None
    np.testing.assert_allclose(learner.head.bias.detach(), plain.head.bias.detach() - np.log(odds) / 2, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_scores_come_from_all_logits_whatever_the_batches(corpus: FakeCorpus, tmp_path: Path, batch_size: int) -> None:
    data = tiny_data(corpus, batch_size=batch_size)
    classifier = classifier_of()
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.validate(classifier, datamodule=data, verbose=False)
    with torch.no_grad():
        for part in ("val", "test"):
            rows, logits, targets = classifier.evaluated[part]
            assert rows.tolist() == data.rows[part].tolist()
            assert np.array_equal(targets.numpy(), corpus.table.labels[data.rows[part]])
            (whole,) = tiny_data(corpus, batch_size=1000).ordered_loader(part)
            expected = classifier.eval()(whole["signal"])
            assert torch.allclose(logits, expected, atol=1e-6)
            scores = classifier.scores[part]
            for average in ("weighted", "macro", "micro"):
                reference = f1_score(targets.numpy(), expected.numpy() > 0, average=average, zero_division=0)
                assert getattr(scores, f"f1_{average}") == pytest.approx(reference)
            assert trainer.callback_metrics[f"{part}/f1_weighted"] == pytest.approx(scores.f1_weighted)


def test_repeated_and_unordered_rows_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As several processes leave them: row r has the logits r, r, r."""
    classifier = classifier_of()
    monkeypatch.setattr(ECGClassifier, "trainer", SimpleNamespace(world_size=1, sanity_checking=False))
    monkeypatch.setattr(classifier, "log", lambda *args, **kwargs: None)
    batches = [torch.tensor([5, 2, 9]), torch.tensor([2, 7, 5])]
    target = torch.tensor([0.0, 1, 1])
    classifier._collected = {
        "val": [(rows, rows[:, None].repeat(1, 3) - 6.0, target.repeat(3, 1)) for rows in batches],
        "test": [],
    }
    classifier.on_validation_epoch_end()
    rows, logits, targets = classifier.evaluated["val"]
    assert rows.tolist() == [2, 5, 7, 9]
    assert logits[:, 0].tolist() == [-4, -1, 1, 3]
    assert targets.tolist() == [[0, 1, 1]] * 4
    assert classifier.scores["val"].num_records == 4


def test_one_label_trains_too(corpus: FakeCorpus, tmp_path: Path) -> None:
    rhythm = FakeCorpus(corpus.root, label_set="rhythm")
    data = tiny_data(rhythm)
    classifier = tiny_classifier(data)
    fit(tiny_trainer(tmp_path, data, 2), classifier, data)
    assert classifier.head.out_features == 1
    _, logits, targets = classifier.evaluated["test"]
    assert classifier.scores["test"].f1_weighted == pytest.approx(
        f1_score(targets.numpy()[:, 0], logits.numpy()[:, 0] > 0, zero_division=0)
    )


def test_fine_tuning_and_scratch_start_with_the_same_head() -> None:
    upstream = classifier_of(labels=("A", "B", "C", "D", "E"), seed=9)
    scratch, finetune = classifier_of(seed=4), classifier_of(seed=4)
    num_loaded = finetune.load_backbone(upstream.state_dict())
    assert num_loaded == sum(value.numel() for value in upstream.backbone.state_dict().values())
    for name, value in finetune.state_dict().items():
        source = upstream if name.startswith("backbone.") else scratch
        assert torch.equal(value, source.state_dict()[name]), name
    name = "backbone.module.convolution.weight"
    assert not torch.equal(finetune.state_dict()[name], scratch.state_dict()[name])


def test_batchnorm_statistics_transfer() -> None:
    upstream = classifier_of(seed=9).train()
    upstream(signals() * 3 + 1)
    finetune = classifier_of()
    finetune.load_backbone(upstream.state_dict())
    inside = "backbone.module.norm.running_mean"
    assert torch.equal(finetune.state_dict()[inside], upstream.state_dict()[inside])
    assert finetune.state_dict()[inside].abs().max() > 0


def test_weights_that_do_not_fit_name_both_sides_and_change_nothing() -> None:
    ours, wide = classifier_of(), classifier_of(WIDE)
    state = {**wide.state_dict(), "backbone.extra": torch.ones(1)}
    del state["backbone.module.norm.bias"]
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(WeightsMismatchError) as error:
        ours.load_backbone(state)
    message = str(error.value)
    for part in (
        NAME,
        "only here: module.norm.bias",
        "only in the weights: extra",
        "module.convolution.weight: here (6, 12, 5), in the weights (7, 12, 5)",
        "more",
    ):
        assert part in message
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_single_label_is_named_by_itself() -> None:
    classifier = ECGClassifier("gru_last", "AF")
    assert (classifier.label_names, classifier.head.out_features) == (("AF",), 1)
    assert ECGClassifier(**classifier.hparams).label_names == ("AF",)


def test_what_is_no_classifier_is_refused() -> None:
    with pytest.raises(ValueError, match="the backbone is a Linear with num_features=None, expected an nn"):
        ECGClassifier(nn.Linear(3, 3), ["AF"])
    with pytest.raises(ValueError, match="at least one label"):
        ECGClassifier("gru_last", [])


def test_no_weights_at_all_do_not_fit() -> None:
    with pytest.raises(WeightsMismatchError, match="only here"):
        classifier_of().load_backbone({"head.weight": torch.ones(3, 6)})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_checkpoint_gives_the_classifier_back(tmp_path: Path, dtype: torch.dtype) -> None:
    classifier = classifier_of(seed=3).to(dtype)
    classifier.train()(signals().to(dtype))  # moves the running statistics
    save(classifier, tmp_path / "best.ckpt")
    loaded = load_classifier(tmp_path / "best.ckpt", trust=NAME)
    assert not loaded.training
    assert loaded.label_names == LABELS
    assert loaded.optim == classifier.optim
    assert {value.dtype for value in loaded.parameters()} == {dtype}
    assert torch.equal(loaded(signals().to(dtype)), classifier.eval()(signals().to(dtype)))


def test_a_checkpoint_holds_plain_values_alone() -> None:
    classifier = ECGClassifier(NAME, LABELS, num_samples=50, optim=OptimConfig(lr=0.5, gradient_clip=1.0))
    assert asdict(OptimConfig(**classifier.hparams["optim"])) == asdict(classifier.optim)
    assert {type(value) for value in classifier.hparams.values()} <= {str, list, int, float, dict, type(None)}
    again = ECGClassifier(**classifier.hparams)
    assert again.hparams == classifier.hparams


class Anything:
    """An object whose class a checkpoint must not be able to name."""


def test_a_checkpoint_with_a_pickled_object_is_refused(tmp_path: Path) -> None:
    save(classifier_of(), tmp_path / "bad.ckpt", callbacks={"x": Anything()})
    with pytest.raises(ValueError, match="plain values and tensors alone"):
        load_classifier(tmp_path / "bad.ckpt")


def test_a_missing_checkpoint_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*best\.ckpt"):
        load_classifier(tmp_path / "best.ckpt")


def test_a_module_is_a_backbone_too() -> None:
    classifier = classifier_of(TinyBackbone())
    assert classifier(signals()).shape == (5, 3)
    assert classifier.hparams["backbone"] == NAME


def test_the_checkpoint_of_a_module_gives_it_back(tmp_path: Path) -> None:
    classifier = classifier_of(TinyBackbone()).eval()
    save(classifier, tmp_path / "best.ckpt")
    assert torch.equal(load_classifier(tmp_path / "best.ckpt", trust=True)(signals()), classifier(signals()))
