"""A backbone that is pre-trained without labels, as a LightningModule; and the backbone of a finished one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from data_modules.batches import Batch
from ecg_transfer.config import ConfigError, OptimConfig
from ecg_transfer.learner import EVALUATED, Learner
from ecg_transfer.models import Backbone, create_backbone
from ecg_transfer.models.patch_transformer import PatchTransformer
from ecg_transfer.optim import configure
from ecg_transfer.pretext.config import PretextConfig
from ecg_transfer.pretext.contrastive import Contrastive
from ecg_transfer.pretext.masked import MaskedPatches
from ecg_transfer.windows import Windows


class PretextModule(Learner):
    """Signal -> backbone -> projector or decoder -> loss. No label of a batch is looked at.

    The pretext's loss is the mean over the records of an epoch, each among those of its batch; it is what the best
    epoch is chosen by. Masks and views of an evaluation are the same in every epoch. Where pieces of the records are
    trained on, an evaluation cuts the whole records into such pieces.

    Args:
        backbone: A key of `BACKBONES`, or `package.module:factory`.
        pretext: What is learnt.
        num_leads: Leads of the signal.
        num_samples: Samples of a record, or of a view.
        dropout: Share of the embedding's features that are zeroed in training, before a projector.
        optim: How it is trained.

    Attributes:
        scores: After each epoch, for `val` and `test`, the `loss`, and of a contrastive pretext the `retrieval`.

    Raises:
        ConfigError: The pretext needs another backbone.
    """

    def __init__(
        self,
        backbone: str,
        pretext: PretextConfig,
        *,
        num_leads: int = 12,
        num_samples: int = 1000,
        dropout: float = 0.0,
        optim: OptimConfig | Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(optim)
        self.save_hyperparameters(
            {
                "backbone": backbone,
                "pretext": asdict(pretext),
                "num_leads": num_leads,
                "num_samples": num_samples,
                "dropout": dropout,
                "optim": asdict(self.optim),
            }
        )
        self.backbone = create_backbone(backbone, num_leads=num_leads, num_samples=num_samples)
        self.head = head_of(self.backbone, backbone, pretext, dropout)
        self.scores: dict[str, dict[str, float]] = {}
        self._sums: dict[str, dict[str, Tensor]] = {}
        self._counts: dict[str, int] = {}

    def forward(self, signal: Tensor, groups: Tensor, generator: Generator | None = None) -> dict[str, Tensor]:
        """The `loss` of a batch and other numbers to watch.

        Args:
            signal: As the pretext takes it.
            groups: Number of the patient of each record, (B,).
            generator: Of what is random in the pretext; None is torch's own stream.
        """
        return cast(dict[str, Tensor], self.head(self.backbone, signal, groups, generator))

    def records(self) -> dict[str, dict[str, Any]]:
        """Its `scores`."""
        return dict(self.scores)

    def setup(self, stage: str) -> None:
        """Tell the head how many processes share a batch."""
        if isinstance(self.head, Contrastive):
            self.head.num_processes = self.trainer.world_size

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own type is a union of ten
        """The optimizer and, where there is one, its schedule by updates."""
        return configure(self.parameters(), self.optim, int(self.trainer.estimated_stepping_batches))

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's sums."""
        super().on_train_epoch_start()
        self._forget("train")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        values: dict[str, Tensor] = self(batch["signal"], self._groups(batch))
        self._add("train", values, len(batch["index"]))
        self.num_trained = self._counts["train"]
        return values["loss"]

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        for part in EVALUATED:
            self._forget(part)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Add up a batch's numbers, computed at full precision also where training runs in bfloat16."""
        generator = torch.Generator().manual_seed(batch_idx)
        signal, num_pieces = self._pieces(batch["signal"])
        groups = self._groups(batch).repeat_interleave(num_pieces)
        values = self.evaluated_output(signal, groups, generator)
        self._add(EVALUATED[dataloader_idx], values, len(batch["index"]))

    def on_validation_epoch_end(self) -> None:
        """Take the means over the records of all processes."""
        self.scores = {part: self._means(part) for part in EVALUATED if self._counts[part]}
        for part, values in self.scores.items():
            for name, value in values.items():
                self.log(f"{part}/{name}", value, logger=False)
        if self.num_trained:
            self.train_scores = self._means("train")

    def _pieces(self, signal: Tensor) -> tuple[Tensor, int]:
        """Records (B, leads, T) of which pieces are trained on, cut into such pieces; and how many there are of each.

        A network that never met what lies behind the first piece's length is not judged by how it fills that in.
        """
        length = int(self.hparams["num_samples"])
        if signal.shape[2] <= length:
            return signal, 1
        windows = Windows(length=length, stride=length)
        return windows.cut(signal), len(windows.starts(signal.shape[2]))

    def _groups(self, batch: Batch) -> Tensor:
        """Patients are no labels: they tell which records are not to be told apart."""
        groups = self.trainer.datamodule.groups  # type: ignore[attr-defined]
        return torch.from_numpy(groups[batch["index"].cpu().numpy()]).to(batch["signal"].device)

    def _forget(self, part: str) -> None:
        self._sums[part], self._counts[part] = {}, 0

    def _add(self, part: str, values: Mapping[str, Tensor], num_records: int) -> None:
        sums = self._sums[part]
        for name, value in values.items():
            sums[name] = sums.get(name, torch.zeros((), device=self.device)) + value.detach() * num_records
        self._counts[part] += num_records

    def _means(self, part: str) -> dict[str, float]:
        count = self._counts[part]
        return {name: float(self._mean_of_processes(value / count)) for name, value in self._sums[part].items()}


def head_of(backbone: Backbone, name: str, pretext: PretextConfig, dropout: float) -> nn.Module:
    """What turns a backbone's features into the pretext's loss.

    Args:
        backbone: What is trained.
        name: What it is called.
        pretext: The task.
        dropout: See `PretextModule`.

    Raises:
        ConfigError: This backbone cannot do this task.
    """
    if pretext.task == "contrastive":
        return Contrastive(backbone, pretext, dropout)
    if not isinstance(backbone, PatchTransformer):
        raise ConfigError(
            f"pretext.task=masked leaves out patches, and {name} has none: take --backbone patch_transformer, or "
            "pretext.task=contrastive, which any backbone can do"
        )
    return MaskedPatches(backbone, pretext)
