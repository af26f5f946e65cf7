"""The folder of an exported model: what is in it, and reading it without trusting it.

Its layout is the Hugging Face Hub's: `config.json` says everything, `model.safetensors` holds the weights, `README.md`
is the model card, `training_records.safetensors` tells copies of the training recordings, `model.onnx` may be there.
Nothing in it is ever run; only JSON and safetensors are read, both with their sizes looked at first.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from data_modules.config import Preprocessing
from data_modules.corpus import LEAD_NAMES
from ecg_transfer.runs import sha256
from ecg_transfer.windows import Windows

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA_VERSION = 1
"""Raised when a reader of the one before would misread a folder."""

WINDOWS_VERSION = 2
"""Of a folder whose model reads a record in windows: a reader of version 1 would give it the whole at once."""

CONFIG, WEIGHTS, RECORDS = "config.json", "model.safetensors", "training_records.safetensors"
CARD, ONNX = "README.md", "model.onnx"

MAX_CONFIG_BYTES = 10_000_000
MAX_WEIGHT_BYTES = 4_000_000_000
MAX_RECORD_BYTES = 200_000_000
"""Of `training_records.safetensors`: 25 million recordings."""

T = TypeVar("T")

MAX_LABELS = 10_000
MAX_SAMPLES = 1_000_000
MAX_RATE = 2000
"""Hz of a model's input; the filter that resamples to a rate grows with it."""

PLAIN_NAME = re.compile(r"\w[\w.+-]{0,199}", re.ASCII)

PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".pt", ".pth", ".bin", ".ckpt", ".npy", ".npz", ".h5")
"""Endings of files that are no model to be loaded: most are pickles or may be."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)


class ModelFolderError(ValueError):
    """A folder that holds no model, or one that is damaged or not what it says; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class RecordSet:
    """Recordings that a model was trained on, known by 64-bit digests of their prepared millivolts."""

    array: str
    """Name of the digests in the file."""
    corpus: str
    role: str
    """`training`, or `pre-training` of an upstream."""
    count: int
    sampling_rate: int
    num_samples: int
    resample: str
    crop: str

    def is_comparable(self, preprocessing: Preprocessing) -> bool:
        """Whether a recording that is prepared so would have the same digest."""
        return all(
            getattr(self, name) == getattr(preprocessing, name)
            for name in ("sampling_rate", "num_samples", "resample", "crop")
        )


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """An exported model; `read_model_folder` opens one and has looked at everything but the weights."""

    path: Path
    name: str
    backbone: str
    label_names: tuple[str, ...]
    preprocessing: Preprocessing
    windows: Windows | None
    """How a record is evaluated by a model that was trained on pieces; None takes it as a whole."""
    thresholds: tuple[float, ...]
    """Probability above which a record is positive, tuned on validation, by label."""
    corpus: str
    simulated: bool
    data_digest: str
    weights_sha256: str
    record_sets: tuple[RecordSet, ...]
    config: Mapping[str, Any]
    """All of `config.json`."""

    @property
    def full_name(self) -> str:
        """The name with the beginning of the weights' hash: the same for the same weights, wherever they lie."""
        return f"{self.name}@{self.weights_sha256[:8]}"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every array of weights, read from the file's head alone."""
        from safetensors import SafetensorError, safe_open

        path = _file(self.path, WEIGHTS, MAX_WEIGHT_BYTES)
        try:
            with safe_open(path, framework="numpy") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in sorted(file.keys())}
        except (SafetensorError, OSError) as error:
            raise ModelFolderError(f"{path} cannot be read: {error}") from error

    def state_dict(self) -> dict[str, Tensor]:
        """The weights, on the CPU.

        Raises:
            ModelFolderError: They are missing, or are not those that `config.json` vouches for.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = _file(self.path, WEIGHTS, MAX_WEIGHT_BYTES)
        if (found := sha256(path)) != self.weights_sha256:
            raise ModelFolderError(
                f"{path} has SHA-256 {found}, {CONFIG} says {self.weights_sha256}: damaged, or replaced"
            )
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ModelFolderError(f"{path} cannot be read: {error}") from error

    def digests(self, records: RecordSet) -> NDArray[np.int64]:
        """Digests of training recordings, sorted, (count,); see `read_digests`."""
        return read_digests(_file(self.path, RECORDS, MAX_RECORD_BYTES), records)


def read_digests(path: Path, records: RecordSet) -> NDArray[np.int64]:
    """Digests of training recordings, sorted, (count,).

    Raises:
        ModelFolderError: The file does not hold them.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            digests: NDArray[np.int64] = file.get_tensor(records.array)
    except (SafetensorError, OSError) as error:
        raise ModelFolderError(f"{path} cannot be read: {error}") from error
    if digests.dtype != np.int64 or digests.shape != (records.count,):
        raise ModelFolderError(
            f"{path}: {records.array} is {digests.dtype} {digests.shape}, expected int64 ({records.count},)"
        )
    return digests


