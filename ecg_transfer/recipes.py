"""Named sets of fields of a run's configuration: what `--recipe` takes."""

from __future__ import annotations

_PTBXL_BENCHMARK: dict[str, object] = {
    "data.scale": "millivolt",
    "crops.seconds": 2.5,
    "crops.windows": "max",
    "model.dropout": 0.5,
    "optim.optimizer": "adamw",
    "optim.lr": 1e-2,
    "optim.weight_decay": 0.01,
    "optim.schedule": "one_cycle",
    "optim.batch_size": 128,
    "optim.max_epochs": 50,
}

RECIPES: dict[str, dict[str, object]] = {
    "paper": {},
    "modern": {
        "data.scale": "millivolt",
        "optim.optimizer": "adamw",
        "optim.lr": 3e-3,
        "optim.weight_decay": 0.01,
        "optim.schedule": "one_cycle",
        "optim.batch_size": 128,
        "optim.max_epochs": 20,
        "optim.min_updates": 400,
    },
    "ptbxl_benchmark": _PTBXL_BENCHMARK,
    "ptbxl_best": {
        **_PTBXL_BENCHMARK,
        "crops.windows": "mean",
        "optim.mixup": 0.2,
        "optim.ema": 0.999,
        "optim.evaluate_every": 10,
    },
}
"""Named sets of fields. `paper`, the default of every field: per-lead min-max, Adam at 0.01, batch 256, 100 epochs
(Nguyen and Do 2024, arXiv 2402.02021). `modern`: a fixed millivolt scale, AdamW, one cycle to 0.003, batch 128.

`ptbxl_benchmark`: pieces of 2.5 s, the largest probability of overlapping windows, AdamW, one cycle to 0.01, batch
128, 50 epochs (Strodthoff et al. 2020, arXiv 2004.13701). There signals are divided by the standard deviation of all
training samples, about 0.25 mV, where 0.2 mV is ours; and Adam's second decay is fastai's 0.99, where PyTorch's 0.999
is ours.

`ptbxl_best`: the same with mixup (Zhang et al. 2018, arXiv 1710.09412), a running mean of the weights in place of the
last ones, and the mean over the windows. What it reaches stands in `experiments/results/README.md`."""
