"""The run directory: its name, its files, what they say, and finding runs among many."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_modules.claim import remove_void_claim
from data_modules.plain_yaml import PlainYamlError
from data_modules.unfinished import sweep
from ecg_transfer.config import ConfigError, RunConfig
from ecg_transfer.config_reading import config_from, read_tree
from ecg_transfer.curve import read_curve, time_to_targets
from ecg_transfer.files import wait_for_disk, write_atomically, write_json
from ecg_transfer.seal import sealed, vouched_for

if TYPE_CHECKING:
    import pandas as pd

    from ecg_transfer.classifier import ECGClassifier
    from ecg_transfer.metrics import Scores
    from ecg_transfer.predictions import Predictions

DEFAULT_OUTPUT = Path("checkpoints")
"""Where runs live unless told otherwise."""

SCORE_NAMES = ("val_selected", "last_epoch", "best_on_test")
"""The three scores of every run: of the epoch chosen on validation (the headline), of the last, and of the best epoch
on the test set, as the paper reports."""

SEALED = ("config.yaml", "manifest.json", "metrics.jsonl", "scores.json", "predictions.npz", "best.ckpt")
"""The files that `DONE` vouches for."""

STATES = ("last.ckpt", "last.previous.ckpt")
"""The state that an unfinished run goes on from, and the one before; see `ecg_transfer.resume`."""

MAX_JSON_BYTES = 100_000_000

Status = Literal["done", "failed", "unfinished", "absent"]


class NoLabelsError(ValueError):
    """What needs a head and labels was asked of a run that was trained without them."""


class RunNotFoundError(FileNotFoundError):
    """There is no such run; the message says where it was looked for and which command makes it."""


class RunChangedError(ValueError):
    """A file of a finished run is not what it was when the run finished."""


@dataclass(frozen=True)
class Run:
    """One run, read from its directory. What it is follows from its files alone.

    `status` looks at sizes. What is read of a finished run is compared with `DONE` first, byte for byte, and raises
    `RunChangedError` where it differs; `verify` looks at all of it.

    Attributes:
        path: The directory: `config.yaml`, `manifest.json`, `metrics.jsonl`, TensorBoard events, `best.ckpt`,
            `last.ckpt` until it is done, `predictions.npz`, `scores.json`, `DONE`.
        backbone: The backbone that this process was told to train it with, whose code may be imported; None for a run
            that was found, whose files may be anyone's.
    """

    path: Path
    backbone: str | None = field(default=None, compare=False, repr=False)

    def __fspath__(self) -> str:
        """A run stands for its directory wherever a path is taken."""
        return os.fspath(self.path)

    @property
    def name(self) -> str:
        """The directory's name."""
        return self.path.name

    @property
    def status(self) -> Status:
        """`done` when `DONE` is there and every file it vouches for has its size."""
        if not (self.path / "config.yaml").exists():
            return "absent"
        files = self._sealed("bytes", int)
        if files and all(_size(self.path / name) == size for name, size in files.items()):
            return "done"
        return "failed" if (self.path / "FAILED").exists() else "unfinished"

    @property
    def is_done(self) -> bool:
        """Whether the run is complete."""
        return self.status == "done"

    @property
    def damaged(self) -> list[str]:
        """Names of the files that `DONE` vouches for and that are missing or of another size; none without `DONE`."""
        files = self._sealed("bytes", int) or {}
        return [name for name, size in files.items() if _size(self.path / name) != size]

    @property
    def sealed_name(self) -> str:
        """Its name when it finished; a copy of its directory has another one."""
        return str((_read_json(self.path / "DONE") or {}).get("run", self.name))

    @cached_property
    def config(self) -> RunConfig:
        """The configuration it was made with.

        Raises:
            RunNotFoundError: There is none, or it is no YAML.
            ConfigError: It has fields or values that this version does not know; the message names the file.
        """
        try:
            return config_from(read_tree(self.checked("config.yaml")))
        except ConfigError as error:
            raise ConfigError(f"{self.path / 'config.yaml'} is of another version, or was edited: {error}") from error
        except (OSError, PlainYamlError) as error:
            raise RunNotFoundError(f"{self.path / 'config.yaml'} is no configuration: {error}") from error

    @property
    def manifest(self) -> dict[str, Any]:
        """Provenance: versions, hardware, data, parent, timings."""
        return self._json("manifest.json")

    @property
    def curve(self) -> pd.DataFrame:
        """One row an epoch; nested names are joined by `/`: `val/f1_weighted`, `test/f1/AF`."""
        import pandas as pd

        return pd.json_normalize(read_curve(self.checked("metrics.jsonl")), sep="/")

    @property
    def results(self) -> dict[str, Any]:
        """The content of `scores.json`."""
        return self._json("scores.json")

    @property
    def scores(self) -> dict[str, Scores]:
        """Test scores at a threshold of 0.5 by `SCORE_NAMES`.

        Raises:
            NoLabelsError: It was trained without labels; `results` has its own loss.
        """
        self.require_labels()
        from ecg_transfer.metrics import Scores

        results = self.results
        return {name: Scores.from_dict(results[name]["test"]) for name in SCORE_NAMES}

    @property
    def convergence(self) -> dict[str, dict[str, float]]:
        """Epochs, updates, seconds to 90, 95 and 99 % of the best validation score; none without labels or above 0."""
        if not self.config.is_supervised:
            return {}
        return time_to_targets(read_curve(self.checked("metrics.jsonl")), "val", self.config.monitor)

    @property
    def predictions(self) -> dict[str, Predictions]:
        """Logits by record id, by `<score name>/<part>`, `val_selected/test` say.

        Raises:
            NoLabelsError: It was trained without labels.
        """
        self.require_labels()
        from ecg_transfer.predictions import load_predictions

        return load_predictions(self.checked("predictions.npz"))[0]

    def model(self, *, trust: bool = False) -> ECGClassifier:
        """The classifier with the weights of the epoch chosen on validation, in evaluation mode, on the CPU.

        Args:
            trust: Import a backbone `package.module:factory` that its checkpoint names; one that this process was told
                to train is imported anyway.

        Raises:
            UntrustedCodeError: The checkpoint names code that is not trusted.
            NoLabelsError: It was trained without labels.
        """
        self.require_labels()
        from ecg_transfer.classifier import load_classifier

        return load_classifier(self.checked("best.ckpt"), trust=trust or self.backbone or False)

    def require_labels(self) -> None:
        """Refuse a run that was trained without labels.

        Raises:
            NoLabelsError: It is one.
        """
        if not self.config.is_supervised:
            raise NoLabelsError(
                f"{self.name} was trained without labels ({self.config.pretext.task}): it has a backbone, no head, no "
                f"predictions. Give it a head with `ecg-transfer finetune CORPUS --upstream {self.name}`"
            )

    def seal(self) -> None:
        """Declare the run complete: write `DONE` with the size and SHA-256 of every file it vouches for, and its own.

        Raises:
            RunNotFoundError: One of them is missing.
        """
        without = () if self.config.is_supervised else ("predictions.npz",)
        wanted = [name for name in SEALED if name not in without]
        missing = [name for name in wanted if not (self.path / name).exists()]
        if missing:
            raise RunNotFoundError(f"{self.path} is not complete: it lacks {', '.join(missing)}")
        for name in wanted:
            wait_for_disk(self.path / name)
        files = {name: {"bytes": _size(self.path / name), "sha256": sha256(self.path / name)} for name in wanted}
        (self.path / "FAILED").unlink(missing_ok=True)
        write_json(self.path / "DONE", sealed(self.name, files))

    def tidy(self) -> None:
        """Remove what only an unfinished run needs; a kill in the instant after `DONE` leaves it behind."""
        for name in STATES:
            (self.path / name).unlink(missing_ok=True)
        sweep(self.path)
        remove_void_claim(self.path)

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """When each attempt at this run started; none are known where the manifest is missing or torn."""
        found = (_read_json(self.path / "manifest.json") or {}).get("attempts")
        return found if isinstance(found, list) else []

    def verify(self) -> list[str]:
        """Names of the files that are not what `DONE` vouches for; reads them all."""
        files = self._sealed("sha256", str)
        if files is None:
            return list(SEALED)
        return [name for name, digest in files.items() if sha256(self.path / name) != digest]

    def checked(self, name: str) -> Path:
        """The path of one of its files, after a comparison with what `DONE` vouches for, if it does.

        Raises:
            RunChangedError: It is another.
        """
        path = self.path / name
        digest = (self._sealed("sha256", str) or {}).get(name)
        if digest is not None and (found := sha256(path)) is not None and found != digest:
            raise RunChangedError(
                f"{path} was changed since the run finished: its SHA-256 begins with {found[:12]}, DONE says "
                f"{str(digest)[:12]}. Bring back the file as it was, or remove the folder and run it anew"
            )
        return path

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of `best.ckpt`: what `DONE` vouches for, or that of the file where there is no `DONE`."""
        digest = (self._sealed("sha256", str) or {}).get("best.ckpt")
        return str(digest) if digest is not None else sha256(self.path / "best.ckpt")

    def _sealed(self, what: str, kind: type[int] | type[str]) -> dict[str, object] | None:
        """Size or digest of the files that `DONE` vouches for; None if it is not what `seal` writes."""
        files = vouched_for(_read_json(self.path / "DONE") or {})
        if files is None or not files.keys() <= set(SEALED):
            return None
        if not all(isinstance(entry.get(what), kind) for entry in files.values()):
            return None
        return {name: entry[what] for name, entry in files.items()}

    def fail(self, error: BaseException) -> None:
        """Leave a note of why the run could not be completed; on a full disk there is none."""
        with suppress(OSError):
            write_json(self.path / "FAILED", {"error": type(error).__name__, "message": str(error)})

    @property
    def failure(self) -> str | None:
        """Why the last attempt failed, if it did."""
        note = _read_json(self.path / "FAILED")
        return f"{note['error']}: {note['message']}" if note else None

    def _json(self, name: str) -> dict[str, Any]:
        content = _read_json(self.checked(name))
        if content is None:
            raise RunNotFoundError(f"{self.path / name} is missing or torn: the run is {self.status}")
        return content

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{name}</td><td>{scores.f1_weighted:.3f}</td><td>{scores.f1_macro:.3f}</td></tr>"
            for name, scores in (self.scores.items() if self.is_done and self.config.is_supervised else ())
        )
        head = "<tr><th>test</th><th>F1 weighted</th><th>F1 macro</th></tr>"
        return f"<b>{self.name}</b> ({self.status})<table>{head}{rows}</table>"


def run_name(config: RunConfig, upstream_corpus: str | None) -> str:
    """The name of a configuration's run: readable, and ending in the digest that makes it unique."""
    for corpus in filter(None, (config.data.corpus, upstream_corpus)):
        if not re.fullmatch(r"\w[\w.+-]*", corpus, re.ASCII):
            raise ValueError(f"a corpus cannot be called {corpus[:80]!r}: its name becomes part of a folder's")
    parts = [config.phase, config.data.corpus]
    if upstream_corpus:
        parts += ["from", upstream_corpus]
    parts.append(re.sub(r"[^\w.]+", "-", config.model.backbone))
    if not config.is_supervised:
        parts.append(config.pretext.task)
    if config.data.subset is not None:
        parts.append(f"n{config.data.subset:g}")
    if config.transfer.way != "full":
        parts.append(config.transfer.way)
    if config.transfer.batch_norm != "train":
        parts.append(f"{config.transfer.batch_norm}_bn")
    if config.transfer.head != "new":
        parts.append(f"{config.transfer.head}_head")
    return "-".join([*parts, f"s{config.seed}", config.digest()[:8]])


