from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from data_modules.corpora import CORPORA
from data_modules.corpus import CorpusNotFoundError
from ecg_transfer.config import RunConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.finished_runs import RunLeftOutWarning
from ecg_transfer.resolve import UpstreamError, find_upstream, pretrain_config, resolve
from ecg_transfer.runs import Run, RunNotFoundError, run_name
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.made_runs import make_run


@pytest.fixture(autouse=True)
def no_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No corpus is on disk but the fake one."""
    monkeypatch.setitem(CORPORA, "fake", FakeCorpus)
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))
    write_fake_corpus(tmp_path / "data" / "fake", random_labels(3))


def finetuning(corpus: str = "ptb", upstream: str = "cpsc2018", **fields: Any) -> RunConfig:  # noqa: ANN401
    return make_config("finetune", corpus, upstream=upstream, overrides=fields)


def pretraining(output: Path, *, simulated: bool = True, done: bool = True, **fields: Any) -> Run:  # noqa: ANN401
    config = make_config("pretrain", "cpsc2018", overrides=fields)
    return make_run(output, config, simulated=simulated, done=done)


@pytest.mark.parametrize("phase", ["pretrain", "scratch"])
@pytest.mark.parametrize(("corpus", "where"), [("ptb", "simulated"), ("fake", "real")])
def test_a_run_lives_with_its_kind(tmp_path: Path, phase: Any, corpus: str, where: str) -> None:  # noqa: ANN401
    config = make_config(phase, corpus)
    resolved = resolve(config, tmp_path)
    assert resolved.run.path == tmp_path / where / run_name(config, None)
    assert (resolved.upstream, resolved.simulated) == (None, where == "simulated")
    assert not resolved.run.path.exists()


def test_a_simulation_can_be_forced_and_refused(tmp_path: Path) -> None:
    assert resolve(make_config("scratch", "fake", overrides=["data.source=simulated"]), tmp_path).simulated
    assert not resolve(make_config("scratch", "ptb", overrides=["data.source=real"]), tmp_path).simulated
    with pytest.raises(ValueError, match="no corpus 'ptbx'"):
        resolve(make_config("scratch", "ptbx"), tmp_path)


def test_the_pretraining_of_the_same_recipe_and_seed_is_taken(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        pretraining(tmp_path, seed=seed)
    resolved = resolve(finetuning(seed=1), tmp_path)
    assert resolved.upstream is not None
    assert resolved.upstream.origin.config.seed == 1
    assert resolved.config.transfer.upstream == resolved.upstream.name
    assert resolved.run.name.startswith("finetune-ptb-from-cpsc2018-resnet1d18-s1-")
    assert resolved.run.name.endswith(resolved.config.digest()[:8])


def test_resolving_leaves_the_users_configuration_alone_and_is_repeatable(tmp_path: Path) -> None:
    pretraining(tmp_path)
    config = finetuning()
    first = resolve(config, tmp_path)
    assert config.transfer.upstream == "cpsc2018"
    assert resolve(first.config, tmp_path) == first


def test_the_only_fitting_pretraining_is_taken(tmp_path: Path) -> None:
    only = pretraining(tmp_path, **{"optim.max_epochs": 3, "seed": 7})
    pretraining(tmp_path, **{"model.backbone": "gru"})
    pretraining(tmp_path, **{"data.scale": "zscore"})
    pretraining(tmp_path, done=False)
    make_run(tmp_path, make_config("pretrain", "georgia"), simulated=True)
    assert resolve(finetuning(), tmp_path).upstream.origin == only


def test_a_pretraining_that_cannot_be_read_is_named_and_passed_over(tmp_path: Path) -> None:
    readable, other = (pretraining(tmp_path, **{"optim.lr": lr}) for lr in (0.2, 0.3))
    with (other.path / "config.yaml").open("a") as stream:
        stream.write("field_of_another_version: 1\n")
    other.seal()
    with pytest.warns(RunLeftOutWarning, match=rf"{other.name}.*field_of_another_version"):
        upstream = resolve(finetuning(), tmp_path).upstream
    assert upstream is not None
    assert upstream.name == readable.name


def test_of_several_the_one_with_the_same_seed_is_taken(tmp_path: Path) -> None:
    runs = [pretraining(tmp_path, **{"optim.max_epochs": 3, "seed": seed}) for seed in (0, 1, 2)]
    assert resolve(finetuning(seed=1), tmp_path).upstream.origin == runs[1]
    with pytest.raises(UpstreamError, match="several"):
        resolve(finetuning(seed=3), tmp_path)


def test_several_fitting_pretrainings_are_named(tmp_path: Path) -> None:
    runs = [pretraining(tmp_path, **{"optim.max_epochs": epochs}) for epochs in (3, 4)]
    with pytest.raises(UpstreamError, match="several pre-trainings on cpsc2018 fit") as error:
        resolve(finetuning(), tmp_path)
    assert all(run.name in str(error.value) for run in runs)
    assert resolve(finetuning(upstream=runs[1].name), tmp_path).upstream.origin == runs[1]
    assert resolve(finetuning(upstream=str(runs[0].path)), tmp_path).upstream.origin == runs[0]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"seed": 3, "model.backbone": "gru"},
        {"data.scale": "millivolt", "optim.lr": 3e-4, "optim.gradient_clip": 1.0, "optim.max_updates": 10},
        {"data.subset": 100.0, "data.unlabelled": "drop", "data.sampling_rate": 50, "data.num_samples": 500},
        {"data.source": "simulated", "trainer.precision": "bf16", "trainer.deterministic": False},
    ],
)
@pytest.mark.parametrize("recipe", ["paper", "modern"])
def test_the_command_makes_the_missing_pretraining(tmp_path: Path, fields: dict[str, Any], recipe: str) -> None:
    """Typed in, the message's command names the very run that the fine-tuning looks for first."""
    config = make_config("finetune", "ptb", recipe=recipe, upstream="cpsc2018", overrides=fields)
    output = tmp_path / "my runs"
    with pytest.raises(RunNotFoundError, match="or add --with-pretrain") as error:
        resolve(config, output)
    command = re.search(r"Make it with: (.*) \(or add", str(error.value))
    assert command is not None
    program, verb, corpus, *words = shlex.split(command[1])
    assert (program, verb, corpus) == ("ecg-transfer", "pretrain", "cpsc2018")
    options: dict[str, str] = {}
    while words and words[0].startswith("--"):
        name, value, *words = words
        options[name] = value
    assert options.pop("--output") == str(output)
    made = make_config(
        "pretrain",
        corpus,
        recipe=options.pop("--recipe", "paper"),
        backbone=options.pop("--backbone"),
        seed=int(options.pop("--seed", "0")),
        overrides=words,
    )
    assert options == {}
    assert made == pretrain_config(config)
    upstream = make_run(output, made, simulated=True)
    assert resolve(config, output).upstream.origin == upstream


