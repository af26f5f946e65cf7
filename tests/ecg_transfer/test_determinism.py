"""The levels of repeatability that the README promises, as far as other tests do not show them.

Seeded: `tests/data_modules/test_batches.py`, `callbacks/test_resume.py`. Bitwise on one CPU with the same number of
threads, interrupted or not: `test_training.py`. Here: the same GPU, and what a change of threads or precision does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import ecg_transfer as et
from ecg_transfer.runs import Run
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer

BOUND = 0.05
"""Of test AUROC, between two trainings of one seed that differ in threads or precision."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> FakeCorpus:
    """Two kinds of records: in those with the first label, lead V1 is upside down."""
    labels = random_labels(200, seed=1)
    corpus = write_fake_corpus(tmp_path_factory.mktemp("corpus") / "fake", labels)
    for record_id, label in zip(corpus.table.record_ids, labels, strict=True):
        signal = np.load(corpus.root / f"{record_id}.npy")
        signal += np.random.default_rng(int(record_id[1:])).normal(0, 0.1, signal.shape).astype(np.float32)
        signal[6] *= -1 if label[0] else 1
        np.save(corpus.root / f"{record_id}.npy", signal)
    return FakeCorpus(corpus.root)


def logits_after(corpus: FakeCorpus, folder: Path, seed: int, *, threads: int, precision: str) -> np.ndarray:  # type: ignore[type-arg]
    """Test logits of a short training, and their AUROC."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        data = tiny_data(corpus, seed=seed)
        classifier = tiny_classifier(data, seed=seed)
        fit(tiny_trainer(folder, data, 10, precision=precision), classifier, data)
    finally:
        torch.set_num_threads(before)
    _, logits, targets = (value.numpy() for value in classifier.evaluated["test"])
    return np.append(logits[:, 0], roc_auc_score(targets[:, 0], logits[:, 0]))


@pytest.mark.parametrize(("threads", "precision"), [(2, "32-true"), (1, "bf16-mixed")])
def test_threads_and_precision_change_scores_by_little(
    corpus: FakeCorpus, tmp_path: Path, threads: int, precision: str
) -> None:
    differences = []
    for seed in range(3):
        plain = logits_after(corpus, tmp_path / f"plain{seed}", seed, threads=1, precision="32-true")
        again = logits_after(corpus, tmp_path / f"again{seed}", seed, threads=1, precision="32-true")
        other = logits_after(corpus, tmp_path / f"other{seed}", seed, threads=threads, precision=precision)
        assert np.array_equal(plain, again)
        assert plain[-1] > 0.7  # or there would be nothing to agree on
        differences.append(abs(other[-1] - plain[-1]))
        assert precision == "32-true" or not np.array_equal(plain, other)
    assert max(differences) < BOUND


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_two_runs_on_one_gpu_are_equal_to_the_bit(tmp_path: Path) -> None:
    def run(name: str) -> Run:
        overrides = {
            "data.root": str(tmp_path / "data"),
            "data.num_simulated": 90,
            "optim.max_epochs": 2,
            "optim.min_updates": 0,
            "trainer.accelerator": "gpu",
        }
        return et.train_from_scratch("cpsc2018", recipe="modern", overrides=overrides, output=tmp_path / name)

    one, other = (run(name).predictions["last_epoch/test"].logits for name in ("one", "other"))
    assert np.array_equal(one, other)
