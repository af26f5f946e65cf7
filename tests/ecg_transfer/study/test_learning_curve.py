from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import curve_fit

from ecg_transfer.study.effects import cell_effects
from ecg_transfer.study.equivalence import (
    crossing,
    crossover,
    crossover_sentence,
    data_equivalence,
    equivalence_sentences,
    equivalent_size,
)
from ecg_transfer.study.learning_curve import LearningCurve, fit_power_law, learning_curves
from ecg_transfer.study.pairs import find_cells

SIZES = (100, 200, 400, 800, 1600, 3200)


@pytest.fixture
def curve(make_study: Callable[..., Any], fake_cell: Callable[..., object]) -> Callable[..., LearningCurve]:
    def of(
        finetune: list[float], scratch: list[float], noise: float = 0.0, sizes: tuple[int, ...] = SIZES
    ) -> LearningCurve:
        rng = np.random.default_rng(0)
        cells = [
            fake_cell(
                finetune=list(tuned + rng.normal(0, noise, 8)), scratch=list(plain + rng.normal(0, noise, 8)),
                num_train=size, subset=float(size), downstream="ptbxl", upstream="georgia",
            )
            for size, tuned, plain in zip(sizes, finetune, scratch, strict=True)
        ]  # fmt: skip
        (found,) = learning_curves(cell_effects(find_cells(make_study(cells).results), num_draws=500))
        return found

    return of


@pytest.mark.parametrize(("a", "b", "c"), [(3.0, 0.5, 0.1), (0.9, 0.15, 0.0), (40.0, 1.2, 0.25)])
def test_a_power_law_is_recovered(a: float, b: float, c: float) -> None:
    sizes = np.array(SIZES)
    law = fit_power_law(sizes, a * sizes**-b + c)
    assert [law.a, law.b] == pytest.approx([a, b], rel=0.02)
    assert law.c == pytest.approx(c, abs=0.01)
    assert law.score(800) == pytest.approx(1 - (a * 800**-b + c), abs=1e-4)


def test_the_fit_is_scipys_best() -> None:
    rng = np.random.default_rng(0)
    sizes = np.array(SIZES, dtype=float)
    for _ in range(5):
        errors = 2 * sizes**-0.4 + 0.15 + rng.normal(0, 0.01, len(sizes))
        deviations = rng.uniform(0.005, 0.02, len(sizes))
        parameters, _ = curve_fit(
            lambda n, a, b, c: a * n**-b + c, sizes, errors, p0=(2, 0.4, 0.1), sigma=deviations,
            bounds=((0, 0, 0), (np.inf, 2, errors.min())), max_nfev=100_000, xtol=1e-12, ftol=1e-14, gtol=1e-12,
        )  # fmt: skip
        scipys = (((parameters[0] * sizes ** -parameters[1] + parameters[2] - errors) / deviations) ** 2).sum()
        ours = (((fit_power_law(sizes, errors, deviations).error(sizes) - errors) / deviations) ** 2).sum()
        assert ours == pytest.approx(scipys, rel=1e-4)


def test_weights_make_a_noisy_size_count_less() -> None:
    sizes = np.array(SIZES)
    errors = 3 * sizes**-0.5 + 0.1
    errors[2] += 0.1
    deviations = np.full(6, 0.001)
    deviations[2] = 1.0
    assert fit_power_law(sizes, errors, deviations).error(1600) == pytest.approx(3 * 1600**-0.5 + 0.1, abs=2e-3)


def test_a_fit_keeps_its_bounds() -> None:
    law = fit_power_law(SIZES, [0.3, 0.31, 0.32, 0.33, 0.34, 0.35])  # a curve that gets worse has no power law
    assert law.a >= 0
    assert 0 < law.b < 2
    assert 0 <= law.c <= 0.3


def test_three_sizes_give_no_fit_and_say_so(curve: Callable[..., LearningCurve]) -> None:
    short = curve([0.5, 0.6, 0.7], [0.4, 0.5, 0.6], sizes=(100, 200, 400))
    assert short.fit("scratch") is None
    assert "3 sizes, at least 4" in short.fit_note()
    assert np.isnan(short.fit_band("scratch", [100.0])).all()
    with pytest.raises(ValueError, match="expected 4 sizes"):
        fit_power_law([1, 2, 3], [0.3, 0.2, 0.1])


def test_the_band_of_a_fit_holds_the_true_curve(curve: Callable[..., LearningCurve]) -> None:
    scores = list(1 - (3 * np.array(SIZES) ** -0.5 + 0.1))
    found = curve(scores, scores, noise=0.01)
    assert found.fit_note() == ""
    low, high = found.fit_band("scratch", [300.0, 1000.0], num_fits=60).T
    truth = 1 - (3 * np.array([300.0, 1000.0]) ** -0.5 + 0.1)
    assert (low < truth).all()
    assert (truth < high).all()
    assert (high - low < 0.05).all()


