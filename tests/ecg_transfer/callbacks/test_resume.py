"""A training that is interrupted after any epoch ends as if it had never stopped, to the last bit."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import f1_score

from data_modules.batches import SignalNotFiniteError
from data_modules.datamodule import ECGDataModule
from ecg_transfer.curve import read_curve
from ecg_transfer.predictions import load_predictions
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import MONITOR, fit, tiny_classifier, tiny_data, tiny_trainer, weights_of

NUM_EPOCHS = 4
TIMES = ("seconds", "train_seconds", "records_per_second")
SCHEDULES: dict[str, dict[str, Any]] = {
    "paper": {},
    "one_cycle": {"optimizer": "adamw", "schedule": "one_cycle", "weight_decay": 0.01},
    "cosine": {"schedule": "cosine", "warmup": 0.2},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(40, seed=1))


class StopAt(pl.Callback):
    """Ctrl-C before the second update of an epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401 - not looked at
        batch_idx: int,
    ) -> None:
        if trainer.current_epoch == self._epoch and batch_idx == 1:
            raise KeyboardInterrupt


def train(corpus: FakeCorpus, folder: Path, *, stop_at: int | None = None, seed: int = 0, **optim: Any) -> None:  # noqa: ANN401
    """Train in `folder`, from its last checkpoint where there is one; `stop_at` interrupts it in that epoch."""
    data = tiny_data(corpus, seed=seed)
    classifier = tiny_classifier(data, seed=seed, **optim)
    last = folder / "last.ckpt"
    extra = [] if stop_at is None else [StopAt(stop_at)]
    trainer = tiny_trainer(folder, data, NUM_EPOCHS, extra)
    try:
        fit(trainer, classifier, data, last if last.exists() else None)
    except (KeyboardInterrupt, SystemExit):
        assert stop_at is not None
    else:
        assert stop_at is None


def curve_without_times(folder: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in record.items() if key not in TIMES}
        for record in read_curve(folder / "metrics.jsonl")
    ]


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a loss of power."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def assert_same_run(found: Path, expected: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        theirs, ours = weights_of(expected / name), weights_of(found / name)
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
    assert curve_without_times(found) == curve_without_times(expected)
    (found_parts, found_epochs), (parts, epochs) = (
        load_predictions(run / "predictions.npz") for run in (found, expected)
    )
    assert found_epochs == epochs
    for name, part in parts.items():
        assert all(np.array_equal(getattr(found_parts[name], field), value) for field, value in vars(part).items())


