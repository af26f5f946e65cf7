"""Scores from stored logits; and the logits themselves, computed on one device."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_modules.corpora import CORPORA
from data_modules.corpora.challenge2020 import Challenge2020Corpus
from data_modules.datamodule import PARTS, ECGDataModule
from ecg_transfer.challenge_metrics import CPSC2018_LABELS, challenge2020, cpsc2018
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import ConfigError, RunConfig, changes
from ecg_transfer.config_reading import Overrides, config_from
from ecg_transfer.curve import read_curve, summarise_pretext, time_to_targets
from ecg_transfer.data_identity import refuse_seen_records
from ecg_transfer.files import write_json
from ecg_transfer.learner import EVALUATED
from ecg_transfer.metrics import Scores, score, tune_thresholds
from ecg_transfer.precision import in_full_precision
from ecg_transfer.predictions import Predictions, load_predictions, save_predictions
from ecg_transfer.runs import SCORE_NAMES, Run, open_run
from ecg_transfer.upstream import INPUT_FIELDS
from ecg_transfer.windows import Windows

EVALUATION_FIELDS = ("crops.windows", "crops.stride_seconds", "optim.batch_size")
"""Fields beside those of the data that an evaluation heeds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Untrained:
    """A downstream's model before any training, with the head's rows that its upstream knows."""

    classifier: ECGClassifier
    shared: Mapping[str, str]
    """Labels whose rows are the upstream's, own -> upstream's; not empty."""


class UnfinishedRunWarning(UserWarning):
    """What is scored is no finished run: its scores are not the ones that it will have."""


class LabelsMismatchError(ValueError):
    """A model is to be evaluated on other labels than it was trained for."""


def predict(classifier: ECGClassifier, datamodule: ECGDataModule, part: str, device: torch.device) -> Predictions:
    """Logits of one part of a corpus, one row a record, on one device at full precision.

    Args:
        classifier: The model; it is put in evaluation mode on `device`.
        datamodule: Set up.
        part: `train`, `val` or `test`.
        device: Where.

    Raises:
        LabelsMismatchError: The model's labels are not the data module's.
    """
    if classifier.label_names != datamodule.label_names:
        raise LabelsMismatchError(
            f"the model knows the labels {', '.join(classifier.label_names)}; "
            f"{datamodule.corpus.spec.name} has {', '.join(datamodule.label_names)}"
        )
    classifier = classifier.eval().to(device)
    dtype = next(classifier.parameters()).dtype
    logits, rows = [], []
    with torch.inference_mode(), in_full_precision(device):
        for batch in datamodule.ordered_loader(part, sharded=False):
            logits.append(classifier(batch["signal"].to(device, dtype)).cpu())
            rows.append(batch["index"])
    row_numbers = torch.cat(rows).numpy()
    return Predictions(
        record_ids=np.array([datamodule.record_ids[row] for row in row_numbers]),
        groups=datamodule.groups[row_numbers],
        logits=torch.cat(logits).numpy(),
        targets=datamodule.labels[row_numbers],
    )


def evaluate(
    run: Run | str | Path,
    part: str = "test",
    *,
    overrides: Overrides = (),
    device: str | None = None,
    trust: bool = False,
) -> Scores:
    """Score a run's best weights on its own corpus, anew from the record files.

    Arguments and errors are those of `predict_again`.
    """
    predictions, label_names = predict_again(run, part, overrides=overrides, device=device, trust=trust)
    return score(predictions.logits, predictions.targets, label_names)


def predict_again(
    run: Run | str | Path,
    part: str = "test",
    *,
    overrides: Overrides = (),
    device: str | None = None,
    trust: bool = False,
) -> tuple[Predictions, tuple[str, ...]]:
    """Logits of a run's best weights on its own corpus, anew from the record files; and the label names.

    Of an unfinished run they are those of its best epoch so far, which a warning says.

    Args:
        run: One with a `best.ckpt`; or its directory, or the name of one that lies in `checkpoints`.
        part: `train`, `val` or `test`.
        overrides: Fields of the data to change, `data.root` say, or how windows are joined (`crops.windows`,
            `crops.stride_seconds`).
        device: Where; None is a GPU if there is one.
        trust: See `Run.model`.

    Raises:
        LabelsMismatchError: An override chose a corpus or a label set with other labels.
        DataChangedError: The part may hold records of the run's training; see `refuse_seen_records`.
        NoLabelsError: It was trained without labels.
        ConfigError: An override that an evaluation cannot heed.
        RunNotFoundError: There is no such run.
        ValueError: There is no such part.
    """
    if part not in PARTS:
        raise ValueError(f"part is {part!r}, expected one of {', '.join(PARTS)}")
    run = open_run(run)
    run.require_labels()
    config = config_from(run.config.as_dict(), overrides)
    _require_heeded(run.config, config)
    datamodule = ECGDataModule(config.data, batch_size=config.optim.batch_size)
    datamodule.setup()
    refuse_seen_records(run, datamodule, part)
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    classifier = run.model(trust=trust)
    classifier.windows = Windows.of(config.crops, config.data)
    if (note := unfinished_note(run)) is not None:
        warnings.warn(f"{run.name} is {note}", UnfinishedRunWarning, stacklevel=2)
    return predict(classifier, datamodule, part, chosen), datamodule.label_names


