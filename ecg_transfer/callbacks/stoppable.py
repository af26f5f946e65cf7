"""Ctrl-C and SIGTERM end a training between two batches, never inside a write; twice, at once.

In a step, weights are neither those of the last epoch nor of the next: `LastEpoch` keeps the last whole epoch's state
for this. Processes that train together agree after every batch whether one of them was asked to end, and end after the
same one. The codes are the shell's: 128 and the signal's number.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import SIGTERMException

from data_modules.batches import Batch

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequested(BaseException):
    """A signal asked this training to end; raised between two batches."""


class Stoppable(pl.Callback):
    """Ends a training between two batches once a signal came while `listening`."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._is_listening = False
        self._is_further = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the two signals; whatever way a training was stopped, raise `KeyboardInterrupt`, or exit with 143.

        Threads, where Python has no handlers, are left to Lightning. Of processes that train together the first alone
        tells how it ended: Lightning kills it, in the middle of a write too, where a further one ends with a code.
        """
        self._is_listening = threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, self._note) for number in SIGNALS if self._is_listening}
        try:
            yield
        except (StopRequested, SIGTERMException):
            if self._is_further:
                sys.exit(0)
            _leave(self._received or signal.SIGTERM)
        except SystemExit as error:
            if error.code == 128 + signal.SIGTERM:
                raise
            _leave(signal.SIGINT)  # Lightning makes an exit of its own from Ctrl-C
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take SIGTERM back: Lightning's handler has processes exchange a message in the middle of any other."""
        self._is_further = not trainer.is_global_zero
        if self._is_listening and trainer.world_size > 1:
            signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """End here, if so asked."""
        self._end(trainer)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End here, if so asked; processes that train together may have unequal numbers of these batches."""
        if trainer.world_size == 1:
            self._end(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End here, if so asked after the last batch."""
        self._end(trainer)

    def _end(self, trainer: pl.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self._received is not None, all=False):
            raise StopRequested

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            _leave(number)
        self._received = number


def _leave(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
