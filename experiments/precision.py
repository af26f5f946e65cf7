"""Do bfloat16 and float32 end at the same scores? Paired runs over six seeds: `python experiments/precision.py`.

Trains each backbone from scratch on 2,000 records, twice a seed: once in each precision, with the same weights, batches
and records. Finished runs are found, not run again. Prints, and saves as CSV, the mean difference with its 95 % t
interval beside the spread that seeds alone make. `--imitated` runs on a CPU without bfloat16, too.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

import ecg_transfer as et
from ecg_transfer.metrics import Scores

BUDGET = {
    "data.subset": 2000,
    "optim.max_epochs": 6,
    "optim.min_updates": 0,
    "optim.evaluate_every": 6,
}
"""Six epochs of the recipe `modern`, evaluated once, at the end."""

SIMULATED = {"data.source": "simulated", "data.num_simulated": 4000}
REAL = {"data.source": "real"}

METRICS = ("f1_weighted", "f1_macro", "auroc_macro")


def main() -> None:
    """Train what is missing, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="ptbxl")
    parser.add_argument("--simulated", action="store_true", help="on simulated ECGs in place of real ones")
    parser.add_argument("--imitated", action="store_true", help="bfloat16 by rounding, for convolutional backbones")
    parser.add_argument("--backbones", nargs="+", default=["resnet1d18", "lstm", "bilstm", "gru"])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--output", type=Path, default=Path("checkpoints/precision"), help="where the runs go")
    parser.add_argument("--to", type=Path, help="CSV of the table")
    options = parser.parse_args()
    rows = []
    for backbone in options.backbones:
        by_seed = [
            {precision: _trained(options, backbone, seed, precision).scores["last_epoch"] for precision in (32, "bf16")}
            for seed in range(options.seeds)
        ]
        rows += [_row(backbone, metric, by_seed) for metric in METRICS]
        table = pd.DataFrame(rows)
        print(table[table["backbone"] == backbone].to_string(index=False, float_format="%.4f"), flush=True)  # noqa: T201
        if options.to:
            table.to_csv(options.to, index=False, float_format="%.5f")


def _trained(options: argparse.Namespace, backbone: str, seed: int, precision: int | str) -> et.Run:
    with _imitated() if options.imitated and precision == "bf16" else nullcontext():
        return et.train_from_scratch(
            options.corpus,
            backbone=backbone,
            recipe="modern",
            seed=seed,
            overrides=BUDGET | (SIMULATED if options.simulated else REAL) | {"trainer.precision": precision},
            output=options.output / "imitated" if options.imitated else options.output,
        )


def _imitated() -> AbstractContextManager[None]:
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # started as a script, it finds its neighbours alone
    from experiments.imitated_bfloat16 import imitated_bfloat16

    return imitated_bfloat16()


def _row(backbone: str, metric: str, by_seed: list[dict[int | str, Scores]]) -> dict[str, object]:
    """The paired difference of one metric, bfloat16 minus float32."""
    single, half = (np.array([getattr(scores[precision], metric) for scores in by_seed]) for precision in (32, "bf16"))
    difference = half - single
    margin = stats.t.ppf(0.975, len(difference) - 1) * stats.sem(difference)
    return {
        "backbone": backbone,
        "metric": metric,
        "seeds": len(difference),
        "float32": single.mean(),
        "bf16": half.mean(),
        "difference": difference.mean(),
        "low": difference.mean() - margin,
        "high": difference.mean() + margin,
        "seed_sd_float32": single.std(ddof=1),
        "seed_sd_bf16": half.std(ddof=1),
    }


if __name__ == "__main__":
    main()
