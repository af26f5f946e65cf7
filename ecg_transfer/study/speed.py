"""How soon: epochs, updates and seconds to a target, and the area under the test curve.

The target of a pair is 95 % of the final validation score of its training from scratch. A run that never gets there is
censored at its end. Sources: Kaplan & Meier 1958, doi 10.1080/01621459.1958.10501452; Royston & Parmar 2013, doi
10.1186/1471-2288-13-152 (restricted mean); Taylor & Stone 2009, jmlr.org/papers/v10/taylor09a.html (jump-start, time
to threshold, area under the curve as measures of transfer).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ecg_transfer.study.bootstrap import NUM_DRAWS, interval, mean_over_seeds
from ecg_transfer.study.effects import ARMS
from ecg_transfer.study.pairs import Cell

Floats = NDArray[np.float64]
Unit = Literal["epochs", "updates", "seconds"]
Curve = Mapping[str, Floats]
"""Columns of one run's epochs: `epoch`, `updates`, `seconds`, `val/f1_weighted` and so on."""

SHARE = 0.95
"""Of scratch's final validation score, the target."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Speed:
    """How soon the arms of a cell reach the target. Dicts are by arm."""

    cell: Cell
    unit: Unit
    medians: dict[str, float]
    """Kaplan-Meier median; infinite when fewer than half get there."""
    restricted_means: dict[str, float]
    """Mean time up to `horizon`."""
    horizon: float
    """The shortest of the trainings compared."""
    num_censored: dict[str, int]
    """Runs that never get there."""
    num_runs: dict[str, int]
    """Runs of the pairs with a target, of which those are."""
    num_pairs: int
    """Pairs with a target; those whose scratch ends at a validation score of 0 have none."""
    log_ratios: Floats
    """Logarithm of fine-tuning's time over scratch's, one a unit (S,). A run that never gets there counts as getting
    there at the end of the longer of the two trainings: one that was stopped early is not quick."""
    log_ratio_draws: Floats
    """Draws (B,) of their mean."""
    areas: dict[str, float]
    """Mean area under the test curve over the first to the last update they share, between 0 and 1."""
    jump_start: float
    """Fine-tune minus scratch of the first evaluated epoch's test score, mean of the pairs."""

    @property
    def ratio(self) -> float:
        """Geometric mean of fine-tuning's time over scratch's: 0.5 is twice as fast."""
        return float(np.exp(self.log_ratios.mean())) if len(self.log_ratios) else float("nan")

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """Its 95 % interval over seeds; NaN with a single one."""
        if len(self.log_ratios) < 2:
            return float("nan"), float("nan")
        low, high = interval(self.log_ratio_draws)
        return float(np.exp(low)), float(np.exp(high))


def cell_speeds(
    cells: Iterable[Cell], curves: pd.DataFrame, *, unit: Unit = "updates", num_draws: int = NUM_DRAWS, seed: int = 0
) -> list[Speed]:
    """The speed of every cell that has at least one pair with a target.

    Args:
        cells: As `find_cells` gives them.
        curves: `Study.curves`.
        unit: What time is counted in. Updates are fair between machines, seconds are what one waits.
        num_draws: B.
        seed: Of the draws of seeds.
    """
    by_run = split_curves(curves)
    speeds = (_cell_speed(cell, by_run, unit, num_draws, seed) for cell in cells)
    return [speed for speed in speeds if speed is not None]


def speeds_table(speeds: Iterable[Speed]) -> pd.DataFrame:
    """One row a cell."""
    return pd.DataFrame(
        {
            "upstream": speed.cell.upstream,
            "downstream": speed.cell.downstream,
            "label_set": speed.cell.label_set or None,
            "backbone": speed.cell.backbone,
            "recipe": speed.cell.recipe,
            "way": speed.cell.way,
            "lr": speed.cell.lr,
            "num_train": speed.cell.num_train,
            "simulated": speed.cell.simulated,
            "unit": speed.unit,
            "num_pairs": speed.num_pairs,
            "ratio": speed.ratio,
            "low": speed.ratio_interval[0],
            "high": speed.ratio_interval[1],
            **{f"median_{arm}": speed.medians[arm] for arm in ARMS},
            **{f"restricted_mean_{arm}": speed.restricted_means[arm] for arm in ARMS},
            **{f"num_censored_{arm}": speed.num_censored[arm] for arm in ARMS},
            **{f"area_{arm}": speed.areas[arm] for arm in ARMS},
            "jump_start": speed.jump_start,
        }
        for speed in speeds
    )


def split_curves(curves: pd.DataFrame) -> dict[str, Curve]:
    """Each run's columns as arrays, by run name."""
    if curves.empty:
        return {}
    ordered = curves.sort_values(["run", "epoch"], kind="stable")
    names, starts = np.unique(ordered["run"].to_numpy(dtype=str), return_index=True)
    numbers = {name: np.split(ordered[name].to_numpy(dtype=np.float64), starts[1:]) for name in ordered.columns[1:]}
    return {str(name): {key: parts[row] for key, parts in numbers.items()} for row, name in enumerate(names)}


def time_to_target(curve: Curve, score: str, target: float, unit: Unit) -> tuple[float, bool]:
    """When a score was first at least the target, and whether it ever was; if not, the end of the training."""
    times = curve["epoch" if unit == "epochs" else unit]
    reached = np.flatnonzero(curve[score] >= target)
    return (float(times[reached[0]]), True) if len(reached) else (float(times[-1]), False)


