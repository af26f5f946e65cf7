"""What every training of a backbone has, with labels or without: the mean of its weights, and what an epoch brought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import pytorch_lightning as pl
from torch import Tensor
from torch.func import functional_call

from data_modules.batches import Batch
from ecg_transfer.averaging import WeightAverage
from ecg_transfer.config import OptimConfig
from ecg_transfer.models import Backbone
from ecg_transfer.precision import in_full_precision

EVALUATED = ("val", "test")
"""The parts that are evaluated after every epoch, in the order of the data module's loaders."""


class Learner(pl.LightningModule):
    """A backbone in training.

    Args:
        optim: How it is trained; the paper's way by default.

    Attributes:
        backbone: What is transferred.
        train_scores: After each epoch the means over the training records as they were trained on, over all processes.
        num_trained: Training records of the epoch on this process.
        movement: How far the backbone is from where it started, as of the last evaluation; empty where nobody measures.
    """

    backbone: Backbone

    def __init__(self, optim: OptimConfig | Mapping[str, Any] | None) -> None:
        super().__init__()
        self.optim = optim if isinstance(optim, OptimConfig) else OptimConfig(**(optim or {}))
        self.train_scores: dict[str, float] = {}
        self.num_trained = 0
        self.movement: dict[str, Any] = {}
        self._average = None if self.optim.ema is None else WeightAverage(self.optim.ema)

    @property
    def was_evaluated(self) -> bool:
        """Whether the epoch at hand has been evaluated."""
        return bool(self.train_scores)

    def records(self) -> dict[str, dict[str, Any]]:
        """What the epoch's record says of each part that was evaluated."""
        raise NotImplementedError

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's sums."""
        self.train_scores = {}
        self.num_trained = 0

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:  # noqa: ANN401
        """Let the mean of the weights follow them."""
        if self._average is not None:
            self._average.update(self.state_dict(), self.trainer.global_step)

    def on_validation_start(self) -> None:
        """Evaluate what is saved: the first process's mean of the weights."""
        if self._average is not None and self.trainer.world_size > 1:
            self._average.take_from_first_process()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A checkpoint's weights are the averaged ones; one to resume from holds the trained ones beside them."""
        if self._average is None or self._average.state is None:
            return
        if "optimizer_states" in checkpoint:
            checkpoint["trained_state_dict"] = checkpoint["state_dict"]
        checkpoint["state_dict"] = dict(self._average.state)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the trained weights, and with their mean so far."""
        if self._average is not None and "trained_state_dict" in checkpoint:
            self._average.state = dict(checkpoint["state_dict"])
            checkpoint["state_dict"] = checkpoint["trained_state_dict"]

    def evaluated_output(self, *inputs: Any) -> Any:  # noqa: ANN401
        """What `forward` gives for these inputs at full precision, with the mean of the weights where there is one."""
        with in_full_precision(self.device):
            if self._average is None or self._average.state is None:
                return self(*inputs)
            return functional_call(self, self._average.state, inputs)

    def _from_all_processes(self, value: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return value
        return cast(Tensor, self.all_gather(value)).flatten(0, 1)

    def _mean_of_processes(self, value: Tensor) -> Tensor:
        if self.trainer.world_size == 1:
            return value
        return cast(Tensor, self.all_gather(value)).mean()
