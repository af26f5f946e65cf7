"""Learning curves: score against training records, with power laws and bands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import curve_fit

from ecg_transfer.study.bootstrap import interval
from ecg_transfer.study.effects import CellEffect

Floats = NDArray[np.float64]

MIN_SIZES = 4
"""Sizes below which no power law is fitted: it has three parameters."""

NUM_FITS = 200
"""Draws to which the power law is fitted again for its band; each fit takes milliseconds."""

STARTS = (0.2, 0.6, 1.2)
"""Exponents from which the fit is tried; the best one counts."""


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """error = a * n^-b + c, the usual form of a learning curve (Viering & Loog 2022, doi 10.1109/TPAMI.2022.3220744).

    `a` is above 0, `b` between 0 and 2, `c` the error that no data removes. Curves need not have this form: look at the
    points beside it, and do not extrapolate beyond twice the largest size.
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
        return f"{cell.upstream} -> {cell.downstream}, {cell.backbone}, {cell.recipe}{kind}"

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
        fits = [
            fit_power_law(self.sizes, np.clip(1 - scores, 1e-6, None), draws.std(axis=1)).score(at)
            for scores in draws.T[:num_fits]
        ]
        return np.array([interval(column) for column in np.stack(fits, axis=1)])


def learning_curves(effects: Iterable[CellEffect]) -> list[LearningCurve]:
    """The learning curves among cells: at least two sizes of one series, sorted by what they compare."""
    series: dict[str, list[CellEffect]] = defaultdict(list)
    for effect in effects:
        series[effect.cell.series].append(effect)
    curves = [
        LearningCurve(tuple(sorted(points, key=lambda point: point.cell.num_train)))
        for points in series.values()
        if len({point.cell.num_train for point in points}) >= 2
    ]
    return sorted(curves, key=lambda curve: curve.name)


def fit_power_law(sizes: ArrayLike, errors: ArrayLike, deviations: ArrayLike | None = None) -> PowerLaw:
    """Fit by non-linear least squares within 0 < a, 0 < b < 2, 0 <= c < smallest error.

    Args:
        sizes: Training records, at least `MIN_SIZES` different ones.
        errors: 1 - score at each.
        deviations: Standard deviations of the errors, as weights; None or any zeros weigh all the same.

    Raises:
        ValueError: Too few sizes, or errors that are not above 0.
    """
    n, error = np.asarray(sizes, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if len(np.unique(n)) < MIN_SIZES or not (error > 0).all():
        raise ValueError(f"sizes are {n.tolist()} and errors {error.tolist()}, expected {MIN_SIZES} sizes, errors > 0")
    sigma = None if deviations is None else np.asarray(deviations, dtype=np.float64)
    if sigma is not None and not (sigma > 0).all():
        sigma = None
    centre = float(np.exp(np.log(n).mean()))  # sizes are taken relative to it, or a and b could hardly be told apart
    fits = [_fit_from(start, n / centre, error, sigma) for start in STARTS]
    (scale, exponent, floor), _ = min(fits, key=lambda fit: fit[1])
    return PowerLaw(a=float(scale * centre**exponent), b=float(exponent), c=float(floor))


def _fit_from(start: float, n: Floats, error: Floats, sigma: Floats | None) -> tuple[Sequence[float], float]:
    def model(n: Floats, scale: float, exponent: float, floor: float) -> Floats:
        return np.asarray(scale * n**-exponent + floor)

    smallest = float(error.min())
    spread = max(float(error.max()) - smallest, 1e-3)
    parameters, _ = curve_fit(
        model, n, error, p0=(spread, start, 0.5 * smallest), sigma=sigma,
        bounds=((1e-9, 1e-6, 0), (np.inf, 2, smallest)), max_nfev=2000,
    )  # fmt: skip
    weights = 1.0 if sigma is None else sigma
    return tuple(parameters), float((((model(n, *parameters) - error) / weights) ** 2).sum())
