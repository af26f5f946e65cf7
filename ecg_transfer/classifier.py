"""A backbone and a replaceable head as a LightningModule that learns many labels at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self, cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import BinaryF1Score, MultilabelF1Score

from data_modules.batches import Batch
from ecg_transfer.config import Monitor, OptimConfig, TransferConfig
from ecg_transfer.learner import EVALUATED, Learner
from ecg_transfer.loss import logits_and_loss, positive_weight, require_shares
from ecg_transfer.metrics import Scores, score
from ecg_transfer.models import Backbone, create_backbone
from ecg_transfer.models.imported import ImportedBackbone, num_features_of
from ecg_transfer.optim import configure
from ecg_transfer.ways import parameter_groups
from ecg_transfer.weights import (
    WeightsMismatchError,
    read_checkpoint,
    require_fit,
    require_known,
    require_numbers,
)
from ecg_transfer.windows import Windows

SHOWN = ("f1_weighted", "f1_macro", "auroc_macro", "ap_macro")
"""The overall scores of each epoch's record, at a threshold of 0.5 where there is one."""


class ECGClassifier(Learner):
    """Signal (B, 12, T) -> backbone -> embedding (B, F) -> head -> logits (B, L).

    With `windows` a longer signal is cut into windows of their length, which go through the network side by side, and
    the logits are those of the record: of the largest or the mean probability of its windows.

    The loss is the mean binary cross-entropy of all labels. After each epoch the logits of the validation and test
    records are collected from all processes, one row a record, and scored; nothing is averaged over batches.

    Args:
        backbone: A key of `BACKBONES`, `package.module:factory`, or a module with an int `num_features`; a checkpoint
            of that gives it back if its class can be called without arguments of its own.
        label_names: In column order; of a single label its name alone will do.
        num_leads: Leads of the signal.
        num_samples: Samples of the signal.
        windows: How a record is evaluated by a network that is trained on pieces of it; None takes it as a whole.
        dropout: Share of the embedding's features that are zeroed in training.
        optim: How it is trained; the paper's way by default.
        transfer: The way of a fine-tuning; it decides the optimizer's groups, and is no part of a checkpoint.

    Raises:
        ValueError: No backbone of this name, a module without `num_features`, or no labels.

    Attributes:
        evaluated: After each epoch, for `val` and `test`, the (rows, logits, targets), sorted by row.
        scores: After each epoch, for `val` and `test`, the scores at 0.5.
        train_scores: See `Learner`; the mean `loss` and the `f1_weighted`.
        positive_weight: Of each label in the loss, (L,); None where `balance` has not been called or weighs all alike.
        kept_in_evaluation: Modules that training leaves in evaluation mode; see `ecg_transfer.ways`.
    """

    def __init__(
        self,
        backbone: str | nn.Module,
        label_names: str | Sequence[str],
        *,
        num_leads: int = 12,
        num_samples: int = 1000,
        windows: Windows | Mapping[str, Any] | None = None,
        dropout: float = 0.0,
        optim: OptimConfig | Mapping[str, Any] | None = None,
        transfer: TransferConfig | None = None,
    ) -> None:
        super().__init__(optim)
        self.kept_in_evaluation: list[nn.Module] = []
        self.transfer = transfer or TransferConfig()
        require_shares(self.optim, dropout)
        self.windows = Windows(**windows) if isinstance(windows, Mapping) else windows
        self.label_names = (label_names,) if isinstance(label_names, str) else tuple(label_names)
        if not self.label_names:
            raise ValueError("label_names is empty: a classifier needs the name of at least one label")
        if isinstance(backbone, str):
            length = num_samples if self.windows is None else self.windows.length
            name, backbone = backbone, create_backbone(backbone, num_leads=num_leads, num_samples=length)
        else:
            name = f"{type(backbone).__module__}:{type(backbone).__qualname__}"
            if not isinstance(backbone, Backbone):  # the same weights' names as when it is built by its name
                width = num_features_of(backbone, f"the backbone is a {type(backbone).__name__}")
                backbone = ImportedBackbone(backbone, num_leads=num_leads, num_features=width, num_samples=None)
        self.save_hyperparameters(
            {
                "backbone": name,
                "label_names": list(self.label_names),
                "num_leads": num_leads,
                "num_samples": num_samples,
                "windows": None if self.windows is None else asdict(self.windows),
                "dropout": dropout,
                "optim": asdict(self.optim),
            }
        )
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(backbone.num_features, len(self.label_names))
        self.train_f1: Metric = (
            BinaryF1Score(validate_args=False)  # looking at the values of each batch would wait for a GPU
            if len(self.label_names) == 1
            else MultilabelF1Score(len(self.label_names), average="weighted", validate_args=False)
        )
        self.positive_weight: Tensor | None
        self.register_buffer("positive_weight", None, persistent=False)
        self.evaluated: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        self.scores: dict[str, Scores] = {}
        self._loss_sum = torch.zeros(())
        self._collected: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def forward(self, signal: Tensor) -> Tensor:
        """Logits (B, L) of scaled signals (B, 12, T)."""
        if self.windows is None or signal.shape[2] == self.windows.length:
            return self._logits(signal)
        return self.windows.join(self._logits(self.windows.cut(signal)), len(self.windows.starts(signal.shape[2])))

    def _logits(self, signal: Tensor) -> Tensor:
        return cast(Tensor, self.head(self.dropout(self.backbone(signal))))

    def balance(self, labels: NDArray[np.uint8]) -> None:
        """Let rare positives weigh more in the loss, as `optim.balance` says; no part of the weights or a checkpoint.

        The head's biases move by -log w: the loss then starts where it would without weights. From where it would be
        else, almost every label of every record is taken for positive, and the first epochs unlearn that (macro AUROC
        of all statements of PTB-XL after 10 of 20 epochs .875 in place of .899, XResNet1d-18).

        Args:
            labels: Of the training records, multi-hot, (N, L).
        """
        if self.optim.balance:
            self.positive_weight = positive_weight(labels, self.optim.balance)
            with torch.no_grad():
                self.head.bias.sub_(self.positive_weight.log())

    def load_backbone(self, state: Mapping[str, Tensor]) -> int:
        """Take over the weights of a backbone of the same shape; the head stays as it is.

        Args:
            state: The state dict of a classifier (`backbone.*`; its head is ignored).

        Returns:
            How many numbers were taken over.

        Raises:
            WeightsMismatchError: A name or a shape differs; nothing was loaded.
        """
        prefix = "backbone."
        theirs = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        ours = self.backbone.state_dict()
        problems = [f"only here: {name}" for name in sorted(ours.keys() - theirs.keys())]
        problems += [f"only in the weights: {name}" for name in sorted(theirs.keys() - ours.keys())]
        problems += [
            f"{name}: here {tuple(ours[name].shape)}, in the weights {tuple(theirs[name].shape)}"
            for name in sorted(ours.keys() & theirs.keys())
            if ours[name].shape != theirs[name].shape
        ]
        if problems:
            shown = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
            raise WeightsMismatchError(f"these weights do not fit a {self.hparams['backbone']} backbone: {shown}")
        self.backbone.load_state_dict(theirs, strict=True)
        return sum(value.numel() for value in theirs.values())

    def load_head(self, state: Mapping[str, Tensor], label_names: Sequence[str], shared: Mapping[str, str]) -> None:
        """Take over the rows of labels that mean the same; the others stay as they are.

        Args:
            state: The state dict of a classifier of the same backbone.
            label_names: Of that classifier, in the order of its rows.
            shared: Own label -> its label.
        """
        with torch.no_grad():
            for ours, theirs in shared.items():
                row, place = self.label_names.index(ours), list(label_names).index(theirs)
                self.head.weight[row] = state["head.weight"][place]
                self.head.bias[row] = state["head.bias"][place]

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's own type is a union of ten
        """The optimizer and, where there is one, its schedule by updates."""
        groups = parameter_groups(self.backbone, self.head, self.transfer, self.optim)
        return configure(groups, self.optim, int(self.trainer.estimated_stepping_batches))

    def train(self, mode: bool = True) -> Self:
        """Go into training mode, but for what is frozen."""
        super().train(mode)
        for module in self.kept_in_evaluation:
            module.eval()
        return self

    def records(self) -> dict[str, dict[str, Any]]:
        """The overall scores of `SHOWN`, and the F1 of each label."""
        found = {}
        for part, scores in self.scores.items():
            content = scores.as_dict()
            found[part] = {name: content[name] for name in SHOWN}
            found[part]["f1"] = {label: values["f1"] for label, values in content["per_class"].items()}
        return found

    def on_train_epoch_start(self) -> None:
        """Forget the last epoch's sums."""
        super().on_train_epoch_start()
        self._loss_sum = torch.zeros((), device=self.device)
        self.train_f1.reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        logits, loss = logits_and_loss(self, batch, self.optim, self.positive_weight)
        num_records = len(batch["label"])
        self._loss_sum += loss.detach() * num_records
        self.num_trained += num_records
        predicted, target = (logits.detach() > 0).int(), batch["label"].int()
        if len(self.label_names) == 1:
            predicted, target = predicted.squeeze(1), target.squeeze(1)
        self.train_f1.update(predicted, target)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last evaluation."""
        self._collected = {part: [] for part in EVALUATED}

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Keep a batch's logits, computed at full precision also where training runs in bfloat16."""
        logits = self.evaluated_output(batch["signal"])
        self._collected[EVALUATED[dataloader_idx]].append((batch["index"], logits, batch["label"]))

    def on_validation_epoch_end(self) -> None:
        """Join what the processes collected, one row a record, and score it."""
        for part, batches in self._collected.items():
            if not batches:
                continue
            rows, logits, targets = (
                self._from_all_processes(torch.cat(column)) for column in zip(*batches, strict=True)
            )
            unique, first = _first_of_each(rows)
            self.evaluated[part] = unique.cpu(), logits[first].cpu(), targets[first].cpu()
            self.scores[part] = score(
                self.evaluated[part][1].double().numpy(), self.evaluated[part][2].byte().numpy(), self.label_names
            )
            for name in get_args(Monitor):
                self.log(f"{part}/{name}", getattr(self.scores[part], name), logger=False)
        self._collected = {}
        if self.num_trained:
            self.train_scores = {
                "loss": float(self._mean_of_processes(self._loss_sum / self.num_trained)),
                "f1_weighted": float(self.train_f1.compute()),  # joins the processes, so all of them must come here
            }