def home(output: Path, *, simulated: bool) -> Path:
    """Where the runs on simulated and on real ECGs live, apart from each other."""
    return output / ("simulated" if simulated else "real")


def find_runs(output: str | Path = DEFAULT_OUTPUT) -> Iterator[Run]:
    """Every run below a folder, by path."""
    for config in sorted(Path(output).glob("*/*/config.yaml")):
        yield Run(config.parent)


def open_run(name: str | Path | Run, output: str | Path = DEFAULT_OUTPUT) -> Run:
    """A run by its directory or by its name; one that is open already is given back.

    Raises:
        RunNotFoundError: There is none; the message says what was probably meant.
    """
    if isinstance(name, Run):
        return name
    if (Path(name) / "config.yaml").exists():
        return Run(Path(name))
    found = [run for run in find_runs(output) if run.name == str(name)]
    if found:
        return found[0]
    known = [run.name for run in find_runs(output)]
    raise RunNotFoundError(
        f"there is no run {name} in {output}; there are: {', '.join(known) or 'none'}{_meant(str(name), known)}"
    )


def _meant(name: str, known: Sequence[str]) -> str:
    """The run that was probably meant, or the corpus, as a fine-tuning may name one in place of a run."""
    from difflib import get_close_matches

    from data_modules.corpora import CORPORA
    from data_modules.sources import own_corpora

    if close := get_close_matches(name, known, n=1):
        return f"; did you mean {close[0]}?"
    close = get_close_matches(name.lower(), [*CORPORA, *own_corpora()], n=1)
    return f"; there is a corpus {close[0]}" if close else ""


def save_config(path: Path, config: RunConfig) -> None:
    """Write a configuration as YAML; no value of the environment is in it."""
    from omegaconf import OmegaConf

    with write_atomically(path) as stream:
        stream.write(OmegaConf.to_yaml(config.as_dict(), sort_keys=False).encode())


def sha256(path: Path) -> str | None:
    """The SHA-256 of a file; None where there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return None


def _read_json(path: Path) -> dict[str, Any] | None:
    """The content of a JSON file; None where it is missing, empty or torn."""
    try:
        content = json.loads(path.read_bytes()) if path.stat().st_size <= MAX_JSON_BYTES else None
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