def kaplan_meier(times: ArrayLike, reached: ArrayLike) -> tuple[Floats, Floats]:
    """The product-limit estimate of the share that is not there yet.

    Args:
        times: (n,).
        reached: Whether the run got there at its time; if not, it is censored then.

    Returns:
        The different times at which runs get there, and the share left after each.

    Example:
        >>> [part.tolist() for part in kaplan_meier([1, 2, 3], [True, False, True])]
        [[1.0, 3.0], [0.6666666666666667, 0.0]]
    """
    time, event = np.asarray(times, dtype=np.float64), np.asarray(reached, dtype=bool)
    when = np.unique(time[event])
    at_risk = (time[None, :] >= when[:, None]).sum(axis=1)
    arrivals = ((time[None, :] == when[:, None]) & event).sum(axis=1)
    return when, np.cumprod(1 - arrivals / at_risk)


HALF_ROUNDING = 1e-9
"""By which a product of up to a million shares may miss one half."""


def median_time(times: ArrayLike, reached: ArrayLike) -> float:
    """The first time at which at most half are left; infinite when more than half never get there."""
    when, left = kaplan_meier(times, reached)
    below = np.flatnonzero(left <= 0.5 + HALF_ROUNDING)
    return float(when[below[0]]) if len(below) else float("inf")


def restricted_mean(times: ArrayLike, reached: ArrayLike, horizon: float) -> float:
    """The area under the Kaplan-Meier curve up to the horizon: the mean time, where none is counted beyond it."""
    when, left = kaplan_meier(times, reached)
    inside = when < horizon
    edges = np.concatenate([[0.0], when[inside], [horizon]])
    return float((np.diff(edges) * np.concatenate([[1.0], left[inside]])).sum())


def area_under_curve(curve: Curve, score: str, horizon: float) -> float:
    """Mean of a score over the updates from the first evaluated epoch's end to a horizon, by trapezoids."""
    updates, values = curve["updates"], curve[score]
    shared = updates <= horizon
    if shared.sum() < 2:
        return float(values[0])
    return float(np.trapezoid(values[shared], updates[shared]) / (updates[shared][-1] - updates[0]))


def _cell_speed(cell: Cell, by_run: Mapping[str, Curve], unit: Unit, num_draws: int, seed: int) -> Speed | None:
    rows = [row for pair in cell.pairs.to_dict("records") if (row := _pair(pair, by_run, unit)) is not None]
    if not rows:
        return None
    pairs = pd.DataFrame(rows)
    horizon = float(pairs["horizon"].min())
    by_seed = pairs.groupby("seeds", sort=True)["log_ratio"].mean()
    log_ratios = by_seed.to_numpy(dtype=np.float64)
    unit_of = dict(zip(cell.repetitions, cell.units, strict=True))
    unique = {arm: pairs.drop_duplicates(f"run_{arm}") for arm in ARMS}
    outcomes = {arm: (unique[arm][f"time_{arm}"], unique[arm][f"reached_{arm}"]) for arm in ARMS}
    return Speed(
        cell=cell,
        unit=unit,
        medians={arm: median_time(*outcomes[arm]) for arm in ARMS},
        restricted_means={arm: restricted_mean(*outcomes[arm], horizon) for arm in ARMS},
        horizon=horizon,
        num_censored={arm: int((~outcomes[arm][1]).sum()) for arm in ARMS},
        num_runs={arm: len(unique[arm]) for arm in ARMS},
        num_pairs=len(pairs),
        log_ratios=log_ratios,
        log_ratio_draws=mean_over_seeds(
            log_ratios, [unit_of[key] for key in by_seed.index], num_draws=num_draws, seed=seed
        ),
        areas={arm: float(unique[arm][f"area_{arm}"].mean()) for arm in ARMS},
        jump_start=float(pairs["jump_start"].mean()),
    )


def _pair(pair: Mapping[object, object], by_run: Mapping[str, Curve], unit: Unit) -> dict[str, object] | None:
    """Both arms' times to the pair's target; None where there is no curve or no target."""
    curves = {arm: by_run.get(str(pair[f"run_{arm}"])) for arm in ARMS}
    finetune, scratch = (curves[arm] for arm in ARMS)
    monitor = pair["monitor_scratch"]
    if finetune is None or scratch is None or not scratch[f"val/{monitor}"][-1] > 0:
        return None
    target = SHARE * float(scratch[f"val/{monitor}"][-1])
    times = {
        arm: time_to_target(curve, f"val/{monitor}", target, unit)
        for arm, curve in zip(ARMS, (finetune, scratch), strict=True)
    }
    column = "epoch" if unit == "epochs" else unit
    ends = [float(curve[column][-1]) for curve in (finetune, scratch)]
    last = float(min(finetune["updates"][-1], scratch["updates"][-1]))
    counted = {arm: when if reached else max(ends) for arm, (when, reached) in times.items()}
    return {
        "seeds": (pair["seed_finetune"], pair["subset_seed_finetune"]),
        "horizon": min(ends),
        "log_ratio": float(np.log(counted["finetune"] / counted["scratch"])),
        "jump_start": float(finetune[f"test/{monitor}"][0] - scratch[f"test/{monitor}"][0]),
        **{f"run_{arm}": pair[f"run_{arm}"] for arm in ARMS},
        **{f"time_{arm}": times[arm][0] for arm in ARMS},
        **{f"reached_{arm}": times[arm][1] for arm in ARMS},
        "area_finetune": area_under_curve(finetune, f"test/{monitor}", last),
        "area_scratch": area_under_curve(scratch, f"test/{monitor}", last),
    }
