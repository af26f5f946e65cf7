"""A finished run as one folder to take away: weights, what they mean, what they are worth, where they come from."""

from __future__ import annotations

import json
import math
import shutil
import warnings
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.config import Preprocessing
from data_modules.corpora import CORPORA
from data_modules.corpus import LEAD_NAMES, CorpusNotFoundError
from data_modules.unfinished import beside
from ecg_transfer.files import write_atomically, write_json
from ecg_transfer.leaks import leaks_of
from ecg_transfer.lineage import lineage
from ecg_transfer.loaded_model import LoadedModel, load_model, preprocessing_of
from ecg_transfer.model_card import model_card
from ecg_transfer.model_folder import (
    CARD,
    CONFIG,
    ONNX,
    RECORDS,
    SCHEMA_VERSION,
    WEIGHTS,
    WINDOWS_VERSION,
    RecordSet,
    read_digests,
    read_model_folder,
)
from ecg_transfer.onnx_export import export_onnx
from ecg_transfer.runs import Run, open_run, sha256
from ecg_transfer.study.bootstrap import NUM_DRAWS, draw_patients, interval_about, score_draws
from ecg_transfer.trained_records import data_of
from ecg_transfer.upstream import UPSTREAM_RECORDS

METRICS = ("f1_weighted", "f1_macro", "auroc_macro", "ap_macro")
"""Test scores at a threshold of 0.5, or without one, that a card shows."""

ONNX_RATE = 500
"""Hz that recorders give most often."""


class ExportError(ValueError):
    """A run that cannot be exported, or a folder that it cannot be exported to."""


class RecordsUnknownWarning(UserWarning):
    """An export without digests of its training recordings."""


def export_run(
    run: Run | str | Path, folder: str | Path, *, onnx: bool = False, rate: int = ONNX_RATE, trust: bool = False
) -> Path:
    """Write a finished run's model as a folder in the Hugging Face Hub's layout.

    The folder is written beside its place and takes its name when it is whole.

    Args:
        run: A finished run of any phase; or its directory, or the name of one that lies in `checkpoints`.
        folder: Where to; not there yet, or empty.
        onnx: Also write `model.onnx`.
        rate: Hz of the recordings that `model.onnx` takes.
        trust: See `Run.model`.

    Returns:
        The folder.

    Raises:
        ExportError: The run is not finished or was changed since, or the folder is in use.
        OnnxMismatchError: The ONNX graph does not compute the same.
        RunNotFoundError: There is no such run.
        OnnxMissingError: `onnx` without the extra of that name.
    """
    run, target = open_run(run), Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{target} is there already; name a new folder, or remove it")
    if not run.is_done:
        raise ExportError(f"{run.path} is {run.status}; only a finished run can be exported")
    if changed := run.verify():
        raise ExportError(f"{run.path} was changed since it finished: {', '.join(changed)}")
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = beside(target)
    unfinished.mkdir()
    try:
        model = load_model(run, trust=trust)
        _write(run, model, unfinished, onnx=onnx, rate=rate)
        read_model_folder(unfinished)
        load_model(unfinished, trust=True)
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return target


