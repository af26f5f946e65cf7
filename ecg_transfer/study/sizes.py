"""How many records a run trains, validates and tests on, told from a corpus's tables without reading a signal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from data_modules.config import DataConfig
from data_modules.corpus import Corpus
from data_modules.simulation import SIMULATED_SIZES
from data_modules.sources import corpus_named, data_root, is_own, open_corpus, will_simulate
from data_modules.splits import OFFICIAL_TEST_FOLD, OFFICIAL_VAL_FOLD, PAPER_TEST_FRACTION, PAPER_VAL_FRACTION

FOLD_FRACTIONS = {"ptbxl": (0.1, 0.1)}
"""Validation and test share of the corpora that have ten official folds, for a copy that is not simulated yet."""


@dataclass(frozen=True, kw_only=True)
class PartSizes:
    """Records of each part. Records that quality screening will set aside are still counted."""

    train: int
    val: int
    test: int

    def within(self, subset: float | None) -> PartSizes:
        """With a subset of the training records, as `DataConfig.subset` states it."""
        if subset is None:
            return self
        size = round(subset * self.train) if subset <= 1 else int(subset)
        return replace(self, train=max(1, min(size, self.train)))


def part_sizes(config: DataConfig) -> PartSizes:
    """Sizes of the parts of a corpus, its subset not yet taken.

    Args:
        config: The `data` section of a run.

    Raises:
        CorpusFormatError: The corpus's tables cannot be used.
    """
    return _part_sizes(
        config.corpus,
        config.root,
        will_simulate(config.corpus, config.root, config.source),
        config.num_simulated,
        config.label_set,
        config.unlabelled,
        config.split,
        (config.val_fraction, config.test_fraction),
    )


@cache
def _part_sizes(
    corpus: str,
    root: str | None,
    simulated: bool,
    num_simulated: int | None,
    label_set: str | None,
    unlabelled: str | None,
    split: str,
    fractions: tuple[float, float],
) -> PartSizes:
    if is_own(corpus, root):
        return _sizes_of(open_corpus(corpus, root=root), unlabelled, split, fractions)
    corpus_class = corpus_named(corpus)
    folder = data_root(root) / corpus
    if simulated:
        size = num_simulated or SIMULATED_SIZES.get(corpus, 1000)
        folder = data_root(root) / "simulated" / f"{corpus}-{size}"
        if not corpus_class.is_present(folder):
            return _shared_out(size, FOLD_FRACTIONS.get(corpus) or _fractions(split, fractions))
    return _sizes_of(corpus_class(folder, label_set=label_set), unlabelled, split, fractions)


def _sizes_of(corpus: Corpus, unlabelled: str | None, split: str, fractions: tuple[float, float]) -> PartSizes:
    table = corpus.table
    drops = (unlabelled or corpus.spec.unlabelled) == "drop"
    usable = table.labels.sum(axis=1) > 0 if drops else np.ones(len(table), bool)
    if table.folds is None:
        return _shared_out(int(usable.sum()), _fractions(split, fractions))
    folds = table.folds[usable]
    val, test = int((folds == OFFICIAL_VAL_FOLD).sum()), int((folds == OFFICIAL_TEST_FOLD).sum())
    return PartSizes(train=int((folds > 0).sum()) - val - test, val=val, test=test)


def _fractions(split: str, fractions: tuple[float, float]) -> tuple[float, float]:
    if split == "paper":
        return (1 - PAPER_TEST_FRACTION) * PAPER_VAL_FRACTION, PAPER_TEST_FRACTION
    return fractions


def _shared_out(num_records: int, fractions: tuple[float, float]) -> PartSizes:
    val, test = (round(share * num_records) for share in fractions)
    return PartSizes(train=num_records - val - test, val=val, test=test)
