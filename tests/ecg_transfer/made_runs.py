"""Run directories as a training leaves them, written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecg_transfer.config import RunConfig
from ecg_transfer.files import write_json
from ecg_transfer.metrics import score
from ecg_transfer.predictions import Predictions, save_predictions
from ecg_transfer.resolve import resolve
from ecg_transfer.runs import SCORE_NAMES, SEALED, Run, home, run_name, save_config, sha256
from ecg_transfer.seal import sealed

LABELS = ("NORM", "AF")


def make_run(
    output: Path,
    config: RunConfig,
    *,
    simulated: bool = False,
    upstream: Run | None = None,
    curve: Sequence[float] = (0.25, 0.5),
    data_digest: str = "same records",
    done: bool = True,
) -> Run:
    """Write a run; its curve gives the test and validation F1 of its epochs."""
    corpus = upstream.config.data.corpus if upstream else None
    run = Run(home(output, simulated=simulated) / run_name(config, corpus))
    run.path.mkdir(parents=True)
    save_config(run.path / "config.yaml", config)
    about = upstream and {
        "run": upstream.name,
        "corpus": corpus,
        "simulated": upstream.manifest["data"]["simulated"],
    }
    data = {"simulated": simulated, "digest": data_digest, "parts": {"train": {"records": 10}}}
    write_json(run.path / "manifest.json", {"data": data, "upstream": about})
    lines = [
        {"epoch": epoch, "updates": 5 * (epoch + 1), "seconds": epoch + 1.0}
        | {part: {"f1_weighted": value, "f1": {"AF": value}} for part in ("val", "test")}
        for epoch, value in enumerate(curve)
    ]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    predictions = Predictions(
        record_ids=np.array(["a", "b", "c"]),
        groups=np.arange(3),
        logits=np.array([[1.0, -1], [2, 1], [-1, 0.5]]),
        targets=np.array([[1, 0], [0, 1], [1, 1]], np.uint8),
    )
    names = [f"{name}/{part}" for name in SCORE_NAMES for part in ("val", "test")]
    save_predictions(run.path / "predictions.npz", dict.fromkeys(names, predictions), dict.fromkeys(names, 1))
    scores = score(predictions.logits, predictions.targets, LABELS).as_dict()
    write_json(run.path / "scores.json", {name: {"epoch": 1, "test": scores} for name in SCORE_NAMES})
    (run.path / "best.ckpt").write_bytes(run.name.encode())
    if done:
        run.seal()
    return run


def make_finetuning(output: Path, config: RunConfig, *, data_digest: str = "same records") -> Run:
    """Write the run of a fine-tuning whose upstream is there."""
    resolved = resolve(config, output)
    return make_run(
        output,
        resolved.config,
        simulated=resolved.simulated,
        upstream=resolved.upstream.origin if resolved.upstream else None,
        curve=(0.5, 0.75, 0.75),
        data_digest=data_digest,
    )


def of_a_later_version(run: Run) -> None:
    """Write a field into a finished run's configuration that this version does not know, and seal it again."""
    with (run.path / "config.yaml").open("a") as stream:
        stream.write("newfield: 3\n")
    files = {name: {"bytes": (run.path / name).stat().st_size, "sha256": sha256(run.path / name)} for name in SEALED}
    write_json(run.path / "DONE", sealed(run.name, files))