def refuse_by_name(source: str | Path) -> None:
    """Refuse addresses, single files and folders without their `config.json` where a model is asked for.

    Raises:
        ValueError: The message says what to do instead.
    """
    path = Path(source)
    if _ADDRESS.match(str(source)):
        raise ValueError(
            f"{source} is an address, and nothing is loaded from one: download the folder first (`hf download`, `git "
            "clone`, `wget`) and name it"
        )
    if path.suffix.lower() in (".safetensors", ".onnx", ".json") and not path.is_dir():
        raise ValueError(f"{source} is a single file of an exported model: name its folder, {path.parent}")
    found = [name for name in (WEIGHTS, ONNX, RECORDS) if (path / name).is_file()]
    if found and not any((path / name).exists() for name in (CONFIG, "config.yaml")):
        raise ModelFolderError(
            f"{source} has {', '.join(found)} and lacks {CONFIG}, which says what they are: copy the whole folder, or "
            "export the run again"
        )
    if path.suffix.lower() in PICKLES and not path.is_dir():
        raise ValueError(
            f"{source} is a single file: a pickle runs its author's code when it is loaded. Name a run's directory, or "
            "a folder that `ecg-transfer export` wrote (model.safetensors beside config.json)"
        )


def is_model_folder(path: str | Path) -> bool:
    """Whether a path looks like an exported model."""
    return (Path(path) / CONFIG).is_file() and not (Path(path) / "config.yaml").exists()


