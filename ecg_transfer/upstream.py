"""What a fine-tuning starts from: a finished run, or an exported model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_modules.config import DataConfig
from data_modules.corpora import CORPORA
from data_modules.corpus import CorpusNotFoundError
from data_modules.label_map import LabelMatch, match_labels
from data_modules.sources import will_simulate
from ecg_transfer.files import write_atomically
from ecg_transfer.lineage import lineage
from ecg_transfer.model_folder import RECORDS, ModelFolder, RecordSet, read_digests
from ecg_transfer.pretext.config import pretext_name
from ecg_transfer.runs import Run

if TYPE_CHECKING:
    from torch import Tensor

    from data_modules.datamodule import ECGDataModule

UPSTREAM_RECORDS = f"upstream_{RECORDS}"
"""File of a run with the digests that came with its exported upstream."""

FACTS = ("title", "version", "url", "licence", "citation")
"""What is passed on about a corpus."""

INPUT_FIELDS = ("sampling_rate", "num_samples", "scale")
"""Fields of the `data` section in which upstream and downstream must agree."""

COMPARED_BY = ("sampling_rate", "num_samples", "crop")
"""Fields of the `data` section in which records must agree to be compared sample by sample."""


class RecordsOverlapWarning(UserWarning):
    """Recordings that a downstream evaluates on were among those that its upstream was trained on."""


class TrainingUnknownWarning(UserWarning):
    """A model is evaluated on recordings that cannot be compared with those of its training."""


@dataclass(frozen=True, kw_only=True)
class Upstream:
    """A pre-trained model, wherever it lies."""

    name: str
    """Of the run; or of the exported model, with the beginning of its weights' hash."""
    corpus: str
    backbone: str
    inputs: Mapping[str, object]
    """Values of `INPUT_FIELDS`."""
    simulated: bool
    """Whether it was trained on simulated ECGs."""
    origin: Run | ModelFolder
    pretext: str = "none"
    """What it learnt without labels, in words; `none` where it learnt labels."""

    @classmethod
    def from_run(cls, run: Run) -> Upstream:
        """A finished run."""
        config = run.config
        return cls(
            name=run.name,
            corpus=config.data.corpus,
            backbone=config.model.backbone,
            inputs=input_fields(config.data),
            simulated=run.manifest["data"]["simulated"],
            origin=run,
            pretext=pretext_name(config.pretext),
        )

    @classmethod
    def from_folder(cls, folder: ModelFolder) -> Upstream:
        """An exported model."""
        return cls(
            name=folder.full_name,
            corpus=folder.corpus,
            backbone=folder.backbone,
            inputs={name: getattr(folder.preprocessing, name) for name in INPUT_FIELDS},
            simulated=folder.simulated,
            origin=folder,
        )

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels that its head knows, in the order of its rows; none where it was trained without them."""
        if self.pretext != "none":
            return ()
        if isinstance(self.origin, Run):
            return tuple(map(str, self.origin.manifest["data"]["label_names"]))
        return self.origin.label_names

    def matches(self, corpus: str, labels: Sequence[str], root: str | None = None) -> list[LabelMatch]:
        """Its labels beside those of a downstream that mean the same, or of which one holds the other."""
        return match_labels(self.corpus, self.label_names, corpus, labels, root)

    @property
    def weights_sha256(self) -> str | None:
        """SHA-256 of the file that holds the weights."""
        return self.origin.weights_sha256

    def state_dict(self) -> Mapping[str, Tensor]:
        """Its weights, on the CPU.

        Raises:
            ValueError: A run's checkpoint or an exported model's weights are damaged.
        """
        if isinstance(self.origin, Run):  # its weights alone: no code that it names is imported
            from ecg_transfer.weights import read_checkpoint  # PyTorch: what needs no weights need not wait for it

            return read_checkpoint(self.origin.checked("best.ckpt")).state
        return self.origin.state_dict()

    def trained_on(self) -> list[dict[str, Any]]:
        """Facts about each corpus whose recordings it has seen, its own first: title, version, url, records."""
        if isinstance(self.origin, Run):
            data, before = self.origin.manifest["data"], (self.origin.manifest["upstream"] or {}).get("trained_on", [])
        else:
            data, before = self.origin.config["data"], self.origin.config["pretrained_on"]
        return [_facts(data, self.corpus), *(_facts(entry, str(entry.get("corpus"))) for entry in before)]

    def as_dict(self) -> dict[str, Any]:
        """What a manifest says of it."""
        return {
            "run": self.name,
            "corpus": self.corpus,
            "pretext": self.pretext,
            "simulated": self.simulated,
            "weights_sha256": self.weights_sha256,
            "data_digest": self.origin.manifest["data"]["digest"]
            if isinstance(self.origin, Run)
            else self.origin.data_digest,
            "trained_on": self.trained_on(),
            "record_sets": [asdict(records) for records in self.origin.record_sets]
            if isinstance(self.origin, ModelFolder)
            else None,
        }

    def leave_records(self, folder: Path) -> None:
        """Copy an exported model's digests into a run's directory: the run's own export passes them on."""
        if isinstance(self.origin, ModelFolder) and self.origin.record_sets:
            for records in self.origin.record_sets:
                self.origin.digests(records)  # checked: what is copied is what it should be
            content = (self.origin.path / RECORDS).read_bytes()
            with write_atomically(folder / UPSTREAM_RECORDS) as stream:
                stream.write(content)

    def overlap(self, data: ECGDataModule) -> dict[str, int] | None:
        """How many validation and test recordings of a downstream are copies of ones that this was trained on.

        Args:
            data: The downstream's, set up.

        Returns:
            Counts by part; None where nothing can be compared: a run (its data module knows) that goes back to no
            exported model, an exported model without digests, or recordings that were prepared in another way. Copies
            are found where they are equal sample by sample after the preparation; the same recording published at
            another rate is not.
        """
        if not (known := self._exported_digests(data)):
            return None
        seen = np.isin(data.cache.digests, np.concatenate(known))
        return {part: int(seen[data.rows[part]].sum()) for part in ("val", "test")}

    def seen_records(self, data: ECGDataModule) -> NDArray[np.bool_]:
        """Which records of a downstream's table, (records,), are copies of ones that this is known to be trained on.

        Of runs as `training_data` finds them, of exported models by their digests.

        Args:
            data: The downstream's, set up.
        """
        there = [theirs for theirs in self.training_data(data).values() if theirs is not None]
        trained = [theirs.cache.digests[theirs.rows["train"]] for theirs in there]
        known = [np.empty(0, np.int64), *trained, *self._exported_digests(data)]
        return np.isin(data.cache.digests, np.concatenate(known))

    def _exported_digests(self, data: ECGDataModule) -> list[NDArray[np.int64]]:
        """Those of exported models that can be compared with a downstream's records."""
        preprocessing = data.config.preprocessing(data.corpus.spec)
        return [digests() for records, digests in self._digests() if records.is_comparable(preprocessing)]

    def _digests(self) -> list[tuple[RecordSet, Callable[[], NDArray[np.int64]]]]:
        """The exported record sets that it comes with or goes back to, and what reads each."""
        if isinstance(self.origin, ModelFolder):
            return [(records, partial(self.origin.digests, records)) for records in self.origin.record_sets]
        *_, first = lineage(self.origin)
        sets = [RecordSet(**entry) for entry in (first.manifest["upstream"] or {}).get("record_sets") or ()]
        return [(records, partial(read_digests, first.path / UPSTREAM_RECORDS, records)) for records in sets]

    def training_data(self, downstream: ECGDataModule) -> dict[str, ECGDataModule | None]:
        """What it and the runs that it goes back to were trained on, to be compared with a downstream's records.

        Args:
            downstream: Set up.

        Returns:
            By the run's name, its own first, set up; None where that would take more than a look, or where its records
            are not any more those of the training: a run that is not here, a corpus that is not here or has no cache,
            or other preparation than the downstream's. Runs on simulated ECGs are left out, and exported models.
        """
        if not isinstance(self.origin, Run):
            return {}
        runs = [*lineage(self.origin)]
        found = {run.name: _training_data(run, downstream) for run in runs if not run.manifest["data"]["simulated"]}
        about = runs[-1].manifest["upstream"]
        is_lost = about is not None and about.get("record_sets") is None and not about.get("simulated")
        return found | ({str(about["run"]): None} if is_lost else {})


