"""Sizes told from tables against those of the data module, which has read the signals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_modules.config import DataConfig
from data_modules.datamodule import ECGDataModule
from data_modules.own.arrays import corpus_from_arrays
from data_modules.simulation import simulate_ecg
from data_modules.simulation.simulated_corpus import simulate_corpus
from ecg_transfer.study.estimate import label_names
from ecg_transfer.study.sizes import PartSizes, part_sizes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small copies of a corpus with official folds, and of one with several recordings of a patient."""
    folder = tmp_path_factory.mktemp("sizes")
    simulate_corpus("ptbxl", folder / "ptbxl", num_records=60)
    simulate_corpus("ptb", folder / "ptb", num_records=30)
    return folder


@pytest.mark.parametrize(
    ("corpus", "fields"),
    [
        ("ptbxl", {}),
        ("ptb", {}),
        ("ptb", {"split": "paper"}),
        ("ptb", {"val_fraction": 0.2, "test_fraction": 0.3, "split_seed": 5}),
    ],
)
@pytest.mark.parametrize("subset", [None, 0.37, 9.0])
def test_they_are_those_of_the_split(
    root: Path, corpus: str, fields: dict[str, float | str], subset: float | None
) -> None:
    config = DataConfig(corpus=corpus, root=str(root), subset=subset, **fields)  # type: ignore[arg-type]
    data = ECGDataModule(config, batch_size=8, seed=0)
    data.setup()
    assert not data.cache.set_aside
    assert len(set(data.cache.digests)) == len(data.cache.digests)  # no copies
    found = PartSizes(**{part: len(rows) for part, rows in data.rows.items()})
    assert part_sizes(config).within(config) == found


def test_a_corpus_that_was_replaced_has_the_new_ones_at_once(tmp_path: Path) -> None:
    config = DataConfig(corpus="mine", root=str(tmp_path))
    ecgs = [simulate_ecg(seed=seed, sampling_rate=100) for seed in range(20)]
    for number, labels in ((20, ("AF", "NORM")), (12, ("AF",))):
        drawn = {name: np.arange(number) % 2 for name in labels}
        corpus_from_arrays(
            ecgs[:number], drawn, sampling_rate=100, name="mine", root=tmp_path, simulated=True, replace=True, say=print
        )
        sizes = part_sizes(config)
        assert sizes.train + sizes.val + sizes.test == number
        assert label_names("mine", None, str(tmp_path)) == labels
