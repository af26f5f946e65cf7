"""Studies of simulated corpora for the tests of plans."""

from __future__ import annotations

from pathlib import Path

from ecg_transfer.files import write_json
from ecg_transfer.runs import save_config
from ecg_transfer.study.definition import Grid, Study
from ecg_transfer.study.plan import PlannedRun

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def simulated(**grid: object) -> Study:
    return Study(name="s", overrides={"data.source": "simulated"}, grids=[Grid(**grid)])  # type: ignore[arg-type]


def finish(planned: PlannedRun) -> None:
    """Write what makes a run done."""
    planned.run.path.mkdir(parents=True)
    save_config(planned.run.path / "config.yaml", planned.config)
    write_json(planned.run.path / "manifest.json", {"data": {"simulated": True}})
    size = (planned.run.path / "manifest.json").stat().st_size
    write_json(planned.run.path / "DONE", {"files": {"manifest.json": {"bytes": size}}})