@pytest.fixture(scope="module", params=sorted(SCHEDULES))
def whole(
    request: pytest.FixtureRequest, corpus: FakeCorpus, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """An uninterrupted training of each schedule."""
    folder = tmp_path_factory.mktemp(request.param)
    train(corpus, folder, **SCHEDULES[request.param])
    return request.param, folder


@pytest.mark.parametrize("epoch", range(1, NUM_EPOCHS))
def test_a_resumed_training_is_the_same_to_the_last_bit(
    whole: tuple[str, Path], corpus: FakeCorpus, tmp_path: Path, epoch: int
) -> None:
    schedule, expected = whole
    train(corpus, tmp_path, stop_at=epoch, **SCHEDULES[schedule])
    assert len(read_curve(tmp_path / "metrics.jsonl")) == epoch
    train(corpus, tmp_path, **SCHEDULES[schedule])
    assert_same_run(tmp_path, expected)


def test_a_training_can_be_interrupted_again_and_again(
    whole: tuple[str, Path], corpus: FakeCorpus, tmp_path: Path
) -> None:
    schedule, expected = whole
    for epoch in (1, 1, 2, 3):
        train(corpus, tmp_path, stop_at=epoch, **SCHEDULES[schedule])
    train(corpus, tmp_path, **SCHEDULES[schedule])
    assert_same_run(tmp_path, expected)


def test_an_epoch_that_was_recorded_but_not_kept_is_done_again(
    whole: tuple[str, Path], corpus: FakeCorpus, tmp_path: Path
) -> None:
    """A kill between the metrics of an epoch and its checkpoint; the torn line of a second one lies behind them."""
    schedule, expected = whole
    train(corpus, tmp_path, stop_at=2, **SCHEDULES[schedule])
    kept = (tmp_path / "last.ckpt").read_bytes()
    train(corpus, tmp_path, stop_at=3, **SCHEDULES[schedule])
    (tmp_path / "last.ckpt").write_bytes(kept)
    with (tmp_path / "metrics.jsonl").open("ab") as stream:
        stream.write(b'{"epoch": 3, "upda')
    train(corpus, tmp_path, **SCHEDULES[schedule])
    assert_same_run(tmp_path, expected)
    seconds = [record["seconds"] for record in read_curve(tmp_path / "metrics.jsonl")]
    assert seconds == sorted(seconds)


def test_the_same_seed_trains_the_same_and_another_does_not(
    whole: tuple[str, Path], corpus: FakeCorpus, tmp_path: Path
) -> None:
    schedule, expected = whole
    train(corpus, tmp_path / "same", **SCHEDULES[schedule])
    assert_same_run(tmp_path / "same", expected)
    train(corpus, tmp_path / "other", seed=1, **SCHEDULES[schedule])
    assert curve_without_times(tmp_path / "other") != curve_without_times(expected)


def test_time_goes_on_counting(corpus: FakeCorpus, tmp_path: Path) -> None:
    train(corpus, tmp_path, stop_at=3)
    before = read_curve(tmp_path / "metrics.jsonl")[-1]["seconds"]
    train(corpus, tmp_path)
    seconds = [record["seconds"] for record in read_curve(tmp_path / "metrics.jsonl")]
    assert all(early < late for early, late in pairwise(seconds))
    assert seconds[3] > before


def test_every_epoch_is_recorded(whole: tuple[str, Path], corpus: FakeCorpus) -> None:
    _, folder = whole
    data = tiny_data(corpus)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    updates_per_epoch = -(-len(data.rows["train"]) // 8)
    assert [line["epoch"] for line in lines] == list(range(NUM_EPOCHS))
    assert [line["updates"] for line in lines] == [updates_per_epoch * (epoch + 1) for epoch in range(NUM_EPOCHS)]
    for line in lines:
        assert set(line) == {"epoch", "updates", "lr", "train", "val", "test", *TIMES}
        assert 0 < line["train_seconds"] < line["seconds"]
        rate = len(data.rows["train"]) / line["train_seconds"]
        assert line["records_per_second"] == pytest.approx(rate, rel=0.2)
        assert set(line["test"]["f1"]) == {"NORM", "AF", "MI"}
        assert 0 < line["train"]["loss"] < 2


def test_the_chosen_epochs_are_those_of_the_curve(whole: tuple[str, Path], corpus: FakeCorpus) -> None:
    _, folder = whole
    curve = read_curve(folder / "metrics.jsonl")
    predictions, epochs = load_predictions(folder / "predictions.npz")
    for name, part in (("val_selected", "val"), ("best_on_test", "test")):
        scores = [record[part][MONITOR] for record in curve]
        assert epochs[f"{name}/val"] == epochs[f"{name}/test"] == scores.index(max(scores))
    assert epochs["last_epoch/val"] == epochs["last_epoch/test"] == NUM_EPOCHS - 1
    data = tiny_data(corpus)
    for name, part in predictions.items():
        rows = data.rows[name.split("/")[1]]
        assert part.record_ids.tolist() == [data.record_ids[row] for row in rows]
        assert np.array_equal(part.targets, corpus.table.labels[rows])
        assert np.array_equal(part.groups, data.groups[rows])
        recorded = curve[epochs[name]][name.split("/")[1]]
        expected = f1_score(part.targets, part.logits > 0, average="weighted", zero_division=0)
        assert recorded["f1_weighted"] == pytest.approx(expected)
    assert torch.load(folder / "best.ckpt", weights_only=True)["epoch"] == epochs["val_selected/test"]


class Poison(ECGDataModule):
    """One record's signal is no number."""

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        assert self._dataset is not None
        signals = np.array(self.cache.signals)
        signals[self.rows["train"][3]] = np.nan
        self._dataset._signals = signals


def test_a_bad_record_stops_the_training_by_name(corpus: FakeCorpus, tmp_path: Path) -> None:
    sound = tiny_data(corpus)
    data = Poison(sound.config, corpus=corpus, batch_size=8)
    data.setup()
    name = data.record_ids[data.rows["train"][3]]
    with pytest.raises(SignalNotFiniteError, match=f"the records {name} hold NaN"):
        fit(tiny_trainer(tmp_path, data, 2), tiny_classifier(data), data)
    assert not (tmp_path / "last.ckpt").exists()
