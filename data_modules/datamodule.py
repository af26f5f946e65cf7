"""A corpus as a LightningDataModule: split, subset, batches."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from data_modules.augmentation import Augmentation
from data_modules.batches import Batch, ECGDataset, OrderedBatches, ShuffledBatches
from data_modules.cache import Cache, cache_path, discard, fingerprint, open_cache
from data_modules.completeness import check_completeness
from data_modules.config import AugmentConfig, CropConfig, DataConfig, Positives, require_known_words
from data_modules.corpus import LEAD_NAMES, Corpus
from data_modules.crops import RandomCrops
from data_modules.positive_pairs import PositivePairs
from data_modules.resident import ResidentDataset, has_room
from data_modules.sources import data_root, open_corpus
from data_modules.splits import Split, join_groups, nested_order, split_records

PARTS = ("train", "val", "test")
"""The parts of a split."""


class ECGDataModule(pl.LightningDataModule):
    """Any corpus as multi-label 12-lead batches; see `data_modules.batches.Batch`.

    Args:
        config: Which corpus, how it is prepared and split.
        crops: Whether a Trainer trains on pieces of the records; what the loaders give are whole records always.
        augment: How a Trainer's training batches are changed.
        positives: Give two views of each record, which should look alike, in place of the record to a Trainer, in
            training and evaluation; `crops` has their length, half a record by default.
        corpus: A corpus that is open already, in place of the one that `config` names.
        batch_size: Of the global batch, whatever the number of processes.
        seed: Of the order of the training records.
        progress: Whether to show a bar while the cache is built; None shows one where there is a terminal.

    Attributes:
        label_names: In column order.
        record_ids: By row number, the `index` of a batch.
        labels: Multi-hot, (records, labels), by row number.
        rows: Row numbers of each part after `setup`.
        progress: As given.
        groups: Number of the group (patient, or copies of one recording) of each row.

    Raises:
        ValueError: A field that is none of its words; from `setup`: the split leaves a part empty.
    """

    def __init__(
        self,
        config: DataConfig | None = None,
        *,
        crops: CropConfig | None = None,
        augment: AugmentConfig | None = None,
        positives: Positives | None = None,
        corpus: Corpus | None = None,
        batch_size: int = 256,
        seed: int = 0,
        progress: bool | None = None,
    ) -> None:
        super().__init__()
        self.config = config or DataConfig()
        for section in (self.config, crops or CropConfig()):
            require_known_words(section)
        self._crop_length = (crops or CropConfig()).num_samples(self.config)
        self._augment = augment or AugmentConfig()
        self._crops: RandomCrops | None = None
        self._augmentation: Augmentation | None = None
        self._positives = positives
        self._pairs: PositivePairs | None = None
        self.batch_size = batch_size
        self.seed = seed
        self.progress = progress
        self._corpus = corpus
        self._cache: Cache | None = None
        self._dataset: ECGDataset | None = None
        self._resident: ResidentDataset | None = None

    @property
    def corpus(self) -> Corpus:
        """The corpus, opened (and simulated where that is needed) at first use."""
        if self._corpus is None:
            self._corpus = open_corpus(
                self.config.corpus,
                root=self.config.root,
                source=self.config.source,
                num_simulated=self.config.num_simulated,
                label_set=self.config.label_set,
                sampling_rate=self.config.original_rate,
                progress=self.progress,
            )
        return self._corpus

    @property
    def label_names(self) -> tuple[str, ...]:
        """The labels, in column order."""
        return self.corpus.table.label_names

    def prepare_data(self) -> None:
        """Build the cache where there is none; Lightning calls this on one process only."""
        self._open_cache()

    def _open_cache(self) -> Cache:
        preprocessing = self.config.preprocessing(self.corpus.spec)
        return open_cache(self.corpus, preprocessing, self._cache_folder, progress=self.progress)

    @property
    def _cache_folder(self) -> Path:
        return data_root(self.config.root) / "cache"

    @property
    def is_cached(self) -> bool:
        """Whether `setup` would find a cache of the files as they are, and build none."""
        return cache_path(self.corpus, self.config.preprocessing(self.corpus.spec), self._cache_folder).exists()

    def setup(self, stage: str | None = None) -> None:
        """Open the cache and split the records; the same for every `stage`."""
        if self._dataset is not None:
            return
        self._cache = self._open_cache()
        table = self.corpus.table
        self.record_ids = table.record_ids
        self.labels = table.labels
        self.groups = join_groups(table.patient_ids, self._cache.copies)
        unlabelled = (self.config.unlabelled or self.corpus.spec.unlabelled) == "drop"
        self._unlabelled = self._cache.kept & (self.labels.sum(axis=1) == 0) & unlabelled
        usable = np.flatnonzero(self._cache.kept & ~self._unlabelled)
        self.split = self._split(usable)
        train = self._subset(self.split.train)
        self.rows = dict(zip(PARTS, (train, self.split.val, self.split.test), strict=True))
        for part, rows in self.rows.items():
            if len(rows) == 0:
                remedy = "see data.split, data.val_fraction, data.test_fraction and data.short"
                if table.folds is not None:
                    remedy = (
                        "its folds alone decide, 1 to 8 train, 9 validates, 10 tests: give some records a fold for it, "
                        "or take the folds out of its table"
                    )
                raise ValueError(
                    f"{self.corpus.spec.name}: no record is left to {part}: {len(usable)} of {len(table)} records can "
                    f"be used; {remedy}"
                )
        used = np.concatenate(list(self.rows.values()))
        if self._cache.is_damaged(used):
            discard(self._cache.path, "a signal has changed since it was written")
            self.setup(stage)
            return
        self._dataset = ECGDataset(self._cache.signals, self.labels, self.config.scale, self.record_ids)
        if self._positives is not None:
            self._pairs = self._draw_pairs(self._dataset, self._positives)
            return
        if self._crop_length is not None:
            self._crops = RandomCrops(len(table), self.config.num_samples, self._crop_length, seed=self.seed)
        if self._augment.is_active:
            self._augmentation = Augmentation(self._augment, len(table), len(LEAD_NAMES), seed=self.seed)

    def _draw_pairs(self, dataset: ECGDataset, positives: Positives) -> PositivePairs:
        return PositivePairs(
            dataset,
            self.rows.values(),
            self.groups,
            self._crop_length or self.config.num_samples // 2,
            positives,
            augment=self._augment,
            seed=self.seed,
        )

    def _split(self, usable: NDArray[np.int64]) -> Split:
        """Split the usable rows; the result speaks of the table's rows."""
        folds = self.corpus.table.folds
        split = split_records(
            self.config,
            self.labels[usable],
            None if folds is None else folds[usable],
            self.groups[usable],
            self.cache.copies[usable],
        )
        return Split(
            train=usable[split.train],
            val=usable[split.val],
            test=usable[split.test],
            left_out=usable[split.left_out],
        )

    def _subset(self, train: NDArray[np.int64]) -> NDArray[np.int64]:
        if self.config.subset is None:
            return train
        size = self.config.num_wanted(len(train))
        if not 1 <= size <= len(train):
            raise ValueError(
                f"data.subset={self.config.subset:g} asks for {size} training records; "
                f"{self.corpus.spec.name} has {len(train)}"
            )
        _, groups = np.unique(self.groups[train], return_inverse=True)
        order = nested_order(self.labels[train], groups, seed=self.config.subset_seed)
        return np.sort(train[order[:size]])

    @property
    def cache(self) -> Cache:
        """The open cache; there is one after `setup`."""
        if self._cache is None:
            self.setup()
        assert self._cache is not None
        return self._cache

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of the training records."""
        return self._loader(self._shuffled_batches(*self._place()), near_the_model=True)

    def updates_per_epoch(self, num_processes: int) -> int:
        """Batches of an epoch of a training on so many processes."""
        return len(self._shuffled_batches(0, num_processes))

    def _shuffled_batches(self, rank: int, world_size: int) -> ShuffledBatches:
        return ShuffledBatches(
            self._rows_of("train"), self.batch_size, seed=self.seed, rank=rank, world_size=world_size
        )

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Validation and test records, in this order: test scores are watched too, as the paper's curves show them."""
        return [self._ordered_loader(part, near_the_model=True) for part in ("val", "test")]

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test records in order."""
        return self.ordered_loader("test")

    def ordered_loader(self, part: str, *, sharded: bool = True) -> DataLoader[Batch]:
        """The records of one part in order; `sharded` shares them among the processes of a distributed run."""
        return self._ordered_loader(part, sharded=sharded)

    def _ordered_loader(self, part: str, *, sharded: bool = True, near_the_model: bool = False) -> DataLoader[Batch]:
        rank, world_size = self._place() if sharded else (0, 1)
        batch_size = max(1, self.batch_size // world_size)
        batches = OrderedBatches(self._rows_of(part), batch_size, rank=rank, world_size=world_size)
        return self._loader(batches, near_the_model=near_the_model)

    def _rows_of(self, part: str) -> NDArray[np.int64]:
        if self._dataset is None:
            raise RuntimeError("the records are not split yet: call setup() before a loader is asked for")
        if part not in PARTS:
            raise ValueError(f"part is {part!r}, expected one of {', '.join(PARTS)}")
        return self.rows[part]

    def _loader(self, batches: ShuffledBatches | OrderedBatches, *, near_the_model: bool) -> DataLoader[Batch]:
        resident = self._on_the_trainers_device() if near_the_model else None
        return DataLoader(
            cast(Dataset[Batch], self._dataset if resident is None else resident),
            batch_size=None,
            sampler=batches,
            collate_fn=_as_it_is,
            generator=torch.Generator(),
            pin_memory=resident is None and torch.cuda.is_available(),
        )

    def _on_the_trainers_device(self) -> ResidentDataset | None:
        """All records of the split, on the GPU that a Trainer trains on where they fit there; None else."""
        if self._resident is None and self.trainer is not None:
            assert self._dataset is not None
            device, rows = self.trainer.strategy.root_device, np.concatenate(list(self.rows.values()))
            if has_room(device, len(rows) * self.cache.signals[0].nbytes):
                self._resident = ResidentDataset(self._dataset, rows, device)
        return self._resident

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Cut the pieces out of a training batch and change them, on the device that it has come to.

        Of views the loss is watched, too: those of an evaluation are always the same ones, as they are.
        """
        trainer = self.trainer
        signal, rows = batch["signal"], batch["index"]
        if trainer is not None and self._pairs is not None:
            epoch = trainer.current_epoch if trainer.training else 0
            signal = self._pairs.views(signal, rows, epoch, augmented=trainer.training)
            return {"signal": signal, "label": batch["label"], "index": rows}
        if trainer is None or not trainer.training:
            return batch
        if self._crops is not None:
            signal = self._crops.cut(signal, rows, trainer.current_epoch)
        if self._augmentation is not None:
            signal = self._augmentation.apply(signal, rows, trainer.current_epoch)
        return {"signal": signal, "label": batch["label"], "index": rows}

    def _place(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    def summary(self) -> dict[str, object]:
        """What this run's data were, for its manifest: provenance, counts, everything that was set aside or mended."""
        table, spec = self.corpus.table, self.corpus.spec
        copy = check_completeness(self.corpus)
        counts = self.cache.counts()
        set_aside = dict(counts["set_aside"])
        for reason in table.set_aside.values():
            set_aside[reason] = set_aside.get(reason, 0) + 1
        if self._unlabelled.any():
            set_aside["unlabelled"] = int(self._unlabelled.sum())
        left_out = self.split.left_out
        without_fold = 0 if table.folds is None else int((table.folds[left_out] < 1).sum())
        counted = {"no_fold": without_fold, "duplicate": len(left_out) - without_fold}
        set_aside |= {reason: number for reason, number in counted.items() if number}
        return {
            "corpus": spec.name,
            "title": spec.title,
            "version": copy.version,
            "url": spec.url.replace(spec.version, copy.version) if copy.version in spec.other_releases else spec.url,
            "licence": spec.licence,
            "simulated": self.corpus.is_simulated,
            "label_names": list(self.label_names),
            "completeness": copy.sentence(),
            "notices": list(table.notices),
            "preprocessing": asdict(self.config.preprocessing(spec)),
            "set_aside": set_aside,
            "mended": counts["notes"],
            "num_groups": len(np.unique(self.groups[np.concatenate(list(self.rows.values()))])),
            "parts": {
                part: {
                    "records": len(rows),
                    "positives": dict(zip(self.label_names, self.labels[rows].sum(axis=0).tolist(), strict=True)),
                }
                for part, rows in self.rows.items()
            },
            "digest": self.digest(),
            "files_digest": self.files_digest(),
        }

    def files_digest(self) -> str:
        """A digest of the files as they lie there, and of the tables' content; no signal is read, no cache needed.

        Of the record files it takes names, sizes and times, of the tables what was read from them: ids, labels,
        patients, folds and what is set aside. Equal ones mean equal data; different ones may be equal all the same.
        """
        table = self.corpus.table
        folds = None if table.folds is None else table.folds.tolist()
        digest = hashlib.sha256(fingerprint(self.corpus, self.config.preprocessing(self.corpus.spec)).encode())
        digest.update(repr((table.record_ids, table.label_names, table.patient_ids, folds)).encode())
        digest.update(repr(sorted(table.set_aside.items())).encode())
        digest.update(table.labels.tobytes())
        return digest.hexdigest()

    def digest(self) -> str:
        """A digest of the records, signals and labels of each part: equal ones mean equal data."""
        digest = hashlib.sha256()
        for part, rows in self.rows.items():
            digest.update(f"{part}:{self.config.scale}:{','.join(self.label_names)}".encode())
            digest.update("\n".join(self.record_ids[row] for row in rows).encode())
            digest.update(self.cache.digests[rows].tobytes())
            digest.update(self.labels[rows].tobytes())
        return digest.hexdigest()


def _as_it_is(batch: Any) -> Any:  # noqa: ANN401 - a whole batch already, where a DataLoader expects a list to join
    return batch
