from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ecg_transfer.study.significance import holm, p_floor, sign_flip_p


@pytest.mark.parametrize("num_pairs", [2, 5, 6, 9, 12])
@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_sign_flip_is_scipys_exact_permutation_test(num_pairs: int, shift: float) -> None:
    values = np.random.default_rng(num_pairs).normal(shift, 1, num_pairs)
    reference = stats.permutation_test(
        (values, np.zeros(num_pairs)), lambda a, b: np.mean(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_p(values) == pytest.approx(reference.pvalue, abs=1e-12)


def test_sign_flip_reaches_its_floor_and_no_less() -> None:
    for num_pairs in (3, 6, 10):
        assert sign_flip_p(np.arange(1, num_pairs + 1)) == p_floor(num_pairs) == 2 / 2**num_pairs


def test_sign_flip_of_ties_and_zeros() -> None:
    assert sign_flip_p([0.0, 0.0, 0.0]) == 1.0
    assert sign_flip_p([0.1, 0.1, 0.1, -0.1, 0.1, 0.1]) == 14 / 64  # 2 (1 + 6) of 64 sign vectors are as extreme


def test_random_signs_agree_with_the_normal_limit() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 60)
    normal = 2 * stats.norm.sf(abs(values.sum()) / np.sqrt((values**2).sum()))
    assert sign_flip_p(values) == pytest.approx(normal, abs=0.005)


@pytest.mark.parametrize("values", [[], [1.0, np.nan]])
def test_sign_flip_refuses_what_it_cannot_test(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        sign_flip_p(values)


def test_holm_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1 are .02 .03 .06 .04, and the last is raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]
    assert holm([]) == []
