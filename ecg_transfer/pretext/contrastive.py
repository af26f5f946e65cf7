"""Two views of a recording are to be known among those of others: NT-Xent on a projection of the embedding.

SimCLR's loss (Chen et al. 2020, arXiv 2002.05709) with the views of CLOCS or PCLR; see `data_modules.positive_pairs`.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, distributed, nn
from torch.nn.functional import cross_entropy, normalize

from ecg_transfer.models import Backbone
from ecg_transfer.pretext.config import PretextConfig

MAX_HIDDEN, WIDTH = 512, 128
"""Of the projector, which is not transferred: SimCLR's has as many hidden units as the embedding, and 128 outputs."""


class Contrastive(nn.Module):
    """The projector, and the loss of a batch of views.

    Args:
        backbone: Its embedding is projected.
        pretext: The temperature.
        dropout: Share of the embedding's features that are zeroed in training.

    Attributes:
        num_processes: That train together, each on its share of every batch.
    """

    def __init__(self, backbone: Backbone, pretext: PretextConfig, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = min(backbone.num_features, MAX_HIDDEN)
        self.temperature, self.num_processes = pretext.temperature, 1
        self.projector = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(backbone.num_features, hidden), nn.ReLU(), nn.Linear(hidden, WIDTH)
        )

    def forward(
        self, backbone: Backbone, signal: Tensor, groups: Tensor, generator: Generator | None
    ) -> dict[str, Tensor]:
        """The `loss` of a batch, and the `retrieval`: the share of views that are likest to their positives.

        Of several processes each gives those of the global batch: a record's negatives are the records of all devices.

        Args:
            backbone: That is trained.
            signal: (2B, leads, T): all first views, then all second ones.
            groups: Number of the patient of each record, (B,).
            generator: Not needed: the views were drawn before.
        """
        first, second = self.projector(backbone(signal)).chunk(2)
        if self.num_processes > 1:
            first, second, groups = (of_all_processes(values) for values in (first, second, groups))
        similarity = similarities(first, second, groups) / self.temperature
        target = positives(len(first), signal.device)
        retrieved = (similarity.argmax(dim=1) == target).float().mean()
        return {"loss": cross_entropy(similarity, target), "retrieval": retrieved}


def of_all_processes(values: Tensor) -> Tensor:
    """Rows (B, ...) of each process, one after the other; every process has as many.

    A gradient goes back to a process's own rows alone, and times the number of processes: each of them has the whole
    batch's loss, and a distributed run takes the mean of what they find.
    """
    own, size = distributed.get_rank(), distributed.get_world_size()
    parts = [torch.empty_like(values) for _ in range(size)]
    distributed.all_gather(parts, values.detach().contiguous())
    if values.requires_grad:
        parts[own] = parts[own] + (values - values.detach()) * size
    return torch.cat(parts)


def nt_xent(first: Tensor, second: Tensor, temperature: float, groups: Tensor | None = None) -> Tensor:
    """The normalised temperature-scaled cross-entropy: of each of the 2B views as the one that knows its positive.

    -log(exp(s_ij / t) / sum_k exp(s_ik / t)), s being cosines and k all views but i itself and, with `groups`, other
    records of the same patient, which are no negatives.

    Args:
        first: Projections (B, D).
        second: Those of the other views, in the same order.
        temperature: t.
        groups: Number of the patient of each record, (B,); None counts every record as one of its own.
    """
    return cross_entropy(similarities(first, second, groups) / temperature, positives(len(first), first.device))


def similarities(first: Tensor, second: Tensor, groups: Tensor | None = None) -> Tensor:
    """Cosines (2B, 2B) of all views in float32, -inf where two are not compared: see `nt_xent`."""
    with torch.autocast(first.device.type, enabled=False):
        views = torch.cat([first, second])
        views = normalize(views if views.dtype == torch.float64 else views.float(), dim=1)
        cosines = views @ views.T
    size = len(first)
    patients = torch.arange(size, device=first.device) if groups is None else groups
    left_out = (patients[:, None] == patients).repeat(2, 2)
    left_out[torch.arange(2 * size), positives(size, first.device)] = False
    return cosines.masked_fill(left_out, -torch.inf)


def positives(size: int, device: torch.device) -> Tensor:
    """The number of each view's positive, (2B,): B + i of view i, i of view B + i."""
    return torch.arange(2 * size, device=device).roll(size)
