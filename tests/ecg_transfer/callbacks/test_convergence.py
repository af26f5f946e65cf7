from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data_modules.datamodule import ECGDataModule
from ecg_transfer.callbacks.convergence import _append
from ecg_transfer.curve import read_curve
from tests.data_modules.fake_corpus import random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ECGDataModule:
    return tiny_data(write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(30, seed=1)))


def test_lines_are_only_ever_appended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    _append(path, {"epoch": 0})
    _append(path, {"epoch": 1})
    assert path.read_bytes() == b'{"epoch": 0}\n{"epoch": 1}\n'
    with path.open("ab") as stream:
        stream.write(b'{"epoch": 2, "lo')
    _append(path, {"epoch": 2})
    assert path.read_bytes().splitlines()[2:] == [b'{"epoch": 2, "lo', b'{"epoch": 2}']
    assert [record["epoch"] for record in read_curve(path)] == [0, 1, 2]


def test_tensorboard_shows_what_the_file_says(data: ECGDataModule, tmp_path: Path) -> None:
    from pytorch_lightning.loggers import TensorBoardLogger

    logger = TensorBoardLogger(tmp_path, name="", version="tensorboard")
    fit(tiny_trainer(tmp_path, data, 2, logger=logger), tiny_classifier(data), data)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for epoch, record in enumerate(read_curve(tmp_path / "metrics.jsonl")):
        json.dumps(record, allow_nan=False)
        shown = {
            "train/loss": record["train"]["loss"],
            "val/f1_weighted": record["val"]["f1_weighted"],
            "test/f1/AF": record["test"]["f1"]["AF"],
            "time/seconds": record["seconds"],
            "optim/lr": record["lr"],
        }
        for name, value in shown.items():
            points = {event.step: event.value for event in events.Scalars(name)}
            assert points[epoch] == pytest.approx(value, rel=1e-6), name


def test_the_training_loss_is_the_mean_over_records(data: ECGDataModule, tmp_path: Path) -> None:
    """With a learning rate of zero, no dropout and one batch, the epoch's loss is that of its records."""
    import torch

    whole = tiny_data(data.corpus, batch_size=1000)  # type: ignore[arg-type]
    classifier = tiny_classifier(whole, lr=0.0)
    classifier.backbone.module.dropout.p = 0.0  # type: ignore[union-attr]
    (batch,) = whole.train_dataloader()
    with torch.no_grad():
        logits = classifier.train()(batch["signal"]).double()
    label = batch["label"].double()
    expected = -(label * logits.sigmoid().log() + (1 - label) * (-logits).sigmoid().log()).mean()
    fit(tiny_trainer(tmp_path, whole, 1), classifier, whole)
    (record,) = read_curve(tmp_path / "metrics.jsonl")
    assert record["train"]["loss"] == pytest.approx(float(expected), rel=1e-5)
    assert record["updates"] == 1


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_the_rate_of_an_epoch_is_that_of_its_last_update(data: ECGDataModule, tmp_path: Path, batch_size: int) -> None:
    """Against torch's own schedule; with one update an epoch, as of small corpora, every epoch shows what it had."""
    import torch

    whole = tiny_data(data.corpus, batch_size=batch_size)  # type: ignore[arg-type]
    fit(tiny_trainer(tmp_path, whole, 4), tiny_classifier(whole, lr=0.1, schedule="one_cycle"), whole)
    records = read_curve(tmp_path / "metrics.jsonl")
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(1))])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=records[-1]["updates"])
    rates = []
    for _ in range(records[-1]["updates"]):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert [record["lr"] for record in records] == pytest.approx([rates[record["updates"] - 1] for record in records])
