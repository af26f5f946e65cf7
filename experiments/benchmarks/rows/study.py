"""Two small runs at once against one after the other, and how well `study plan` foresees both."""

from __future__ import annotations

import os
from pathlib import Path

from ecg_transfer.study.definition import read_study
from ecg_transfer.study.estimate import estimate
from ecg_transfer.study.plan import make_plan
from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row
from experiments.benchmarks.rows.start import RUN, run

ESTIMATE_GOAL = 25.0
"""% of the measured time."""

STUDY = """\
name: bench
overrides: {data.source: simulated}
grids:
  - {name: pair, starts: [scratch], downstreams: [ptb], backbones: [lstm_last], seeds: [0, 1], epochs: [15]}
"""


def measure(block: str, options: Options) -> list[Row]:
    """Each way once: a study takes as long as a study takes.

    Args:
        block: Not used.
        options: See there.
    """
    folder = Path(options.scratch)
    file = folder / "bench.yaml"
    file.write_text(STUDY)
    os.environ["ECG_DATA_ROOT"] = str(folder / "data")
    run(folder, *RUN)  # simulates the corpus and builds its cache
    foreseen, taken = {}, {}
    for workers in (1, 2):
        output = folder / f"workers-{workers}"
        foreseen[workers] = estimate(make_plan(read_study(file), output), workers)[0].seconds
        taken[workers] = run(folder, "study", "run", str(file), "--workers", str(workers), "--output", str(output))
    pair = Row(
        group="study",
        name="two small runs at once against one after the other",
        unit="x",
        repeats=(taken[1] / taken[2],),
        note=f"{taken[2]:.0f} s against {taken[1]:.0f} s, startup included",
    )
    return [pair, *(_estimate_row(workers, foreseen[workers], taken[workers]) for workers in (1, 2))]


def _estimate_row(workers: int, foreseen: float, taken: float) -> Row:
    return Row(
        group="study",
        name=f"`study plan` with {workers} {'worker' if workers == 1 else 'workers'}: error of its estimate",
        unit="%",
        repeats=(100 * abs(foreseen / taken - 1),),
        goal=ESTIMATE_GOAL,
        better="lower",
        note=f"{foreseen:.0f} s foreseen, {taken:.0f} s taken",
    )