def _write(run: Run, model: LoadedModel, folder: Path, *, onnx: bool, rate: int) -> None:
    from safetensors.numpy import save
    from safetensors.torch import save as save_torch

    # a copy each: safetensors refuses two names of one weight
    state = {name: value.clone().contiguous() for name, value in model.classifier.state_dict().items()}
    with write_atomically(folder / WEIGHTS) as stream:
        stream.write(save_torch(state, metadata={"format": "pt"}))
    sets, digests = _training_records(run, model)
    if sets:
        with write_atomically(folder / RECORDS) as stream:
            stream.write(save({records.array: values for records, values in zip(sets, digests, strict=True)}))
    windows = model.classifier.windows
    config = {
        "schema_version": SCHEMA_VERSION if windows is None else WINDOWS_VERSION,
        "library": "ecg_transfer",
        "library_version": _library_version(),
        "name": run.name,
        "backbone": run.config.model.backbone,
        "label_names": list(model.label_names),
        "lead_names": list(LEAD_NAMES),
        "units": "mV",
        "preprocessing": asdict(model.preprocessing),
        "windows": None if windows is None else asdict(windows),
        "thresholds": dict(zip(model.label_names, model.thresholds.tolist(), strict=True)),
        "weights": {
            "file": WEIGHTS,
            "sha256": sha256(folder / WEIGHTS),
            "num_parameters": sum(value.numel() for value in model.classifier.parameters()),
        },
        **_test_scores(run, model),
        "leaks": leaks_of(run.manifest),
        "data": run.manifest["data"] | {"citation": _citation(run.manifest["data"]["corpus"])},
        "pretrained_on": (run.manifest["upstream"] or {}).get("trained_on", []),
        "training_records": [asdict(records) for records in sets],
        "onnx": None,
        "training": _without_places(run),
        "versions": run.manifest["versions"],
        "code": run.manifest["code"],
    }
    if onnx:
        difference = export_onnx(model, folder / ONNX, sampling_rate=rate)
        config["onnx"] = {"file": ONNX, "sampling_rate": rate, "max_difference": difference}
    write_json(folder / CONFIG, config)
    with write_atomically(folder / CARD) as stream:
        stream.write(model_card(config).encode())
    with write_atomically(folder / ".gitattributes") as stream:  # the Hub keeps large files apart by these rules
        stream.write(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n*.onnx filter=lfs diff=lfs merge=lfs -text\n")


def _test_scores(run: Run, model: LoadedModel) -> dict[str, Any]:
    """Scores of the epoch chosen on validation, with intervals over test patients."""
    test = run.predictions["val_selected/test"]
    draws = draw_patients(test.groups, test.targets)
    results = run.results["val_selected"]
    asked: list[tuple[str, str, Any, Any]] = [(name, name, 0.5, results["test"][name]) for name in METRICS]
    asked.insert(2, ("f1_macro_tuned", "f1_macro", model.thresholds, results["test_tuned"]["f1_macro"]))
    scores = {}
    for title, name, limits, value in asked:
        drawn = score_draws(name, [test.logits], test.targets, [limits], draws.weights)[:, 0]
        low, high = interval_about(math.nan if value is None else value, drawn)
        scores[title] = {"value": value, "low": _finite(low), "high": _finite(high)}
    return {
        "scores": scores,
        "per_label": results["test_tuned"]["per_class"],
        "tested_on": {"records": len(test), "groups": draws.num_groups, "draws": NUM_DRAWS},
    }


def _training_records(run: Run, model: LoadedModel) -> tuple[list[RecordSet], list[NDArray[np.int64]]]:
    """Digests of the recordings of this training, and of those that it goes back to."""
    _, *before = runs = list(lineage(run))
    found = [_own_records(run, model.preprocessing, "training")]
    found += [_own_records(other, preprocessing_of(other), "pre-training") for other in before]
    upstream = runs[-1].manifest["upstream"]
    if upstream is not None and upstream.get("record_sets"):
        sets = [RecordSet(**entry) for entry in upstream["record_sets"]]
        found += [
            (replace(records, role="pre-training"), read_digests(runs[-1].path / UPSTREAM_RECORDS, records))
            for records in sets
        ]
    elif upstream is not None:
        _warn_unknown(f"those of its pre-training, {upstream['run']}, are not beside it")
    known = [entry for entry in found if entry is not None]
    sets = [replace(records, array=f"records.{number}") for number, (records, _) in enumerate(known)]
    return sets, [digests for _, digests in known]


def _own_records(run: Run, preprocessing: Preprocessing, role: str) -> tuple[RecordSet, NDArray[np.int64]] | None:
    digests = _digests(run)
    if digests is None:
        return None
    records = RecordSet(
        array="",
        corpus=run.config.data.corpus,
        role=role,
        count=len(digests),
        sampling_rate=preprocessing.sampling_rate,
        num_samples=preprocessing.num_samples,
        resample=preprocessing.resample,
        crop=preprocessing.crop,
    )
    return records, digests


def _digests(run: Run) -> NDArray[np.int64] | None:
    """Digests of a run's training recordings, sorted; None, with a warning, where its data are not here any more."""
    try:
        data = data_of(run)
    except (CorpusNotFoundError, ValueError) as error:
        _warn_unknown(str(error))
        return None
    return np.unique(data.cache.digests[data.rows["train"]])


def _warn_unknown(reason: str) -> None:
    warnings.warn(
        f"the export cannot tell its training recordings: {reason}. It will not be noticed when another evaluation "
        "uses them",
        RecordsUnknownWarning,
        stacklevel=2,
    )


def _citation(corpus: str) -> str | None:
    return CORPORA[corpus].spec.citation if corpus in CORPORA else None


def _without_places(run: Run) -> dict[str, Any]:
    """The run's configuration without the folders of the machine that it ran on."""
    config: dict[str, Any] = json.loads(json.dumps(run.config.as_dict()))
    config["data"]["root"] = None
    return config


def _library_version() -> str:
    try:
        return version("ecg-transfer")
    except PackageNotFoundError:
        from ecg_transfer import __version__

        return __version__


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