def _first_of_each(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows in order, and where each stands first: processes may have repeated some."""
    order = torch.argsort(rows, stable=True)
    ordered = rows[order]
    is_first = torch.ones_like(ordered, dtype=torch.bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first], order[is_first]


def load_classifier(path: Path, *, trust: bool | str = False) -> ECGClassifier:
    """The classifier of a checkpoint, in evaluation mode on the CPU. Nothing but plain values and tensors is loaded.

    Args:
        path: The checkpoint.
        trust: Whether a backbone `package.module:factory` that it names may be imported, or the one that may.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The file is no checkpoint, is torn, or holds more than plain values and tensors.
        UntrustedCodeError: It names a backbone whose code is not trusted.
        WeightsMismatchError: Its weights are not those of the model it names.
    """
    checkpoint = read_checkpoint(path)
    described = _described(checkpoint.hyper_parameters, path)
    require_known(described["backbone"], path, trust=trust)
    windows: Windows | None = described["windows"]
    try:
        require_fit(
            {name: tuple(value.shape) for name, value in checkpoint.state.items()},
            described["backbone"],
            num_labels=len(described["label_names"]),
            num_leads=described["num_leads"],
            num_samples=described["num_samples"] if windows is None else windows.length,
        )
        require_numbers(checkpoint.state)
    except WeightsMismatchError as error:
        raise WeightsMismatchError(f"the weights in {path} cannot be used: {error}") from error
    classifier = ECGClassifier(**described)
    classifier.to(checkpoint.state["head.weight"].dtype).load_state_dict(checkpoint.state)
    return classifier.eval()


def _described(hyper_parameters: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A classifier's arguments out of a checkpoint's hyper-parameters; sizes are looked at by `require_fit`."""
    backbone, label_names = hyper_parameters.get("backbone"), hyper_parameters.get("label_names")
    are_names = isinstance(label_names, list) and all(isinstance(name, str) for name in label_names)
    if not isinstance(backbone, str) or not are_names or not isinstance(hyper_parameters.get("optim"), dict):
        found = ", ".join(map(str, hyper_parameters))
        raise ValueError(f"{path} is no checkpoint of a classifier: its hyper-parameters are {found[:200]}")
    try:
        windows = hyper_parameters.get("windows")
        return {
            "backbone": backbone,
            "label_names": label_names,
            "num_leads": hyper_parameters.get("num_leads", 12),
            "num_samples": hyper_parameters.get("num_samples", 1000),
            "windows": None if windows is None else Windows(**windows),
            "dropout": float(hyper_parameters.get("dropout", 0.0)),
            "optim": OptimConfig(**hyper_parameters["optim"]),
        }
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} was made by another version: {error}") from error
