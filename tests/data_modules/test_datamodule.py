from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_modules.batches import ShuffledBatches
from data_modules.config import CropConfig, DataConfig
from data_modules.datamodule import PARTS, ECGDataModule
from data_modules.signal import scale
from tests.data_modules.fake_corpus import TABLE, FakeCorpus, random_labels, write_fake_corpus


def module_of(corpus: FakeCorpus, **fields: Any) -> ECGDataModule:  # noqa: ANN401 - any field of DataConfig
    """Set up, with short signals and its cache beside the corpus."""
    config = DataConfig(
        corpus="fake", root=str(corpus.root.parent), num_samples=fields.pop("num_samples", 50), **fields
    )
    module = ECGDataModule(config, corpus=FakeCorpus(corpus.root), batch_size=8)
    module.setup()
    return module


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    """Sixty records of twenty patients, some of them copies, unlabelled or unreadable."""
    labels = random_labels(60, seed=3)
    patients = [f"p{number % 20:02d}" for number in range(60)]
    corpus = write_fake_corpus(
        tmp_path_factory.mktemp("data") / "fake", labels, patients=patients, set_aside={"r900": "no_signal"}
    )
    for original, copy in ((0, 1), (1, 22), (5, 9)):
        np.save(corpus.root / f"r{copy:03d}.npy", np.load(corpus.root / f"r{original:03d}.npy"))
    (corpus.root / "r030.npy").unlink()
    return FakeCorpus(corpus.root)


def owners(module: ECGDataModule, of: NDArray[Any]) -> list[set[Any]]:
    return [set(of[module.rows[part]].tolist()) for part in PARTS]


def disjoint(sets: list[set[Any]]) -> bool:
    return sum(map(len, sets)) == len(set().union(*sets))


def test_parts_hold_each_usable_record_once(corpus: FakeCorpus) -> None:
    module = module_of(corpus, unlabelled="keep")
    assert tuple(module.rows) == PARTS == ("train", "val", "test")
    rows = np.concatenate(list(module.rows.values()))
    assert sorted(rows.tolist()) == [row for row in range(60) if row != 30]
    assert module.record_ids == corpus.table.record_ids
    assert module.label_names == ("NORM", "AF", "MI")


def test_patients_and_copies_are_on_one_side(corpus: FakeCorpus) -> None:
    module = module_of(corpus)
    patients = np.array(corpus.table.patient_ids)
    content = np.array([hash((corpus.root / f"r{row:03d}.npy").read_bytes()) if row != 30 else 0 for row in range(60)])
    for rows_of in (patients, content, module.groups):
        assert disjoint(owners(module, rows_of))
    assert module.groups[0] == module.groups[1] == module.groups[22]  # patients p00, p01 and p02 share recordings


def test_the_papers_split_knows_no_patients(corpus: FakeCorpus) -> None:
    module = module_of(corpus, split="paper", unlabelled="keep")
    assert len(module.rows["test"]) == int(np.ceil(0.33 * 59))
    assert not disjoint(owners(module, np.array(corpus.table.patient_ids)))


@pytest.mark.parametrize("unlabelled", ["keep", "drop", None])
def test_unlabelled_records_are_kept_or_dropped(corpus: FakeCorpus, unlabelled: str | None) -> None:
    module = module_of(corpus, unlabelled=unlabelled)
    rows = np.concatenate(list(module.rows.values()))
    empty = set(np.flatnonzero(corpus.table.labels.sum(axis=1) == 0).tolist()) - {30}
    assert empty
    assert set(rows.tolist()) & empty == (set() if unlabelled == "drop" else empty)
    counted = module.summary()["set_aside"]
    assert isinstance(counted, dict)
    assert counted.get("unlabelled", 0) == (len(empty) if unlabelled == "drop" else 0)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(2, 30), min_size=2, max_size=4), seed=st.integers(0, 5))
def test_larger_subsets_hold_the_smaller(corpus: FakeCorpus, sizes: list[int], seed: int) -> None:
    full = module_of(corpus)
    found = [module_of(corpus, subset=float(size), subset_seed=seed) for size in sorted(sizes)]
    assert [len(module.rows["train"]) for module in found] == sorted(sizes)
    for smaller, larger in pairwise(found):
        assert set(smaller.rows["train"]) <= set(larger.rows["train"]) <= set(full.rows["train"])
        for part in ("val", "test"):
            assert np.array_equal(smaller.rows[part], full.rows[part])


