"""Learning curves: score against training records, with power laws and bands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.effects import CellEffect

Floats = NDArray[np.float64]

MIN_SIZES = 4
"""Sizes below which no power law is fitted: it has three parameters."""

NUM_FITS = 500
"""Draws to which the power law is fitted again for its band."""

GRID, NUM_GRIDS = 41, 5
"""Exponents tried at a time, and how often the grid is made finer, each time by a factor of 20."""


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """error = a * n^-b + c, the usual form of a learning curve (Viering & Loog 2022, doi 10.1109/TPAMI.2022.3220744).

    `a` is not negative, `b` lies between 0 and 2, `c` is the error that no data removes. Curves need not have this
    form: look at the points beside it, and do not extrapolate beyond twice the largest size.
    """

    a: float
    b: float
    c: float

    def error(self, sizes: ArrayLike) -> Floats:
        """1 - score at these sizes."""
        return np.asarray(self.a * np.asarray(sizes, dtype=np.float64) ** -self.b + self.c)

    def score(self, sizes: ArrayLike) -> Floats:
        """The score at these sizes."""
        return 1 - self.error(sizes)


@dataclass(frozen=True, eq=False)
class LearningCurve:
    """The cells that differ in the size of the training set alone, by size."""

    points: tuple[CellEffect, ...]

    @property
    def name(self) -> str:
        """What was compared."""
        cell = self.points[0].cell
        kind = " SIMULATED" if cell.simulated else ""
        return f"{cell.upstream} -> {cell.downstream_name}, {cell.backbone}, {cell.recipe}{kind}"

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Training records (K,), rising."""
        return np.array([point.cell.num_train for point in self.points])

    @property
    def difference(self) -> Floats:
        """Fine-tune minus scratch at each size (K,)."""
        return np.array([point.effect.estimate for point in self.points])

    @cached_property
    def difference_draws(self) -> Floats:
        """Its draws (K, B)."""
        return np.stack([point.difference_draws for point in self.points])

    def scores(self, arm: str) -> Floats:
        """Mean score of an arm at each size (K,)."""
        return np.array([point.scores[arm] for point in self.points])

    def draws(self, arm: str) -> Floats:
        """Its draws (K, B)."""
        return np.stack([point.draws[arm] for point in self.points])

    def bands(self, arm: str) -> Floats:
        """95 % limits of an arm's mean score at each size (K, 2), over patients and seeds."""
        return np.array([interval(point.draws[arm]) for point in self.points])

    def fit(self, arm: str) -> PowerLaw | None:
        """An arm's power law; None with fewer than `MIN_SIZES` sizes."""
        if len(self.points) < MIN_SIZES:
            return None
        return fit_power_law(self.sizes, 1 - self.scores(arm), self.draws(arm).std(axis=1))

    def fit_note(self) -> str:
        """Why there is no fit; empty where there is one."""
        if len(self.points) >= MIN_SIZES:
            return ""
        return f"no power law: {len(self.points)} sizes, at least {MIN_SIZES} are needed for its three parameters"

    def fit_band(self, arm: str, sizes: ArrayLike, num_fits: int = NUM_FITS) -> Floats:
        """95 % limits (M, 2) of the power law at M sizes, from fits to draws; NaN where there is no fit."""
        at = np.asarray(sizes, dtype=np.float64)
        if len(self.points) < MIN_SIZES:
            return np.full((len(at), 2), np.nan)
        draws = self.draws(arm)
        errors = np.clip(1 - draws[:, :num_fits].T, 1e-6, None)
        a, b, c = _fit(self.sizes.astype(np.float64), errors, draws.std(axis=1))
        scores = 1 - (a * at[:, None] ** -b + c)
        return np.array([interval(column) for column in scores])


def learning_curves(effects: Iterable[CellEffect]) -> list[LearningCurve]:
    """The learning curves among cells: at least two sizes of one series, sorted by what they compare.

    Subsets that come to the same records, 100 and a quarter of 400, are one point: the cell with the most seeds.
    """
    series: dict[str, dict[int, CellEffect]] = defaultdict(dict)
    for effect in effects:
        points, size = series[effect.cell.series], effect.cell.num_train
        if size not in points or len(effect.cell.units) > len(points[size].cell.units):
            points[size] = effect
    curves = [
        LearningCurve(tuple(points[size] for size in sorted(points))) for points in series.values() if len(points) >= 2
    ]
    return sorted(curves, key=lambda curve: curve.name)


def fit_power_law(sizes: ArrayLike, errors: ArrayLike, deviations: ArrayLike | None = None) -> PowerLaw:
    """Fit by weighted least squares within a >= 0, 0 < b < 2, 0 <= c <= smallest error.

    For a given b the best a and c have a closed form, so that only b is searched, on ever finer grids (variable
    projection, Golub & Pereyra 1973, doi 10.1137/0710036): no start to choose and no local minimum to be caught in.

    Args:
        sizes: Training records, at least `MIN_SIZES` different ones.
        errors: 1 - score at each.
        deviations: Standard deviations of the errors, whose inverse squares are weights; None or any zeros weigh all
            the same.

    Raises:
        ValueError: Too few sizes, or errors that are not above 0.
    """
    n, error = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if len(np.unique(n)) < MIN_SIZES or not (error > 0).all():
        raise ValueError(f"sizes are {n.tolist()} and errors {error.tolist()}, expected {MIN_SIZES} sizes, errors > 0")
    a, b, c = _fit(n, error[None], deviations)
    return PowerLaw(a=float(a[0]), b=float(b[0]), c=float(c[0]))


def _fit(sizes: Floats, errors: Floats, deviations: ArrayLike | None) -> tuple[Floats, Floats, Floats]:
    """Power laws a, b, c, each (D,), of D curves (D, K)."""
    sigma = np.ones(len(sizes)) if deviations is None else np.asarray(deviations, dtype=np.float64)
    weights = sigma**-2.0 if (sigma > 0).all() else np.ones(len(sizes))
    logs = np.log(sizes)
    centre = logs.mean()  # sizes are taken relative to it, or powers of large ones would lose digits
    b, step = np.full((len(errors), 1), 1.0), 1.0
    for _ in range(NUM_GRIDS):
        grid = np.clip(b + step * np.linspace(-1, 1, GRID), 1e-6, 2 - 1e-6)
        power = np.exp(-grid[..., None] * (logs - centre))
        a, c = _best_line(power, errors[:, None], weights)
        misfit = ((power * a[..., None] + c[..., None] - errors[:, None]) ** 2 @ weights).argmin(axis=1)[:, None]
        a, b, c = (np.take_along_axis(values, misfit, axis=1) for values in (a, grid, c))
        step *= 2 / (GRID - 1)
    return (a * np.exp(b * centre))[:, 0], b[:, 0], c[:, 0]


def _best_line(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """The a >= 0 and 0 <= c <= min(y) for which a * x + c is nearest to y, over the last dimension."""
    sum_x, sum_y, total = x @ weights, y @ weights, weights.sum()
    sum_xx, sum_xy = x**2 @ weights, (x * y) @ weights
    spread = total * sum_xx - sum_x**2
    slope = (total * sum_xy - sum_x * sum_y) / np.where(spread > 0, spread, np.inf)
    floor = np.clip((sum_y - slope * sum_x) / total, 0, y.min(axis=-1))
    return np.maximum((sum_xy - floor * sum_x) / sum_xx, 0), floor
