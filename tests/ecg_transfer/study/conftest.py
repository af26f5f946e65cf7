"""Fake finished runs, and tables with a known truth.

`fake_runs` writes whole run directories (an empty checkpoint, no TensorBoard), sealed, as a training leaves them: the
test set of a corpus is the same for all of its runs, scores come from the stored logits, and `skill` says how well a
run tells positives from negatives. `make_study` builds the tables of a study straight from numbers, without files:
quick, and the truth is exactly what is put in.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ecg_transfer.config import RunConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.curve import summarise_pretext, time_to_targets
from ecg_transfer.files import write_json
from ecg_transfer.metrics import score, tune_thresholds
from ecg_transfer.predictions import Predictions, save_predictions
from ecg_transfer.pretext.config import pretext_name
from ecg_transfer.runs import SCORE_NAMES, Run, home, run_name, save_config
from ecg_transfer.study.results import EPOCH_METRICS, Study

LABELS = ("NORM", "MI", "STTC")


@dataclass(frozen=True)
class FakeRuns:
    """Writes runs below `output`."""

    output: Path
    num_test: int = 60
    num_val: int = 40
    labels: tuple[str, ...] = LABELS
    written: list[Run] = field(default_factory=list)

    def run(
        self,
        phase: str = "scratch",
        corpus: str = "ptb",
        *,
        upstream: Run | None = None,
        backbone: str = "resnet1d18",
        recipe: str = "paper",
        seed: int = 0,
        subset: float | None = None,
        subset_seed: int = 0,
        num_train: int = 349,
        skill: float = 1.0,
        val_curve: Sequence[float] = (0.2, 0.4, 0.5, 0.55),
        updates_per_epoch: int = 10,
        simulated: bool = False,
        overrides: Sequence[str] = (),
    ) -> Run:
        """One finished run.

        Args:
            phase: `pretrain`, `finetune` or `scratch`.
            corpus: What it is trained on.
            upstream: The run a fine-tuning starts from.
            backbone: Name.
            recipe: Name.
            seed: Of the run; its logits are that seed's noise around the labels.
            subset: As configured.
            subset_seed: As configured.
            num_train: Training records in the manifest.
            skill: Distance of positives' and negatives' logits from 0, in standard deviations of the noise.
            val_curve: Validation (and test) score of each epoch.
            updates_per_epoch: Updates; an epoch takes as many seconds.
            simulated: Whether its ECGs are.
            overrides: Further fields, `optim.lr=1e-3`.
        """
        fields = [*overrides, f"data.subset_seed={subset_seed}", *([f"data.subset={subset}"] if subset else [])]
        config = make_config(
            phase,  # type: ignore[arg-type]
            corpus,
            recipe=recipe,
            backbone=backbone,
            seed=seed,
            upstream=upstream.name if upstream else None,
            overrides=fields,
        )
        name = run_name(config, upstream.config.data.corpus if upstream else None)
        run = Run(home(self.output, simulated=simulated) / name)
        run.path.mkdir(parents=True)
        save_config(run.path / "config.yaml", config)
        write_json(run.path / "manifest.json", self._manifest(run, config, upstream, num_train, simulated))
        curve = self._curve(val_curve, updates_per_epoch)
        if not config.is_supervised:
            losses = [{"loss": 1 - value, "retrieval": value} for value in val_curve]
            curve = [record | dict.fromkeys(("train", "val", "test"), loss)
                     for record, loss in zip(curve, losses, strict=True)]  # fmt: skip
        (run.path / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in curve))
        (run.path / "best.ckpt").touch()
        if not config.is_supervised:
            write_json(run.path / "scores.json", summarise_pretext(curve))
            run.seal()
            self.written.append(run)
            return run
        predictions = {
            f"{name}/{part}": self._predictions(corpus, part, phase, seed, skill)
            for name in SCORE_NAMES
            for part in ("val", "test")
        }
        epochs = {key: len(curve) - 1 for key in predictions}
        save_predictions(run.path / "predictions.npz", predictions, epochs)
        write_json(run.path / "scores.json", self._scores(predictions, curve))
        run.seal()
        self.written.append(run)
        return run

    def pair(self, *, gain: float = 0.0, skill: float = 1.0, upstream: Run, **fields: object) -> tuple[Run, Run]:
        """A fine-tuning and its training from scratch, the first better by `gain` in skill."""
        finetune = self.run("finetune", upstream=upstream, skill=skill + gain, **fields)
        return finetune, self.run("scratch", skill=skill, **fields)

    def _predictions(self, corpus: str, part: str, phase: str, seed: int, skill: float) -> Predictions:
        num_records = self.num_test if part == "test" else self.num_val
        rng = np.random.default_rng(zlib.crc32(f"{corpus} {part}".encode()))
        targets = (rng.random((num_records, len(self.labels))) < 0.4).astype(np.uint8)
        targets[0] = 1
        noise = np.random.default_rng([seed, zlib.crc32(f"{part} {phase}".encode())]).normal(size=targets.shape)
        return Predictions(
            record_ids=np.array([f"{corpus}{row:05d}" for row in range(num_records)]),
            groups=np.arange(num_records) // 2,
            logits=(skill * (2.0 * targets - 1) + noise).astype(np.float32),
            targets=targets,
        )

    def _curve(self, values: Sequence[float], updates_per_epoch: int) -> list[dict[str, Any]]:
        return [
            {
                "epoch": epoch,
                "updates": (epoch + 1) * updates_per_epoch,
                "seconds": float((epoch + 1) * updates_per_epoch),
                "train_seconds": 1.0,
                "records_per_second": 100.0,
                "lr": 0.01,
                "train": {"loss": 0.5, "f1_weighted": value},
                **{
                    part: {**dict.fromkeys(("f1_weighted", "f1_macro", "auroc_macro", "ap_macro"), value),
                           "f1": dict.fromkeys(self.labels, value)}
                    for part in ("val", "test")
                },
            }
            for epoch, value in enumerate(values)
        ]  # fmt: skip

    def _manifest(
        self, run: Run, config: RunConfig, upstream: Run | None, num_train: int, simulated: bool
    ) -> dict[str, Any]:
        sizes = {"train": num_train, "val": self.num_val, "test": self.num_test}
        positives = dict.fromkeys(self.labels, num_train // 3)
        what = f"{config.data.corpus} {config.data.subset} {config.data.subset_seed}"
        return {
            "run": run.name,
            "data": {
                "corpus": config.data.corpus,
                "title": config.data.corpus.upper(),
                "simulated": simulated,
                "label_names": list(self.labels),
                "num_groups": sum(sizes.values()) // 2,
                "parts": {part: {"records": size, "positives": positives} for part, size in sizes.items()},
                "digest": hashlib.sha256(what.encode()).hexdigest(),
            },
            "upstream": upstream
            and {
                "run": upstream.name,
                "corpus": upstream.config.data.corpus,
                "pretext": pretext_name(upstream.config.pretext),
                "simulated": upstream.manifest["data"]["simulated"],
            },
            "attempts": [{"started": "2024-01-01T00:00:00+00:00", "seconds": 1.0}],
        }

    def _scores(self, predictions: dict[str, Predictions], curve: list[dict[str, Any]]) -> dict[str, Any]:
        """As `ecg_transfer.evaluation.summarise`, without waiting for torch."""
        results: dict[str, Any] = {"monitor": "f1_weighted", "label_names": list(self.labels)}
        for name in SCORE_NAMES:
            val, test = predictions[f"{name}/val"], predictions[f"{name}/test"]
            tuned = tune_thresholds(val.logits, val.targets)
            results[name] = {
                "epoch": len(curve) - 1,
                "val": score(val.logits, val.targets, self.labels).as_dict(),
                "test": score(test.logits, test.targets, self.labels).as_dict(),
                "test_tuned": score(test.logits, test.targets, self.labels, tuned).as_dict(),
            }
        results["optimism"] = 0.0
        results["time_to_targets"] = time_to_targets(curve, "val", "f1_weighted")
        return results


@pytest.fixture
def fake_runs(tmp_path: Path) -> FakeRuns:
    """Writes finished runs below a fresh folder; `fake_runs.output` is what `find_runs` takes."""
    return FakeRuns(tmp_path / "checkpoints")


@pytest.fixture(scope="session")
def fake_runs_class() -> type[FakeRuns]:
    """`FakeRuns`, for fixtures that write a study once for several tests: this file cannot be imported by name."""
    return FakeRuns


@dataclass(frozen=True)
class FakeCell:
    """A cell by its numbers: score of each seed in both arms, and updates to the target."""

    finetune: Sequence[float]
    scratch: Sequence[float]
    downstream: str = "ptb"
    upstream: str = "ptbxl"
    backbone: str = "resnet1d18"
    num_train: int = 349
    subset: float = float("nan")
    finetune_updates: int = 50
    scratch_updates: int = 50
    simulated: bool = False


def _study(cells: Sequence[FakeCell]) -> Study:
    rows: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    for number, cell in enumerate(cells):
        key = f"{cell.downstream} {cell.backbone}"
        for phase, scores, updates in (
            ("finetune", cell.finetune, cell.finetune_updates),
            ("scratch", cell.scratch, cell.scratch_updates),
        ):
            for seed, value in enumerate(scores):
                name = f"{phase}-{number}-s{seed}"
                rows.append(
                    {
                        "run": name, "path": f"nowhere/{name}", "phase": phase, "upstream": cell.upstream,
                        "upstream_cell": cell.upstream, "upstream_mark": "", "downstream": cell.downstream,
                        "backbone": cell.backbone, "recipe": "paper", "lr": 0.01, "batch_size": 256, "seed": seed,
                        "subset": cell.subset, "subset_seed": 0, "num_train": cell.num_train, "num_test": 100,
                        "simulated": cell.simulated, "val_selected/f1_weighted": value, "monitor": "f1_weighted",
                        "pair_key": f"{number} {seed}",
                        "cell": f"cell {number}", "series": f"series {key} {cell.simulated}", "setting": "setting",
                        "way": "full fine-tune", "pretext": "none",
                    }
                )  # fmt: skip
                for epoch in range(1, 11):
                    reached = float(epoch * 10 >= updates)
                    values = dict.fromkeys(EPOCH_METRICS, 0.1 + 0.7 * reached)
                    epochs.append(
                        {"run": name, "epoch": epoch, "updates": epoch * 10, "seconds": float(epoch), **values}
                    )
    return Study(results=pd.DataFrame(rows), labels=pd.DataFrame(), curves=pd.DataFrame(epochs))


@pytest.fixture
def make_study() -> Callable[[Sequence[FakeCell]], Study]:
    """Builds a study from cells; its intervals are over seeds alone, because there are no predictions."""
    return _study


@pytest.fixture
def fake_cell() -> type[FakeCell]:
    """`FakeCell`, for tests: this file cannot be imported by name."""
    return FakeCell
