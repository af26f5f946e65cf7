"""Signals end a training between two batches, with the last whole epoch's state on the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from ecg_transfer.callbacks.stoppable import Stoppable, StopRequested
from ecg_transfer.checkpoint_file import is_whole
from ecg_transfer.curve import read_curve
from ecg_transfer.predictions import load_predictions
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer, weights_of

NEVER = 1e9
"""Seconds between two saves."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    return write_fake_corpus(tmp_path_factory.mktemp("data") / "fake", random_labels(40, seed=1))


class Sender(pl.Callback):
    """Sends signals to its own process before the second batch of an epoch, or when its epoch's files are written."""

    def __init__(self, epoch: int, signals: tuple[int, ...], *, at_the_end: bool = False) -> None:
        self._epoch, self._signals, self._at_the_end = epoch, signals, at_the_end

    def _send(self) -> None:
        for number in self._signals:
            os.kill(os.getpid(), number)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,  # noqa: ANN401 - not looked at
        batch_idx: int,
    ) -> None:
        if trainer.current_epoch == self._epoch and batch_idx == 1 and not self._at_the_end:
            self._send()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self._epoch and self._at_the_end:
            self._send()


def train(corpus: FakeCorpus, folder: Path, *extra: pl.Callback, resume: bool = False) -> None:
    data = tiny_data(corpus)
    classifier = tiny_classifier(data)
    trainer = tiny_trainer(folder, data, 4, extra, seconds=NEVER)
    (stoppable,) = (callback for callback in trainer.callbacks if isinstance(callback, Stoppable))
    with stoppable.listening():
        fit(trainer, classifier, data, folder / "last.ckpt" if resume else None)


def code_of(work: Callable[[], None]) -> object:
    try:
        work()
    except KeyboardInterrupt:
        return "Ctrl-C"
    except SystemExit as error:
        return error.code
    return None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, "Ctrl-C")])
@pytest.mark.parametrize("at_the_end", [False, True])
def test_the_last_whole_epoch_is_kept_and_gone_on_from(
    corpus: FakeCorpus, tmp_path: Path, number: int, code: object, at_the_end: bool
) -> None:
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    sender = Sender(2, (number,), at_the_end=at_the_end)
    assert code_of(lambda: train(corpus, stopped, sender)) == code
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert is_whole(stopped / "last.ckpt")
    last = 2 if at_the_end else 1
    assert torch.load(stopped / "last.ckpt", weights_only=True)["epoch"] == last
    assert read_curve(stopped / "metrics.jsonl")[-1]["epoch"] == last
    train(corpus, stopped, resume=True)
    train(corpus, whole)
    ours, theirs = (weights_of(folder / "best.ckpt") for folder in (stopped, whole))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    ours_last, theirs_last = (load_predictions(folder / "predictions.npz")[0] for folder in (stopped, whole))
    assert (ours_last["last_epoch/test"].logits == theirs_last["last_epoch/test"].logits).all()


def test_a_signal_after_the_last_epoch_is_not_swallowed(corpus: FakeCorpus, tmp_path: Path) -> None:
    assert code_of(lambda: train(corpus, tmp_path, Sender(3, (signal.SIGTERM,), at_the_end=True))) == 143
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 3


def test_the_second_ctrl_c_ends_it_at_once(corpus: FakeCorpus, tmp_path: Path) -> None:
    assert code_of(lambda: train(corpus, tmp_path, Sender(1, (signal.SIGINT, signal.SIGINT)))) == "Ctrl-C"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_thread_is_left_to_lightning() -> None:
    def handler() -> object:
        with Stoppable().listening():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(handler).result() is signal.getsignal(signal.SIGTERM)


@pytest.mark.parametrize(("is_first", "code"), [(True, 143), (False, 0)])
def test_of_processes_that_train_together_the_first_has_the_code(is_first: bool, code: int) -> None:
    stoppable, before = Stoppable(), signal.getsignal(signal.SIGTERM)

    def stopped() -> None:
        with stoppable.listening():
            ours = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as Lightning takes it
            stoppable.on_train_start(SimpleNamespace(is_global_zero=is_first, world_size=2), None)  # type: ignore[arg-type]
            assert signal.getsignal(signal.SIGTERM) == ours
            raise StopRequested

    assert code_of(stopped) == code
    assert signal.getsignal(signal.SIGTERM) is before
