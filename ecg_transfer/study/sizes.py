"""How many records a run trains, validates and tests on, told from a corpus's tables without reading a signal."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_modules.config import DataConfig
from data_modules.corpus import Corpus
from data_modules.simulation import SIMULATED_SIZES
from data_modules.sources import corpus_named, data_root, is_own, open_corpus, will_simulate
from data_modules.splits import PAPER_TEST_FRACTION, PAPER_VAL_FRACTION, join_groups, split_records

FOLD_FRACTIONS = {"ptbxl": (0.1, 0.1)}
"""Validation and test share of the corpora that have ten official folds, for a copy that is not simulated yet."""


@dataclass(frozen=True, kw_only=True)
class PartSizes:
    """Records of each part. Records that quality screening will set aside are still counted."""

    train: int
    val: int
    test: int

    def within(self, config: DataConfig) -> PartSizes:
        """With the subset of the training records that a configuration asks for."""
        return replace(self, train=max(1, min(config.num_wanted(self.train), self.train)))


def part_sizes(config: DataConfig) -> PartSizes:
    """Sizes of the parts of a corpus, its subset not yet taken.

    Args:
        config: The `data` section of a run.

    Raises:
        CorpusFormatError: The corpus's tables cannot be used.
    """
    config = replace(config, subset=None, subset_seed=0)
    if is_own(config.corpus, config.root):
        return _sizes_of(open_corpus(config.corpus, root=config.root), config)
    corpus_class = corpus_named(config.corpus)
    folder = data_root(config.root) / config.corpus
    if will_simulate(config.corpus, config.root, config.source):
        size = config.num_simulated or SIMULATED_SIZES.get(config.corpus, 1000)
        folder = data_root(config.root) / "simulated" / f"{config.corpus}-{size}"
        if not corpus_class.is_present(folder):
            return _shared_out(size, config)
    return _sizes_of(corpus_class(folder, label_set=config.label_set), config)


def published_sizes(config: DataConfig) -> PartSizes:
    """Sizes of the parts of a published corpus that is not on this disk, its subset not yet taken."""
    return _shared_out(corpus_named(config.corpus).spec.num_records, config)


def _sizes_of(corpus: Corpus, config: DataConfig) -> PartSizes:
    """Sizes of the split that `ECGDataModule` makes of these tables where no record is set aside or a copy."""
    table = corpus.table
    drops = (config.unlabelled or corpus.spec.unlabelled) == "drop"
    usable = np.flatnonzero(table.labels.any(axis=1)) if drops else np.arange(len(table))
    folds = None if table.folds is None else table.folds[usable]
    each_its_own = np.arange(len(table))
    groups = join_groups(table.patient_ids, each_its_own)[usable]
    split = split_records(config, table.labels[usable], folds, groups, each_its_own[usable])
    return PartSizes(train=len(split.train), val=len(split.val), test=len(split.test))


def _shared_out(num_records: int, config: DataConfig) -> PartSizes:
    """Sizes of the split of a corpus of which nothing is here yet."""
    if config.corpus in FOLD_FRACTIONS:
        fractions = FOLD_FRACTIONS[config.corpus]
    elif config.split == "paper":
        fractions = (1 - PAPER_TEST_FRACTION) * PAPER_VAL_FRACTION, PAPER_TEST_FRACTION
    else:
        fractions = config.val_fraction, config.test_fraction
    val, test = (round(share * num_records) for share in fractions)
    return PartSizes(train=num_records - val - test, val=val, test=test)