def unfinished_note(run: Run) -> str | None:
    """What an evaluation of a run that is not done is one of; None of a finished run."""
    if run.is_done:
        return None
    if run.damaged:
        return f"damaged, {', '.join(run.damaged)} is missing or cut: its weights as they are"
    num_epochs = len(read_curve(run.path / "metrics.jsonl"))
    return f"{run.status}, the best of {num_epochs} epoch{'s' * (num_epochs != 1)} so far"


def _require_heeded(trained: RunConfig, wanted: RunConfig) -> None:
    """Refuse to evaluate as if a field mattered that does not, or that the model was trained with."""
    for field, value in changes(trained, wanted).items():
        section, _, name = field.partition(".")
        if section == "data" and name in INPUT_FIELDS:
            raise ConfigError(f"{field}={value}: the model was trained with {getattr(trained.data, name)}, keep that")
        if section != "data" and field not in EVALUATION_FIELDS:
            heeded = ", ".join(EVALUATION_FIELDS)
            raise ConfigError(f"{field}={value} changes nothing in an evaluation, which heeds data.* and {heeded}")


def challenge_scores(corpus: str, predictions: Predictions) -> dict[str, dict[str, float]]:
    """The scores of the challenges whose data these are, by the challenge's name; none for other corpora."""
    corpus_class = CORPORA.get(corpus)
    if corpus_class is None or not issubclass(corpus_class, Challenge2020Corpus):
        return {}
    codes = list(corpus_class.label_codes)
    scores = {"PhysioNet/CinC Challenge 2020": challenge2020(predictions.logits, predictions.targets, codes)}
    if tuple(corpus_class.label_codes.values()) == CPSC2018_LABELS and predictions.targets.any(axis=1).all():
        scores["CPSC2018"] = cpsc2018(predictions.logits, predictions.targets)
    return scores


def write_scores(run: Run, datamodule: ECGDataModule, device: torch.device, untrained: Untrained | None = None) -> None:
    """Compute a trained run's final numbers and write `predictions.npz` and `scores.json`.

    The headline comes from `best.ckpt` itself, on one device, whatever the training ran on. A run without labels has no
    predictions and no scores but its own loss, as its curve has them.

    Args:
        run: Trained to its end.
        datamodule: Its own, set up.
        device: Where.
        untrained: The upstream's model, to be scored as `zero_shot` on the test records.
    """
    if not run.config.is_supervised:
        write_json(run.path / "scores.json", summarise_pretext(read_curve(run.path / "metrics.jsonl")))
        return
    predictions, epochs = load_predictions(run.path / "predictions.npz")
    classifier = run.model()
    for part in EVALUATED:
        predictions[f"val_selected/{part}"] = predict(classifier, datamodule, part, device)
    save_predictions(run.path / "predictions.npz", predictions, epochs)
    results = summarise(run, predictions, epochs, datamodule.label_names)
    if untrained is not None:
        results["zero_shot"] = zero_shot(untrained, datamodule, device)
    write_json(run.path / "scores.json", results)


def zero_shot(untrained: Untrained, datamodule: ECGDataModule, device: torch.device) -> dict[str, Any]:
    """Test scores of an upstream's own head, threshold 0.5, on the labels that it shares with the downstream."""
    found = predict(untrained.classifier, datamodule, "test", device)
    columns = [datamodule.label_names.index(label) for label in untrained.shared]
    scores = score(found.logits[:, columns], found.targets[:, columns], tuple(untrained.shared))
    return {"labels": dict(untrained.shared), "test": scores.as_dict()}


def summarise(
    run: Run, predictions: dict[str, Predictions], epochs: dict[str, int], label_names: tuple[str, ...]
) -> dict[str, Any]:
    """The content of `scores.json`: the three scores, each at 0.5 and at thresholds tuned on validation.

    Args:
        run: Its configuration says which score is monitored; its curve, how soon that was reached.
        predictions: By `<score name>/<part>`.
        epochs: The epoch each comes from.
        label_names: In column order.
    """
    monitor = run.config.monitor
    results: dict[str, Any] = {"monitor": monitor, "label_names": list(label_names)}
    for name in SCORE_NAMES:
        val, test = predictions[f"{name}/val"], predictions[f"{name}/test"]
        tuned = tune_thresholds(val.logits, val.targets)
        results[name] = {
            "epoch": epochs[f"{name}/test"],
            "val": score(val.logits, val.targets, label_names).as_dict(),
            "test": score(test.logits, test.targets, label_names).as_dict(),
            "test_tuned": score(test.logits, test.targets, label_names, tuned).as_dict(),
        }
    headline, paper = (results[name]["test"][monitor] for name in ("val_selected", "best_on_test"))
    results["optimism"] = paper - headline
    results["time_to_targets"] = time_to_targets(read_curve(run.path / "metrics.jsonl"), "val", monitor)
    return results
