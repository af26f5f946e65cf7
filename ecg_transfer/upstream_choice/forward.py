"""One pass of a downstream's records through a pre-trained model: embeddings, and what its own head says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecg_transfer.loaded_model import load_model
from ecg_transfer.models import Backbone
from ecg_transfer.precision import in_full_precision
from ecg_transfer.pretext.pretrained import pretrained_backbone
from ecg_transfer.runs import Run

if TYPE_CHECKING:
    from data_modules.datamodule import ECGDataModule
    from ecg_transfer.classifier import ECGClassifier
    from ecg_transfer.upstream import Upstream

MAX_FEATURES = 2048
"""Wider embeddings (the flattened RNNs have 100,000 features) are hashed down to so many."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """Some records of a downstream corpus as an upstream model sees them."""

    rows: NDArray[np.int64]
    """Row numbers in the corpus's table, (N,), rising."""
    features: NDArray[np.float32]
    """Embeddings, (N, F)."""
    logits: NDArray[np.float32]
    """Of the upstream's own labels, (N, Z); Z is 0 where it was trained without them."""
    targets: NDArray[np.uint8]
    """Downstream labels, (N, L)."""

    def at(self, rows: NDArray[np.int64]) -> Embedded:
        """Those of these rows, a subset of `rows`."""
        places = np.searchsorted(self.rows, rows)
        return Embedded(**{field.name: getattr(self, field.name)[places] for field in fields(self)})


def upstream_model(upstream: Upstream, *, trust: bool = False) -> ECGClassifier | Backbone:
    """The classifier of an upstream, or the backbone of one without labels, in evaluation mode on the CPU.

    Args:
        upstream: A finished run, or an exported model.
        trust: Whether to run the code of a model's own backbone, one of no name that is known here.

    Raises:
        ModelFolderError: An exported model that is damaged.
        UntrustedCodeError: Its backbone is code that is not trusted.
    """
    origin = upstream.origin
    if isinstance(origin, Run) and upstream.pretext != "none":
        return pretrained_backbone(origin, trust=trust)
    return load_model(origin if isinstance(origin, Run) else origin.path, trust=trust).classifier


def embed(
    model: ECGClassifier | Backbone, data: ECGDataModule, parts: Sequence[str] = ("train", "val"), *, seed: int = 0
) -> Mapping[str, Embedded]:
    """Send each part's records through a model once, on the GPU if there is one.

    Embeddings of more than `MAX_FEATURES` numbers are hashed: each feature is added, with a random sign, to a random
    one of `MAX_FEATURES` sums, which keeps inner products in expectation (Weinberger et al. 2009, arXiv 0902.2206).

    Args:
        model: The upstream's; its head may have any labels, or be missing.
        data: The downstream's, set up, prepared as the model's input.
        parts: Of the split.
        seed: Of the hashing.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.eval().to(device)
    dtype = next(model.parameters()).dtype
    narrow = _Hashing(seed)
    found = {}
    for part in parts:
        features, logits = [], []
        with torch.inference_mode(), in_full_precision(device):
            for batch in data.ordered_loader(part, sharded=False):
                embedding, of_labels = _forward(model, batch["signal"].to(device, dtype))
                logits.append(of_labels.float().cpu())
                features.append(narrow(embedding).float().cpu())
        rows = data.rows[part]
        found[part] = Embedded(
            rows=rows,
            features=torch.cat(features).numpy(),
            logits=torch.cat(logits).numpy(),
            targets=data.labels[rows],
        )
    model.cpu()
    return found


def _forward(model: ECGClassifier | Backbone, signal: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings (B, F) and logits (B, Z); of a model for windows, the mean embedding and the joined logits."""
    if isinstance(model, Backbone):
        embedding = model(signal)
        return embedding, embedding[:, :0]
    if model.windows is None:
        embedding = model.backbone(signal)
        return embedding, model.head(embedding)
    of_windows = model.backbone(model.windows.cut(signal))
    by_record = of_windows.unflatten(0, (len(signal), -1))
    return by_record.mean(dim=1), model.windows.join(model.head(of_windows), by_record.shape[1])


class _Hashing:
    """Feature hashing of wide embeddings; the same sums and signs for every batch."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._plan: tuple[Tensor, Tensor] | None = None

    def __call__(self, embedding: Tensor) -> Tensor:
        width = embedding.shape[1]
        if width <= MAX_FEATURES:
            return embedding
        if self._plan is None:
            rng = np.random.default_rng(self._seed)
            places = torch.from_numpy(rng.integers(MAX_FEATURES, size=width)).to(embedding.device)
            signs = torch.from_numpy(rng.choice([-1.0, 1.0], size=width)).to(embedding)
            self._plan = places, signs
        places, signs = self._plan
        sums = torch.zeros(len(embedding), MAX_FEATURES, device=embedding.device, dtype=embedding.dtype)
        return sums.index_add_(1, places, embedding * signs)