def test_a_known_crossover(curve: Callable[..., LearningCurve]) -> None:
    # The difference falls from +0.05 to -0.05 between 800 and 3200: in the logarithm it is 0 at 1600.
    found = crossover(curve([0.85, 0.85, 0.85, 0.85, 0.85, 0.85], [0.6, 0.7, 0.75, 0.8, 0.85 + 1e-9, 0.9], noise=0.003))
    assert found.estimate == pytest.approx(1600, rel=0.1)
    assert 800 < found.low < 1600 < found.high < 3200
    assert found.is_in_range


def test_no_crossover_in_range_says_on_which_side(curve: Callable[..., LearningCurve]) -> None:
    scratch = [0.3, 0.4, 0.5, 0.6, 0.65, 0.7]
    ahead = curve([score + 0.1 for score in scratch], scratch)
    behind = curve([score - 0.1 for score in scratch], scratch)
    assert crossover(ahead).estimate == np.inf
    assert crossover(behind).estimate == -np.inf
    assert crossover_sentence(ahead).startswith("no crossover in range: fine-tuning is ahead up to 3200 records")
    assert crossover_sentence(behind).startswith("no crossover in range: scratch is as good from 100 records on")
    assert crossover(ahead).text() == "more than 3200 [more than 3200, more than 3200]"


def test_crossing_by_hand() -> None:
    assert crossing([10, 1000], [1.0, -1.0]) == pytest.approx(100)
    assert crossing([10, 100, 1000, 10_000], [1.0, -1.0, 3.0, -1.0]) == pytest.approx(1000 * 10**0.75)  # for good
    assert crossing([10, 100], [0.5, 0.0]) == pytest.approx(100)


def test_known_data_equivalence(curve: Callable[..., LearningCurve]) -> None:
    # Scratch gains 0.1 with each doubling, fine-tuning is 0.2 ahead: it is worth four times the records.
    scratch = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = data_equivalence(curve([score + 0.2 for score in scratch], scratch, noise=0.005))
    assert [estimate.estimate for estimate in found[:3]] == pytest.approx([400, 800, 1600], rel=0.05)
    assert all(estimate.low < 4 * size < estimate.high for estimate, size in zip(found[:3], SIZES, strict=False))
    assert found[-1].estimate == np.inf
    assert found[-1].text() == "more than 3200 [more than 3200, more than 3200]"


def test_equivalence_is_told_in_a_sentence(curve: Callable[..., LearningCurve]) -> None:
    scratch = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    sentences = equivalence_sentences(curve([score + 0.1 for score in scratch], scratch))
    assert sentences[1].startswith("fine-tuning on 200 equals scratch on 400 [")


def test_equivalent_size_by_hand() -> None:
    assert equivalent_size([10, 1000], [0.0, 1.0], 0.5) == pytest.approx(100)
    assert equivalent_size([10, 100], [0.5, 0.6], 0.4) == -np.inf
    assert equivalent_size([10, 100], [0.5, 0.6], 0.7) == np.inf
    assert equivalent_size([10, 100], [0.5, 0.6], 0.5) == 10
    # 0.6 then 0.4 are pooled to 0.5 and 0.5: the first size with 0.5 is 10
    assert equivalent_size([10, 100, 1000], [0.6, 0.4, 0.9], 0.7) == pytest.approx(100 * 10**0.5)


def test_a_single_size_is_no_curve(make_study: Callable[..., Any], fake_cell: Callable[..., object]) -> None:
    cells = find_cells(make_study([fake_cell(finetune=[0.5] * 6, scratch=[0.4] * 6)]).results)
    assert learning_curves(cell_effects(cells, num_draws=10)) == []


def test_subsets_of_one_size_are_one_point(make_study: Callable[..., Any], fake_cell: Callable[..., object]) -> None:
    """100 and a quarter of 400 are the same records; four subsets are no four sizes, which a power law needs."""
    scores = {0: (0.5, 0.6), 1: (0.6, 0.7), 2: (0.6, 0.7, 0.8), 3: (0.7, 0.9)}
    sizes = {0: (50, 50.0), 1: (100, 100.0), 2: (100, 0.25), 3: (400, float("nan"))}
    cells = [
        fake_cell(finetune=list(scores[place]), scratch=[0.5] * len(scores[place]), num_train=size, subset=subset)
        for place, (size, subset) in sizes.items()
    ]
    (curve,) = learning_curves(cell_effects(find_cells(make_study(cells).results), num_draws=100))
    assert curve.sizes.tolist() == [50, 100, 400]
    assert [len(point.cell.units) for point in curve.points] == [2, 3, 2]
    assert curve.fit("finetune") is None
    assert curve.fit_note() == "no power law: 3 sizes, at least 4 are needed for its three parameters"
