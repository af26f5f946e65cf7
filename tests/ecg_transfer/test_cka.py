"""Linear CKA against a sum over quadruples of records, a hand-computed case and its invariances."""

from __future__ import annotations

from itertools import permutations
from math import nan, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor

from ecg_transfer.cka import gram, linear_cka


def hsic_by_quadruples(one: np.ndarray, other: np.ndarray) -> float:
    """The U-statistic itself (Song et al. 2012, equation 4): a mean over quadruples of different records."""
    terms = [
        one[i, j] * (other[i, j] + other[q, r] - 2 * other[i, q]) for i, j, q, r in permutations(range(len(one)), 4)
    ]
    return float(np.mean(terms))


def random_features(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n", [4, 5, 7])
def test_it_is_the_mean_over_quadruples(n: int) -> None:
    x = random_features(n, 3, seed=1)
    y = torch.cat([x[:, :2] @ random_features(2, 2, seed=2), random_features(n, 2, seed=3)], dim=1)
    products = [(values @ values.T).numpy() for values in (x, y)]
    cross, first, second = (
        hsic_by_quadruples(products[a], products[b]) for a, b in ((0, 1), (0, 0), (1, 1))
    )  # fmt: skip
    expected = cross / sqrt(first * second) if first * second > 0 else nan
    assert linear_cka(gram(x), gram(y)) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_case_by_hand() -> None:
    """Records at 0, 0, 1, 1 against 0, 1, 0, 1.

    Of the four records' products without the diagonal, K has a single pair (3, 4) and L a single pair (2, 4). By
    equation 5: tr(KL) = 0, the sums are 2 and 2, 1'KL1 = 1, so HSIC(K, L) = (0 + 4 / 6 - 1) / 4 = -1/12; and
    tr(KK) = 2, 1'KK1 = 2, so HSIC(K, K) = (2 + 4 / 6 - 2) / 4 = 1/6 = HSIC(L, L). CKA is their ratio, -1/2.
    """
    x, y = torch.tensor([[0.0], [0.0], [1.0], [1.0]]), torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    assert linear_cka(x @ x.T, y @ y.T) == pytest.approx(-0.5, abs=1e-12)
    assert linear_cka(gram(x), gram(y)) == pytest.approx(-0.5, abs=1e-6), "the mean does not matter"


def test_it_is_kornblith_and_others_where_records_are_many() -> None:
    """|Y'X|^2 / (|X'X| |Y'Y|) of centred features, equation 3 of arXiv 1905.00414."""
    x = random_features(1500, 5, seed=4)
    y = x @ random_features(5, 5, seed=5) + 2 * random_features(1500, 5, seed=6)
    a, b = x - x.mean(0), y - y.mean(0)
    expected = float((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))
    assert 0.1 < expected < 0.9
    assert linear_cka(gram(x), gram(y)) == pytest.approx(expected, abs=0.01)


def test_wide_embeddings_of_few_records_are_not_alike_by_chance() -> None:
    x, y = random_features(40, 2000, seed=7), random_features(40, 2000, seed=8)
    a, b = x - x.mean(0), y - y.mean(0)
    biased = float((b.T @ a).norm() ** 2 / ((a.T @ a).norm() * (b.T @ b).norm()))
    assert biased > 0.9
    assert abs(linear_cka(gram(x), gram(y))) < 0.1


def test_rotations_scales_and_shifts_do_not_matter() -> None:
    x = random_features(20, 6, seed=9)
    rotation, _ = torch.linalg.qr(random_features(6, 6, seed=10))
    assert linear_cka(gram(x), gram(3 * (x @ rotation) + 5)) == pytest.approx(1.0, abs=1e-9)
    stretched = x * torch.tensor([10.0, 1, 1, 1, 1, 1])
    assert linear_cka(gram(x), gram(stretched)) < 0.95


def test_a_dead_embedding_is_like_nothing() -> None:
    assert np.isnan(linear_cka(gram(torch.ones(8, 3)), gram(random_features(8, 3, seed=11))))


def test_three_records_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 records are too few for CKA, expected 4 or more"):
        linear_cka(torch.eye(3), torch.eye(3))