def test_what_does_not_fit_is_told_in_the_search(tmp_path: Path) -> None:
    other = pretraining(tmp_path, **{"data.num_samples": 500})
    message = f"{other.name} does not fit: it was trained with data.num_samples=500, this run has data.num_samples=1000"
    with pytest.raises(RunNotFoundError, match=re.escape(message)):
        resolve(finetuning(), tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.backbone", "gru", "it is a gru, a resnet1d18 is wanted"),
        ("data.sampling_rate", 50, "data.sampling_rate=50, this run has data.sampling_rate=100"),
        ("data.num_samples", 500, "data.num_samples=500, this run has data.num_samples=1000"),
        ("data.scale", "zscore", "data.scale=zscore, this run has data.scale=minmax"),
    ],
)
def test_a_named_upstream_must_fit(tmp_path: Path, field: str, value: object, message: str) -> None:
    run = pretraining(tmp_path, **{field: value})
    with pytest.raises(UpstreamError, match=f"{run.name} does not fit: .*{message}"):
        resolve(finetuning(upstream=run.name), tmp_path)


def test_a_named_upstream_must_be_done(tmp_path: Path) -> None:
    run = pretraining(tmp_path, done=False)
    with pytest.raises(UpstreamError, match="is unfinished"):
        resolve(finetuning(upstream=run.name), tmp_path)
    with pytest.raises(RunNotFoundError, match="no run nothing"):
        resolve(finetuning(upstream="nothing"), tmp_path)
    with pytest.raises(UpstreamError, match="needs an upstream"):
        resolve(make_config("finetune", "ptb"), tmp_path)