def read_model_folder(path: str | Path) -> ModelFolder:
    """Open an exported model and check its `config.json`.

    Raises:
        ModelFolderError: It is none, of a later version, or a field is missing or of the wrong kind.
    """
    folder = Path(path)
    place = _file(folder, CONFIG, MAX_CONFIG_BYTES)
    try:
        config = json.loads(place.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelFolderError(f"{place} is no JSON: {error}") from error
    check = _Checked(place, config)
    if check.field("schema_version", int) not in (SCHEMA_VERSION, WINDOWS_VERSION):
        raise ModelFolderError(
            f"{place} has schema version {config['schema_version']}, this version of ecg_transfer reads "
            f"{SCHEMA_VERSION} and {WINDOWS_VERSION}: export the run again, or update"
        )
    labels = check.names("label_names")
    thresholds = check.field("thresholds", dict)
    data = _Checked(place, check.field("data", dict))
    weights = _Checked(place, check.field("weights", dict))
    if check.field("lead_names", list) != list(LEAD_NAMES) or check.field("units", str) != "mV":
        raise ModelFolderError(f"{place}: the model takes other leads or units than {', '.join(LEAD_NAMES)} in mV")
    if list(thresholds) != list(labels) or not all(_is_probability(value) for value in thresholds.values()):
        raise ModelFolderError(f"{place}: `thresholds` is no probability for each of the labels, in their order")
    if not re.fullmatch(r"[0-9a-f]{64}", digest := weights.field("sha256", str)):
        raise ModelFolderError(f"{place}: `weights.sha256` is {digest[:80]!r}, expected a SHA-256")
    if not PLAIN_NAME.fullmatch(data.field("corpus", str)) or not PLAIN_NAME.fullmatch(check.field("name", str)):
        raise ModelFolderError(f"{place}: `name` or `data.corpus` is no plain name; both become parts of file names")
    preprocessing = check.read(Preprocessing, check.field("preprocessing", dict))
    windows = None if config.get("windows") is None else check.read(Windows, config["windows"])
    if windows is not None and windows.length > preprocessing.num_samples:
        raise ModelFolderError(
            f"{place}: windows of {windows.length} samples do not fit into an input of {preprocessing.num_samples}"
        )
    sets = check.field("training_records", list)
    for entry in check.field("pretrained_on", list):
        _Checked(place, entry)
    return ModelFolder(
        path=folder,
        name=check.field("name", str),
        backbone=check.field("backbone", str),
        label_names=labels,
        preprocessing=preprocessing,
        windows=windows,
        thresholds=tuple(float(value) for value in thresholds.values()),
        corpus=data.field("corpus", str),
        simulated=data.field("simulated", bool),
        data_digest=data.field("digest", str),
        weights_sha256=digest,
        record_sets=tuple(check.read(RecordSet, entry) for entry in sets),
        config=config,
    )


class _Checked:
    """Reads fields of a JSON object; a wrong one is named, with what was expected."""

    def __init__(self, place: Path, tree: object) -> None:
        self._place = place
        self._tree: dict[str, Any] = self._is(tree, dict, "it")

    def field(self, name: str, kind: type[T]) -> T:
        if name not in self._tree:
            raise ModelFolderError(f"{self._place} has no `{name}`")
        return self._is(self._tree[name], kind, f"`{name}`")

    def names(self, name: str) -> tuple[str, ...]:
        found = self.field(name, list)
        if not 0 < len(found) <= MAX_LABELS or len(set(map(str, found))) != len(found):
            raise ModelFolderError(f"{self._place}: `{name}` has {len(found)} entries, expected different names")
        return tuple(self._is(entry, str, f"an entry of `{name}`") for entry in found)

    def read(self, kind: type[T], tree: object) -> T:
        """An object of a dataclass whose fields are numbers and words out of a set."""
        given: dict[str, Any] = self._is(tree, dict, f"a {kind.__name__}")
        hints = get_type_hints(kind)
        wanted = {field.name: hints[field.name] for field in fields(kind)}  # type: ignore[arg-type]
        if given.keys() != wanted.keys():
            raise ModelFolderError(
                f"{self._place}: {kind.__name__} has {', '.join(given)}, expected {', '.join(wanted)}"
            )
        for name, hint in wanted.items():
            allowed = get_args(hint)
            if allowed and given[name] not in allowed:
                raise ModelFolderError(f"{self._place}: `{name}` is {given[name]!r}, expected one of {allowed}")
            if not allowed:
                self._is(given[name], hint, f"`{name}`")
            if hint is int and not 0 <= given[name] <= MAX_SAMPLES * 100:
                raise ModelFolderError(f"{self._place}: `{name}` is {given[name]}, which cannot be")
        rate = given.get("sampling_rate", 1)
        if kind is Preprocessing and not (0 < given["num_samples"] <= MAX_SAMPLES and 0 < rate <= MAX_RATE):
            raise ModelFolderError(f"{self._place}: an input of {given['num_samples']} samples at {rate} Hz is no ECG")
        try:
            return kind(**given)
        except ValueError as error:
            raise ModelFolderError(f"{self._place}: {error}") from error

    def _is(self, value: object, kind: type[T], name: str) -> T:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ModelFolderError(f"{self._place}: {name} is a {type(value).__name__}, expected {kind.__name__}")
        return value


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _file(folder: Path, name: str, max_bytes: int) -> Path:
    path = folder / name
    if not path.is_file():
        raise ModelFolderError(f"{folder} is no exported model: it has no {name}; `ecg-transfer export` makes one")
    if (size := path.stat().st_size) > max_bytes:
        raise ModelFolderError(f"{path} has {size:,} bytes, at most {max_bytes:,} are read")
    return path
