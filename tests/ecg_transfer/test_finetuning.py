"""Both arms of a comparison: where they start, what they share, which upstreams are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.deterministic

import ecg_transfer as et
from data_modules.corpora import CORPORA
from ecg_transfer import fitting
from ecg_transfer.curve import read_curve
from ecg_transfer.data_identity import UpstreamChangedError
from ecg_transfer.files import write_json
from ecg_transfer.resolve import UpstreamError
from ecg_transfer.runs import Run, RunNotFoundError
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_runs import (
    TINY,
    settings,
)


@pytest.fixture(scope="module")
def pair(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run, Run]:
    """A pre-training on CPSC2018, and both arms on PTB."""
    output = tmp_path_factory.mktemp("pair")
    common: dict[str, Any] = {"backbone": TINY, "recipe": "modern", "overrides": settings(data), "output": output}
    upstream = et.pretrain("cpsc2018", **common)
    return upstream, et.finetune("ptb", upstream="cpsc2018", **common), et.train_from_scratch("ptb", **common)


def test_a_fine_tuning_starts_from_its_upstream_and_differs_in_nothing_else(
    pair: tuple[Run, Run, Run], data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    upstream, finetune, scratch_run = pair
    assert finetune.manifest["upstream"]["run"] == upstream.name
    assert finetune.manifest["data"]["digest"] == scratch_run.manifest["data"]["digest"]
    assert finetune.manifest["model"]["numbers_from_upstream"] > 0
    starts = {}

    def note_the_start(trainer: object, classifier: et.ECGClassifier, *rest: object) -> None:
        starts[len(starts)] = {name: value.clone() for name, value in classifier.state_dict().items()}
        raise InterruptedError

    monkeypatch.setattr(fitting, "fit", note_the_start)
    output = finetune.path.parents[1]
    common: dict[str, Any] = {"backbone": TINY, "recipe": "modern", "output": output}
    common["overrides"] = settings(data, **{"optim.max_epochs": 4})
    for call in (
        lambda: et.finetune("ptb", upstream=str(upstream.path), **common),
        lambda: et.train_from_scratch("ptb", **common),
    ):
        with pytest.raises(InterruptedError):
            call()
    trained = upstream.model().state_dict()
    for name, value in starts[0].items():
        if name.startswith("backbone."):
            assert torch.equal(value, trained[name])
        else:
            assert torch.equal(value, starts[1][name]), "both arms start with the same head"


def test_both_arms_pair_up(pair: tuple[Run, Run, Run]) -> None:
    upstream, finetune, scratch_run = pair
    (found,) = et.find_pairs(upstream.path.parents[1])
    assert (found.finetune, found.scratch) == (finetune, scratch_run)
    assert (found.upstream, found.downstream) == ("cpsc2018", "ptb")


def test_a_missing_upstream_names_the_command_that_makes_it(data: Path, tmp_path: Path) -> None:
    with pytest.raises(RunNotFoundError, match="ecg-transfer pretrain georgia --backbone"):
        et.finetune("ptb", upstream="georgia", overrides=settings(data), output=tmp_path)


def test_with_pretrain_makes_it(data: Path, tmp_path: Path) -> None:
    run = et.finetune(
        "ptb",
        upstream="cpsc2018",
        backbone=TINY,
        recipe="modern",
        overrides=settings(data, **{"optim.max_epochs": 1}),
        output=tmp_path,
        with_pretrain=True,
    )
    assert run.is_done
    assert run.manifest["upstream"]["corpus"] == "cpsc2018"


def test_an_upstream_with_other_inputs_is_refused(pair: tuple[Run, Run, Run], data: Path) -> None:
    upstream = pair[0]
    for field, value in (("data.scale", "zscore"), ("data.num_samples", 500)):
        with pytest.raises(UpstreamError, match=field):
            et.finetune(
                "ptb",
                upstream=upstream.name,
                backbone=TINY,
                recipe="modern",
                overrides=settings(data, **{field: value}),
                output=upstream.path.parents[1],
            )


def test_a_fine_tuning_from_other_weights_of_the_same_name_is_another(
    pair: tuple[Run, Run, Run], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "runs"
    shutil.copytree(pair[0].path.parents[1], output)
    common: dict[str, Any] = {"backbone": TINY, "recipe": "modern", "output": output}
    finished = et.finetune("ptb", upstream="cpsc2018", overrides=settings(data), **common)
    assert finished.path == output / pair[1].path.relative_to(pair[1].path.parents[1])
    longer = settings(data, **{"optim.max_epochs": 6})
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "write_scores", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            et.finetune("ptb", upstream="cpsc2018", overrides=longer, **common)
    (path,) = (output / "simulated").glob("pretrain-*")
    shutil.rmtree(path)
    other = et.pretrain("cpsc2018", overrides=settings(data, **{"data.split_seed": 5}), **common)
    other.path.rename(path)  # the same name, trained on other records
    sealed_as(Run(path), path.name)
    for overrides in (settings(data), longer):
        with pytest.raises(UpstreamChangedError, match=f"was fine-tuned from other weights of {path.name}"):
            et.finetune("ptb", upstream=str(path), overrides=overrides, **common)


def _interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


def sealed_as(run: Run, name: str) -> None:
    """Make a finished run one of another name."""
    write_json(run.path / "manifest.json", run.manifest | {"run": name})
    run.seal()


@pytest.mark.parametrize("way", ["lp_ft", "gradual"])
def test_early_stopping_waits_until_all_is_trained(pair: tuple[Run, Run, Run], data: Path, way: str) -> None:
    fields = settings(data, **{"transfer.way": way, "optim.early_stop_patience": 1, "optim.max_epochs": 12})
    run = et.finetune(
        "ptb", upstream="cpsc2018", backbone=TINY, recipe="modern", overrides=fields | {"optim.lr": 1e-6},
        output=pair[0].path.parents[1],
    )  # fmt: skip
    moved = [record["movement"]["distance_all"] for record in read_curve(run.path / "metrics.jsonl")]
    assert 6 < len(moved) < 12
    assert moved[:6] == [0.0] * 6
    assert moved[-1] > 0


def test_no_time_is_spent_on_a_simulated_upstream_that_would_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CORPORA, "fake", FakeCorpus)
    write_fake_corpus(tmp_path / "data" / "fake", random_labels(30))
    with pytest.raises(UpstreamError, match="cpsc2018 is not on disk and would be pre-trained on simulated ECGs and"):
        et.finetune(
            "fake", upstream="cpsc2018", backbone=TINY, overrides=settings(tmp_path / "data"), output=tmp_path / "runs",
            with_pretrain=True,
        )  # fmt: skip
    assert not (tmp_path / "runs").exists()