def test_real_ecgs_do_not_start_from_simulated_ones_unless_told(tmp_path: Path) -> None:
    simulated = pretraining(tmp_path, simulated=True)
    for upstream in ("cpsc2018", simulated.name, str(simulated.path)):
        with pytest.raises(UpstreamError, match=r"simulated ECGs and fake is real; transfer\.allow_simulated=true"):
            resolve(finetuning("fake", upstream=upstream), tmp_path)
        allowed = finetuning("fake", upstream=upstream, **{"transfer.allow_simulated": True})
        resolved = resolve(allowed, tmp_path)
        assert resolved.upstream is not None
        assert resolved.upstream.simulated
        assert resolved.run.path.parent == tmp_path / "real"


def test_no_command_is_advised_whose_upstream_would_be_refused(tmp_path: Path) -> None:
    with pytest.raises(UpstreamError, match="ptbxl is not on disk and would be pre-trained on simulated") as error:
        resolve(finetuning("fake", upstream="ptbxl"), tmp_path)
    assert "`ecg-transfer data download ptbxl --rate 100` gets the real ones" in str(error.value)
    assert "ecg-transfer pretrain" not in str(error.value)
    other = pretraining(tmp_path, simulated=False, **{"data.num_samples": 500})
    with pytest.raises(UpstreamError, match=f"{other.name} does not fit: .*`ecg-transfer data download cpsc2018` gets"):
        resolve(finetuning("fake"), tmp_path)
    for field in ({"transfer.allow_simulated": True}, {"data.source": "simulated"}):
        with pytest.raises(RunNotFoundError, match="Make it with: ecg-transfer pretrain ptbxl"):
            resolve(finetuning("fake", upstream="ptbxl", **field), tmp_path)


def test_each_kind_prefers_its_own(tmp_path: Path) -> None:
    simulated, real = (pretraining(tmp_path, simulated=kind) for kind in (True, False))
    assert simulated.name == real.name
    for upstream in ("cpsc2018", real.name):
        assert resolve(finetuning("fake", upstream=upstream), tmp_path).upstream.origin == real
        assert resolve(finetuning("ptb", upstream=upstream), tmp_path).upstream.origin == simulated


def test_simulated_ecgs_may_start_from_real_ones(tmp_path: Path) -> None:
    real = pretraining(tmp_path, simulated=False)
    assert find_upstream(finetuning("ptb"), tmp_path, simulated=True).origin == real


def test_the_pretraining_of_a_finetuning_is_its_own_upstream_corpus_whole() -> None:
    config = finetuning("ribeiro", upstream="ptbxl", **{"data.label_set": "x", "data.subset": 50.0, "seed": 4})
    upstream = pretrain_config(config)
    assert (upstream.phase, upstream.data.corpus, upstream.seed) == ("pretrain", "ptbxl", 4)
    assert upstream.data.subset is upstream.data.label_set is upstream.transfer.upstream is None
    assert config.data.subset == 50


def test_a_missing_corpus_is_told_by_its_error_class() -> None:
    assert issubclass(CorpusNotFoundError, FileNotFoundError)
    assert issubclass(RunNotFoundError, FileNotFoundError)
    assert issubclass(UpstreamError, ValueError)
