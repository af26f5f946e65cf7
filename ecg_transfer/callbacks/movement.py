"""How far a fine-tuned backbone has moved from the pre-trained one: by its weights, and by how it sees records."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from data_modules.batches import Batch
from ecg_transfer.cka import MIN_RECORDS, gram, linear_cka
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.models import Backbone
from ecg_transfer.precision import in_full_precision
from ecg_transfer.ways import lists_stages, stage_names, stage_parameters

NUM_RECORDS = 32
"""Of the fixed batch: the first validation records. They cost 1.8 % of an epoch of 184 records; 45 cost 2.7 %."""

WHOLE = ""
"""What the whole backbone is called among its stages, as among its modules; its output is the embedding."""


class Movement(pl.Callback):
    """Measure at each evaluation, as `classifier.movement`, for the epoch's record.

    `distance` has |w - w0| / |w0| of each stage's weights w, where w0 are the pre-trained ones, and `distance_all` that
    of all of them: 0 is where it started, 1 is as far as zero is. `cka` has the likeness of what each stage gives out
    to what it gave out before, from 1 (the same but for a rotation) to about 0 (nothing in common), and `cka_embedding`
    that of the embedding. A stage has none whose last module does not give a tensor, records first. Of a model for
    crops each record counts with its first window: its other ones are no further records.

    The outputs are taken from the evaluation's own first batch as it passes by, so that they cost no pass of their own
    but for one with the pre-trained weights at the start of each attempt.

    Args:
        start: The backbone's state as it was pre-trained.
    """

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        self._start = dict(start)
        self._before: dict[str, Tensor] = {}
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []
        self._now: dict[str, Tensor] = {}
        self._distance: dict[str, float] = {}
        self._inputs: list[Tensor] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the start to where the weights are."""
        self._start = {name: value.to(pl_module.device) for name, value in self._start.items()}

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Listen to the first batch."""
        if trainer.is_global_zero and (batch_idx, dataloader_idx) == (0, 0):
            assert isinstance(pl_module, ECGClassifier)
            self._now, self._inputs = {}, []
            backbone = pl_module.backbone
            num_windows = num_windows_of(pl_module, batch["signal"])
            self._hooks = [
                backbone.register_forward_pre_hook(lambda _, inputs: self._inputs.append(inputs[0][::num_windows])),
                backbone.register_forward_hook(lambda *_: self._measure(backbone)),
                *_listen(backbone, self._now, num_windows),
            ]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Compare what was heard with what the pre-trained weights gave out."""
        if not self._hooks:
            return
        assert isinstance(pl_module, ECGClassifier)
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        if not self._before and self._inputs:
            self._before = _heard(pl_module.backbone, self._start, self._inputs[0][:NUM_RECORDS])
        self._inputs = []
        distance, cka = self._distance, self._likeness()
        wholes = {"distance_all": distance.pop(WHOLE, None), "cka_embedding": cka.pop(WHOLE, None)}
        pl_module.movement = {"distance": distance, "cka": cka, **wholes}

    def _measure(self, backbone: Backbone) -> None:
        """Measure the weights that are evaluated: with `optim.ema` they are only there while a batch passes."""
        self._distance = distances(backbone, self._start)

    def _likeness(self) -> dict[str, float]:
        found = {
            name: linear_cka(before, self._now[name])
            for name, before in self._before.items()
            if name in self._now and len(before) == len(self._now[name]) >= MIN_RECORDS
        }
        return {name: value for name, value in found.items() if math.isfinite(value)}


@torch.no_grad()
def distances(backbone: Backbone, start: Mapping[str, Tensor]) -> dict[str, float]:
    """|w - w0| / |w0| of each stage's weights, and, under an empty name, of all of them.

    Args:
        backbone: As it is.
        start: Its state as it was, on the same device; running statistics are no weights and do not count.

    Returns:
        By the stages' names, those left out that have no weights or started at zero; of a backbone that does not list
        its stages, of all weights alone.
    """
    names = {id(weight): name for name, weight in backbone.named_parameters()}
    listed = zip(stage_names(backbone), stage_parameters(backbone), strict=True) if lists_stages(backbone) else ()
    parts = {name: stage for name, stage in listed if stage} or {"every weight": list(backbone.parameters())}
    pairs = [[(weight, start[names[id(weight)]]) for weight in part] for part in parts.values()]
    norms = torch.stack([_norms(part) for part in pairs]).tolist()
    norms.append([math.hypot(*column) for column in zip(*norms, strict=True)])
    named = zip([*parts, WHOLE], norms, strict=True)
    return {name: moved / was for name, (moved, was) in named if was > 0}


def _norms(pairs: list[tuple[nn.Parameter, Tensor]]) -> Tensor:
    """|w - w0| and |w0| (2,) of some weights and their starts."""
    each = [(torch.dist(weight, before), torch.linalg.vector_norm(before)) for weight, before in pairs]
    moved, was = (torch.linalg.vector_norm(torch.stack(column)) for column in zip(*each, strict=True))
    return torch.stack([moved, was])


def _heard(backbone: Backbone, state: Mapping[str, Tensor], signal: Tensor) -> dict[str, Tensor]:
    """What a backbone of this state gives out for a batch, as `_listen` notes it."""
    with torch.no_grad(), in_full_precision(signal.device):
        before = deepcopy(backbone)
        before.load_state_dict(state)
        notes: dict[str, Tensor] = {}
        _listen(before, notes)
        before.eval()(signal)
    return notes


def num_windows_of(classifier: ECGClassifier, signal: Tensor) -> int:
    """Rows beside each other that a backbone is given of each record of a batch (B, leads, T)."""
    windows = classifier.windows
    return 1 if windows is None else len(windows.starts(signal.shape[2]))


def _listen(
    backbone: Backbone, notes: dict[str, Tensor], num_windows: int = 1
) -> list[torch.utils.hooks.RemovableHandle]:
    """Have each stage's output noted, the first time it is given out, as the products that CKA needs."""

    def note(name: str, output: object) -> None:
        features = output[0] if isinstance(output, tuple) else output
        if name not in notes and isinstance(features, Tensor) and features.dim() > 1:
            notes[name] = gram(features[::num_windows][:NUM_RECORDS])

    stages = backbone.stages() if lists_stages(backbone) else []
    heard = [*zip(stage_names(backbone) if stages else [], (stage[-1] for stage in stages), strict=True)]
    return [
        module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
        for name, module in [*heard, (WHOLE, backbone)]
    ]