def test_a_fraction_is_of_the_training_records(corpus: FakeCorpus) -> None:
    num_train = len(module_of(corpus).rows["train"])
    with pytest.raises(ValueError, match="expected a share of at most 1 or a whole number of records"):
        module_of(corpus, subset=1.5)
    half = module_of(corpus, subset=0.5)
    assert len(half.rows["train"]) == round(num_train / 2)
    assert np.array_equal(half.rows["train"], module_of(corpus, subset=float(len(half.rows["train"]))).rows["train"])
    assert len(module_of(corpus, subset=1.0).rows["train"]) == num_train


@pytest.mark.parametrize("subset", [0.0, -5.0, 61.0, 0.001])
def test_an_impossible_subset_is_refused(corpus: FakeCorpus, subset: float) -> None:
    with pytest.raises(ValueError, match=r"data\.subset=.* training records; fake has \d+"):
        module_of(corpus, subset=subset)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scale": "volt"}, "DataConfig.scale is 'volt', expected one of minmax, millivolt, zscore, none"),
        ({"source": "Real"}, "DataConfig.source is 'Real', expected one of auto, real, simulated"),
        ({"short": "skip"}, "DataConfig.short is 'skip', expected one of set_aside, pad, None"),
        ({"split": None}, "DataConfig.split is None, expected one of patient, paper"),
    ],
)
def test_a_word_that_no_field_knows_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ECGDataModule(DataConfig(**fields))
    with pytest.raises(ValueError, match=r"CropConfig\.windows is 'sum', expected one of max, mean"):
        ECGDataModule(crops=CropConfig(windows="sum"))  # type: ignore[arg-type]


def test_loaders_take_a_split_and_one_of_its_parts(corpus: FakeCorpus) -> None:
    module = ECGDataModule(DataConfig(corpus="fake"), corpus=corpus)
    for loader in (module.train_dataloader, module.val_dataloader, module.test_dataloader):
        with pytest.raises(RuntimeError, match=r"call setup\(\) before"):
            loader()
    with pytest.raises(ValueError, match="part is 'testt', expected one of train, val, test"):
        module_of(corpus).ordered_loader("testt")


def test_an_empty_part_is_refused_each_time(tmp_path: Path) -> None:
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(6), folds=[1, 2, 3, 10, 10, 10])
    config = DataConfig(corpus="fake", root=str(tmp_path), num_samples=50)
    module = ECGDataModule(config, corpus=corpus)
    for _ in range(2):
        with pytest.raises(ValueError, match="no record is left to val: 6 of 6 records can be used") as error:
            module.setup()
        assert "its folds alone decide, 1 to 8 train, 9 validates, 10 tests" in str(error.value)
        assert "data." not in str(error.value)
    corpus = write_fake_corpus(tmp_path / "few" / "fake", random_labels(2))
    with pytest.raises(ValueError, match=r"no record is left to .*; see data\.split, data\.val_fraction"):
        module_of(corpus)


def test_official_folds_are_kept(tmp_path: Path) -> None:
    folds = [1, 1, 9, 10, 10, 0, 9, 8]
    corpus = write_fake_corpus(tmp_path / "fake", random_labels(8), folds=folds)
    np.save(corpus.root / "r001.npy", np.load(corpus.root / "r003.npy"))
    module = module_of(corpus, unlabelled="keep")
    assert {part: module.rows[part].tolist() for part in PARTS} == {"train": [0, 7], "val": [2, 6], "test": [3, 4]}
    assert module.summary()["set_aside"] == {"duplicate": 1, "no_fold": 1}


def test_the_summary_counts_every_record(corpus: FakeCorpus) -> None:
    module = module_of(corpus, unlabelled="drop")
    summary: dict[str, Any] = module.summary()
    json.dumps(summary, allow_nan=False)
    assert summary["simulated"] is False
    assert (summary["corpus"], summary["label_names"]) == ("fake", ["NORM", "AF", "MI"])
    num_used = sum(part["records"] for part in summary["parts"].values())
    assert num_used + sum(summary["set_aside"].values()) == 61  # sixty rows, and a label row without a signal
    assert {"no_signal": 1, "unreadable": 1}.items() <= summary["set_aside"].items()
    for part in PARTS:
        positives = corpus.table.labels[module.rows[part]].astype(int).sum(axis=0).tolist()
        assert list(summary["parts"][part]["positives"].values()) == positives
    rows = np.concatenate(list(module.rows.values()))
    assert summary["num_groups"] == len(set(module.groups[rows].tolist()))
    assert "an incomplete copy, 60 of 12" in summary["completeness"]