def input_fields(data: DataConfig) -> dict[str, object]:
    """Values of `INPUT_FIELDS` in a configuration."""
    return {name: getattr(data, name) for name in INPUT_FIELDS}


def _training_data(run: Run, downstream: ECGDataModule) -> ECGDataModule | None:
    ours, theirs = downstream.config, run.config.data
    if any(getattr(ours, name) != getattr(theirs, name) for name in COMPARED_BY):
        return None
    from data_modules.datamodule import ECGDataModule

    try:
        if will_simulate(theirs.corpus, theirs.root, theirs.source):
            return None
        data = ECGDataModule(theirs, progress=downstream.progress)
        if not data.is_cached:
            return None
        data.setup()
    except (CorpusNotFoundError, ValueError):  # its records, their table or its very name are gone, or changed
        return None
    return data if data.digest() == run.manifest["data"]["digest"] else None


def _facts(data: Mapping[str, Any], corpus: str) -> dict[str, Any]:
    known = asdict(CORPORA[corpus].spec) if corpus in CORPORA else {}
    facts = {name: str(data.get(name) or known.get(name) or "unknown") for name in FACTS}
    parts = data.get("parts") or {}
    num_train = parts["train"]["records"] if parts else data.get("num_train")
    return {"corpus": corpus, "simulated": bool(data.get("simulated")), "num_train": num_train, **facts}
