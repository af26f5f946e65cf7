"""Ctrl-C and SIGTERM end a training between two batches, never inside a write; twice, at once.

In a step, weights are neither those of the last epoch nor of the next: `LastEpoch` keeps the last whole epoch's state
for this. The codes are the shell's: 128 and the signal's number.
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

    @contextmanager
    def listening(self, world_size: int) -> Iterator[None]:
        """Take the two signals; whatever way a training was stopped, raise `KeyboardInterrupt`, or exit with 143.

        Several processes that train together would wait for each other for ever if each ended after another batch:
        these, and threads, where Python has no handlers, are left to Lightning.

        Args:
            world_size: Processes that train together.
        """
        alone = world_size == 1 and threading.current_thread() is threading.main_thread()
        before = {number: signal.signal(number, self._note) for number in SIGNALS if alone}
        try:
            yield
        except (StopRequested, SIGTERMException):
            _leave(self._received or signal.SIGTERM)
        except SystemExit as error:
            if error.code == 128 + signal.SIGTERM:
                raise
            _leave(signal.SIGINT)  # Lightning makes an exit of its own from Ctrl-C
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """End here, if so asked."""
        self._end()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,  # noqa: ANN401
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """End here, if so asked."""
        self._end()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End here, if so asked after the last batch."""
        self._end()

    def _end(self) -> None:
        if self._received is not None:
            raise StopRequested

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            _leave(number)
        self._received = number


def _leave(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)
