"""A small transformer on patches of a quarter of a second, all leads together.

Dosovitskiy et al. 2020 (ViT, arXiv 2010.11929) in one dimension: linear patch embedding, fixed sine and cosine
positions (Vaswani et al. 2017, arXiv 1706.03762), pre-norm blocks, the mean of the tokens. Embedding, positions and
encoder stand apart, so that a masked pre-training may encode some of the patches only.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.backbone import Backbone

PATCH_SAMPLES = 25
"""0.25 s at 100 Hz: a QRS complex and its surroundings."""


class PatchEmbedding(nn.Module):
    """Cut a signal into patches and project each; zeros fill the last one.

    Args:
        num_leads: Leads of a signal.
        width: Of a token.
    """

    def __init__(self, num_leads: int, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(num_leads * PATCH_SAMPLES, width)

    def cut(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into patches `(B, P, 25 * num_leads)`, sample by sample; P = ceil(T / 25)."""
        by_time = F.pad(signal.transpose(1, 2), (0, 0, 0, -signal.shape[2] % PATCH_SAMPLES))
        patches: Tensor = by_time.unflatten(1, (-1, PATCH_SAMPLES)).flatten(2)  # type: ignore[no-untyped-call]
        return patches

    def forward(self, signal: Tensor) -> Tensor:
        """Embed `(B, num_leads, T)` as tokens `(B, P, width)`."""
        tokens: Tensor = self.projection(self.cut(signal))
        return tokens


def positions(num_tokens: int, width: int) -> Tensor:
    """The places of tokens in time, `(num_tokens, width)`: sines, then cosines, of geometric frequencies."""
    frequencies = torch.exp(torch.arange(width // 2) * (-math.log(10_000.0) / (width // 2)))
    angles = torch.arange(num_tokens).unsqueeze(1) * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Block(nn.Module):
    """Attention among the tokens, then two linear layers for each, both on normalised inputs with a shortcut."""

    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, 4 * width)
        self.linear2 = nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens `(B, P, width)` to the same shape."""
        heads = self.queries_keys_values(self.norm1(tokens)).unflatten(2, (3, self.num_heads, -1))
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(queries, keys, values).transpose(1, 2).flatten(2)
        tokens = tokens + self.dropout(self.join(attended))
        mixed = self.linear2(self.dropout(F.gelu(self.linear1(self.norm2(tokens)))))
        added: Tensor = tokens + self.dropout(mixed)
        return added


class PatchTransformer(Backbone):
    """Patches, positions, encoder; for signals of any length.

    Attributes:
        patches: `(B, num_leads, T)` -> tokens `(B, P, width)` without positions; `positions` gives those, `encode`
            takes all or some tokens that have them.

    Args:
        width: Of a token.
        depth: Blocks.
        num_heads: Of the attention.
        num_leads: Leads of a signal.
        dropout: In the blocks.
    """

    def __init__(self, width: int, depth: int, num_heads: int, *, num_leads: int = 12, dropout: float = 0.1) -> None:
        super().__init__(num_leads=num_leads, num_features=width)
        self.patches = PatchEmbedding(num_leads, width)
        self.blocks = nn.ModuleList(Block(width, num_heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def tokens(self, signal: Tensor) -> Tensor:
        """Embed `(B, num_leads, T)` as tokens with their positions, `(B, P, width)`."""
        tokens: Tensor = self.patches(signal)
        return tokens + positions(tokens.shape[1], tokens.shape[2]).to(tokens)

    def encode(self, tokens: Tensor) -> Tensor:
        """Let tokens with their positions, all or some of a record's, attend to each other: `(B, P, width)`."""
        for block in self.blocks:
            tokens = block(tokens)
        encoded: Tensor = self.norm(tokens)
        return encoded

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into `(B, width, ceil(T / 25))`."""
        return self.encode(self.tokens(signal)).transpose(1, 2)

    def pool(self, features: Tensor) -> Tensor:
        """Average the tokens: `(B, width)`."""
        return features.mean(dim=2)

    def stages(self) -> list[list[nn.Module]]:
        """List the patch embedding and the blocks, the last one with the final norm."""
        *first, last = ([block] for block in self.blocks)
        return [[self.patches], *first, [*last, self.norm]]


def patch_transformer(*, num_leads: int = 12, num_samples: int | None = None) -> PatchTransformer:
    """Build one of 6 blocks, width 192, 3 heads: 2,727,360 parameters at 12 leads. Any length, `num_samples` unused."""
    return PatchTransformer(192, 6, 3, num_leads=num_leads)
