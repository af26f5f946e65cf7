"""The whole way on simulated ECGs, in a minute on two cores: `make demo`.

Pre-trains ResNet1d-18 on CPSC2018, fine-tunes it and trains it from scratch on 80 records of PTB and of Ribeiro, prints
the comparison and draws the four curves into checkpoints/demo.png.
"""

from __future__ import annotations

import time
from pathlib import Path

import ecg_transfer as et
from ecg_transfer.tables import print_pairs

OUTPUT = Path("checkpoints")
BUDGET = {"data.source": "simulated", "optim.batch_size": 64, "optim.min_updates": 0}
UPSTREAM = BUDGET | {"data.num_simulated": 1200, "optim.max_epochs": 5}
DOWNSTREAM = BUDGET | {"data.num_simulated": 300, "data.subset": 80, "optim.batch_size": 32, "optim.max_epochs": 15}


def main() -> None:
    """Run the five trainings, then compare; finished ones are not run again."""
    started = time.perf_counter()
    print("SIMULATED ECGs: what follows shows how it works, not what is true of hearts.")  # noqa: T201
    upstream = et.pretrain("cpsc2018", recipe="modern", overrides=UPSTREAM, output=OUTPUT)
    runs = []
    for corpus in ("ptb", "ribeiro"):
        runs.append(et.finetune(corpus, upstream=upstream.name, recipe="modern", overrides=DOWNSTREAM, output=OUTPUT))
        runs.append(et.train_from_scratch(corpus, recipe="modern", overrides=DOWNSTREAM, output=OUTPUT))
    pairs = [
        pair for pair in et.find_pairs(OUTPUT, ["ptb", "ribeiro"]) if pair.finetune in runs and pair.scratch in runs
    ]
    print_pairs(pairs, OUTPUT)
    picture = OUTPUT / "demo.png"
    et.plot_curves(pairs, picture)
    print(f"curves: {picture}   {time.perf_counter() - started:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