def test_the_summary_names_the_release_that_is_there_and_its_address(
    corpus: FakeCorpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    num_found, before = len(corpus.table), module_of(corpus)
    other = replace(
        FakeCorpus.spec,
        version="1.2",
        url="https://here/1.2/",
        num_records=9,
        other_releases={"1.1": num_found, "1.0": 7},
    )
    monkeypatch.setattr(FakeCorpus, "spec", other)
    module = module_of(corpus)
    assert (module.summary()["version"], module.summary()["url"]) == ("1.1", "https://here/1.1/")
    assert (module.digest(), module.files_digest()) == (before.digest(), before.files_digest())
    monkeypatch.setattr(FakeCorpus, "spec", replace(other, other_releases={"1.1": 8}))
    summary = module_of(corpus).summary()
    assert (summary["version"], summary["url"]) == ("unknown", "https://here/1.2/")


def test_the_digest_changes_with_the_data_alone(corpus: FakeCorpus, tmp_path: Path) -> None:
    labels = random_labels(20, seed=1)
    copy = write_fake_corpus(tmp_path / "one" / "fake", labels)
    digest = module_of(copy).digest()
    assert module_of(write_fake_corpus(tmp_path / "two" / "fake", labels)).digest() == digest
    assert module_of(copy, subset_seed=4, unlabelled="keep").digest() == digest
    other: dict[str, Any]
    for other in (
        {"subset": 5.0},
        {"split_seed": 2},
        {"scale": "zscore"},
        {"num_samples": 49},
        {"resample": "stride", "sampling_rate": 50},
        {"split": "paper"},
    ):
        assert module_of(copy, **other).digest() != digest, other
    content = json.loads((copy.root / TABLE).read_text())
    content["labels"][7][1] ^= 1
    (copy.root / TABLE).write_text(json.dumps(content))
    assert (
        module_of(copy, split="paper").digest()
        != module_of(write_fake_corpus(tmp_path / "three" / "fake", labels), split="paper").digest()
    )


def test_loaders_serve_the_parts(corpus: FakeCorpus) -> None:
    module = module_of(corpus, scale="millivolt")
    val, test = module.val_dataloader()
    for part, loader in (("val", val), ("test", test), ("test", module.test_dataloader())):
        index = torch.cat([batch["index"] for batch in loader])
        assert index.tolist() == module.rows[part].tolist()
    train = list(module.train_dataloader())
    assert sorted(torch.cat([batch["index"] for batch in train]).tolist()) == module.rows["train"].tolist()
    assert len(train) == len(module.train_dataloader()) == -(-len(module.rows["train"]) // 8)
    batch = train[0]
    rows = batch["index"].numpy()
    assert np.array_equal(batch["label"].numpy(), corpus.table.labels[rows])
    for number, row in enumerate(rows):
        signal = np.load(corpus.root / f"{corpus.table.record_ids[row]}.npy")[:, :50]
        assert torch.equal(batch["signal"][number], scale(torch.from_numpy(signal.T[None]), "millivolt")[0].T)


def test_another_seed_shuffles_otherwise_but_splits_alike(corpus: FakeCorpus) -> None:
    modules = []
    for seed in (0, 1):
        config = DataConfig(corpus="fake", root=str(corpus.root.parent), num_samples=50)
        modules.append(ECGDataModule(config, corpus=corpus, seed=seed))
        modules[-1].setup()
    orders = [torch.cat([batch["index"] for batch in module.train_dataloader()]).tolist() for module in modules]
    assert orders[0] != orders[1]
    assert all(np.array_equal(modules[0].rows[part], modules[1].rows[part]) for part in PARTS)


def test_updates_of_an_epoch_are_those_of_all_processes(tmp_path: Path) -> None:
    data = module_of(write_fake_corpus(tmp_path / "fake", random_labels(60)), subset=33.0)
    data.batch_size = 32
    for world_size in (1, 2, 4):
        batches = [
            ShuffledBatches(data.rows["train"], 32, seed=0, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        assert {len(list(part)) for part in batches} == {data.updates_per_epoch(world_size)}
    assert [data.updates_per_epoch(number) for number in (1, 2)] == [2, 1]  # the 33rd record sits the epoch out
