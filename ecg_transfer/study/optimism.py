"""What choosing the best epoch on the test set adds: best-on-test minus the epoch chosen on validation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ecg_transfer.study.bootstrap import interval, mean_over_seeds

BY = ("simulated", "phase", "downstream", "backbone", "recipe", "monitor")
"""What optimism is summarised by, by default."""


def optimism_summary(results: pd.DataFrame, by: tuple[str, ...] = BY, *, seed: int = 0) -> pd.DataFrame:
    """The mean optimism of groups of runs, with its interval over runs.

    The runs of a group share their test set, so that the interval tells of training, not of patients. Optimism cannot
    be negative for any run: of all epochs the best one on the test set scores at least what the chosen one does. So the
    interval is not below 0 either, where that of few runs would be.

    Args:
        results: As `results_table` gives it.
        by: Columns that make a group.
        seed: Of the draws of runs.

    Returns:
        One row a group: its columns, `num_runs`, `mean`, `low`, `high` (NaN for a single run), `largest`.
    """
    rows = []
    scored = results[results["optimism"].notna()]  # a pre-training without labels has no test score
    for values, group in scored.groupby(list(by), sort=True, dropna=False):
        optimism = group["optimism"].to_numpy(dtype=np.float64)
        draws = mean_over_seeds(optimism, seed=seed).clip(min=0)
        low, high = interval(draws) if len(optimism) > 1 else (np.nan, np.nan)
        keys = dict(zip(by, values if isinstance(values, tuple) else (values,), strict=True))
        rows.append(
            {
                **keys,
                "num_runs": len(optimism),
                "mean": optimism.mean(),
                "low": low,
                "high": high,
                "largest": optimism.max(),
            }
        )
    return pd.DataFrame(rows)
