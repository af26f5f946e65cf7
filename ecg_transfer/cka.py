"""Linear CKA: how alike two networks see the same records, whatever the directions of their embeddings.

Kornblith et al. 2019 (arXiv 1905.00414). Their estimate is near 1 for any two embeddings that are wider than the
records are many; the unbiased estimate of HSIC (Song et al. 2012, jmlr.org/papers/v13/song12a.html), which Nguyen et
al. 2021 (arXiv 2010.15327) put in its place, has no such bias, and is what is taken here.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MIN_RECORDS = 4
"""Below which the unbiased estimate does not exist."""


def gram(features: Tensor) -> Tensor:
    """Products (n, n) of the embeddings (n, ...) of n records, all that CKA needs of them.

    The mean embedding is taken off first, which changes no CKA and keeps digits.
    """
    rows = features.detach().flatten(1)
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    rows = rows - rows.mean(dim=0)
    return rows @ rows.T


def linear_cka(one: Tensor, other: Tensor) -> float:
    """CKA of two embeddings of the same n records, at least 4.

    Args:
        one: Their products (n, n), as `gram` gives them.
        other: Those of the other network.

    Returns:
        1 where the embeddings are equal up to a rotation and a scale, about 0 where they have nothing in common; by
        chance a little below. NaN where one embedding is the same for every record.
    """
    first, second = _without_diagonal(one), _without_diagonal(other)
    scale = _hsic(first, first) * _hsic(second, second)
    return _hsic(first, second) / math.sqrt(scale) if scale > 0 else math.nan


def _without_diagonal(products: Tensor) -> Tensor:
    return products.double().cpu() - torch.diag(products.double().cpu().diagonal())


def _hsic(one: Tensor, other: Tensor) -> float:
    """HSIC_1 of Song et al. 2012, equation 5, of matrices (n, n) whose diagonals are zero."""
    n = len(one)
    if n < MIN_RECORDS:
        raise ValueError(f"{n} records are too few for CKA, expected {MIN_RECORDS} or more")
    rows, columns = one.sum(dim=1), other.sum(dim=1)
    total = (one * other).sum() + rows.sum() * columns.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows @ columns)
    return float(total) / (n * (n - 3))
