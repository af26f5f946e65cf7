"""Patches that were left out are to be filled in: a masked autoencoder on the tokens of a `PatchTransformer`.

He et al. 2022 (MAE, arXiv 2111.06377), for ECGs Na et al. 2024 (ST-MEM, arXiv 2402.09450): the encoder sees the other
patches alone; a small decoder, which is not transferred, gets a learnt token in the place of each that was left out.
Here a patch is a quarter of a second of all leads together, where ST-MEM's are of single leads.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from ecg_transfer.models.patch_transformer import PATCH_SAMPLES, Block, PatchTransformer, positions
from ecg_transfer.pretext.config import PretextConfig

WIDTH, DEPTH, NUM_HEADS = 96, 2, 3
"""Of the decoder: half the encoder's width, a third of its depth."""


class MaskedPatches(nn.Module):
    """The decoder, and the loss of a batch.

    Args:
        backbone: Its encoder is trained.
        pretext: The share that is left out.
    """

    def __init__(self, backbone: PatchTransformer, pretext: PretextConfig) -> None:
        super().__init__()
        self.mask_share = pretext.mask_share
        self.narrow = nn.Linear(backbone.num_features, WIDTH)
        self.mask_token = nn.Parameter(torch.zeros(WIDTH).normal_(std=0.02))
        self.blocks = nn.ModuleList(Block(WIDTH, NUM_HEADS, dropout=0.0) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.fill = nn.Linear(WIDTH, backbone.num_leads * PATCH_SAMPLES)

    def forward(
        self, backbone: PatchTransformer, signal: Tensor, groups: Tensor, generator: Generator | None
    ) -> dict[str, Tensor]:
        """The `loss` of a batch: see `masked_error`.

        Args:
            backbone: That is trained.
            signal: (B, leads, T).
            groups: Not needed: no record is compared with another.
            generator: Of the masks; None draws them from torch's stream.
        """
        tokens = backbone.tokens(signal)
        order, num_seen = self.draw(len(signal), tokens.shape[1], generator)
        order = order.to(tokens.device)
        seen = _take(tokens, order[:, :num_seen])
        filled = self.decode(backbone.encode(seen), order)
        wanted = _take(backbone.patches.cut(signal), order[:, num_seen:])
        return {"loss": masked_error(filled[:, num_seen:], wanted)}

    def draw(self, num_records: int, num_patches: int, generator: Generator | None) -> tuple[Tensor, int]:
        """The patches of each record in a random order, (B, P), and how many of the first are seen."""
        order = torch.rand(num_records, num_patches, generator=generator).argsort(dim=1)
        return order, num_patches - min(max(1, round(self.mask_share * num_patches)), num_patches - 1)

    def decode(self, encoded: Tensor, order: Tensor) -> Tensor:
        """Fill in all patches, (B, P, 25 * leads), in the given order.

        Args:
            encoded: Of those that were seen, the first of that order, (B, S, width).
            order: (B, P).
        """
        seen = self.narrow(encoded)
        missing = self.mask_token.to(seen.dtype).expand(len(order), order.shape[1] - seen.shape[1], -1)
        tokens = torch.cat([seen, missing], dim=1) + positions(order.shape[1], WIDTH).to(seen)[order]
        for block in self.blocks:
            tokens = block(tokens)
        filled: Tensor = self.fill(self.norm(tokens))
        return filled


def masked_error(filled: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared error of patches (B, M, N), each of the wanted ones brought to mean 0 and variance 1 by itself.

    So MAE does, that what is learnt is the shape, not the amplitude. Only the patches that were left out are given.
    """
    wanted = wanted if wanted.dtype == torch.float64 else wanted.float()
    variance, mean = torch.var_mean(wanted, dim=2, keepdim=True)
    return (filled.to(wanted) - (wanted - mean) / (variance + 1e-6).sqrt()).square().mean()


def _take(tokens: Tensor, places: Tensor) -> Tensor:
    """The tokens (B, S, N) at some places (B, S) of (B, P, N)."""
    return tokens.gather(1, places.unsqueeze(2).expand(-1, -1, tokens.shape[2]))
