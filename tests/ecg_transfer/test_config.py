from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest

from data_modules.config import DataConfig
from ecg_transfer.config import PLACES, ConfigError, OptimConfig, RunConfig
from ecg_transfer.config_reading import config_from, departures, make_config
from ecg_transfer.recipes import RECIPES
from ecg_transfer.runs import Run, save_config


def dotted_fields() -> Iterator[tuple[str, Any, Any]]:
    """Every field by its dotted name, with its type and its default."""
    config = RunConfig()
    for name, declared in typing.get_type_hints(RunConfig).items():
        section = getattr(config, name)
        if dataclasses.is_dataclass(section):
            for inner, inner_type in typing.get_type_hints(type(section)).items():
                yield f"{name}.{inner}", inner_type, getattr(section, inner)
        else:
            yield name, declared, section


FIELDS = {name: (declared, default) for name, declared, default in dotted_fields()}


def another_value(declared: Any, default: Any) -> Any:  # noqa: ANN401 - of any field's type
    """A value of the same type that is not the default."""
    if get_origin(declared) in (types.UnionType, typing.Union):
        (declared,) = (choice for choice in get_args(declared) if choice is not type(None))
    if get_origin(declared) is Literal:
        return next(value for value in get_args(declared) if value != default)
    if declared is bool:
        return not default
    if declared is str:
        return f"{default}x"
    return 0.5 * (default or 1) if declared is float else declared((default or 0) + 1)


def test_no_field_escapes_these_tests() -> None:
    assert {"seed", "data.corpus", "optim.lr", "trainer.precision", "transfer.upstream"} <= set(FIELDS)
    assert len(FIELDS) == sum(len(value) if isinstance(value, dict) else 1 for value in RunConfig().as_dict().values())


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_the_digest_depends_on_every_field_that_can_change_a_result(name: str) -> None:
    changed = config_from({}, {name: another_value(*FIELDS[name])})
    section, _, field = name.rpartition(".")
    assert changed != RunConfig()
    assert (changed.digest() == RunConfig().digest()) == ((section, field) in PLACES)


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_survives_yaml(name: str, tmp_path: Path) -> None:
    config = config_from({}, {name: another_value(*FIELDS[name])})
    save_config(tmp_path / "config.yaml", config)
    assert Run(tmp_path).config == config
    assert Run(tmp_path).config.digest() == config.digest()


def test_places_are_fields() -> None:
    assert {f"{section}.{field}" for section, field in PLACES} == {
        "data.root",
        "data.source",
        "trainer.checkpoint_seconds",
        "trainer.cuda_graphs",
        "trainer.accelerator",
        "transfer.allow_simulated",
    }
    assert {f"{section}.{field}" for section, field in PLACES} <= set(FIELDS)


def test_the_digest_does_not_know_how_a_value_was_written() -> None:
    whole = RunConfig(data=DataConfig(subset=200), optim=OptimConfig(lr=1, weight_decay=2))
    text = ["data.subset=200", "optim.lr=1.0", "optim.weight_decay=2"]
    assert whole.digest() == config_from({}, text).digest()
    assert whole.digest() == config_from({}, {"data.subset": 200.0, "optim.lr": 1, "optim.weight_decay": 2}).digest()
    assert config_from({}, ["optim.lr=1e-3"]).digest() == config_from({}, ["optim.lr=0.001"]).digest()


def test_a_default_that_is_written_out_changes_nothing() -> None:
    written = [f"{name}={'null' if default is None else default}" for name, (_, default) in FIELDS.items()]
    assert config_from({}, written) == RunConfig()
    assert config_from(RunConfig().as_dict()).digest() == RunConfig().digest()


def test_digests_of_published_runs_stay() -> None:
    """A change here renames every run that anybody has: raise it only on purpose."""
    assert RunConfig().digest()[:8] == "44136fa3"  # of "{}": nothing differs from the defaults
    config = make_config("finetune", "ptb", seed=3, upstream="run", overrides=["data.subset=200", "optim.lr=1e-3"])
    assert config.digest()[:8] == "473b344f"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["optim.lrr=1"], r"'lrr' .*Did you mean: 'lr'\? \(in optim\.lrr\)"),
        ({"optim.lrr": 1}, r"'lrr' .*Did you mean: 'lr'"),
        (["optm.lr=1"], r"'optm' .*Did you mean: 'optim'"),
        ({"sed": 1}, r"'sed' .*Did you mean: 'seed'"),
        (["optim.optimizer=sgd"], r"'sgd', expected one of \['adam', 'adamw'\] \(in optim\.optimizer\)"),
        (["trainer.precision=16"], r"expected one of \[32, 'bf16', 64\]"),
        (["optim.max_epochs=2.5"], r"'2\.5' .*Integer \(in optim\.max_epochs\)"),
        (["optim.lr=fast"], r"'fast' .*Float \(in optim\.lr\)"),
        (["optim.lr=1e3000"], r"optim\.lr=inf: expected a finite number"),
        (["optim.lr=0"], r"optim\.lr=0: expected a number above 0"),
        (["optim.max_epochs=0"], r"optim\.max_epochs=0: expected a number above 0"),
        (["optim.max_updates=-5"], r"optim\.max_updates=-5: expected a number above 0"),
        (["optim.evaluate_every=0"], r"optim\.evaluate_every=0: expected a number above 0"),
        (["optim.early_stop_patience=0"], r"optim\.early_stop_patience=0: expected a number above 0"),
        (["optim.gradient_clip=-1"], r"optim\.gradient_clip=-1: expected a number above 0"),
        (["optim.warmup=2"], r"optim\.warmup=2: expected a share from 0 to below 1"),
        (["data.num_samples=0"], r"data\.num_samples=0: expected a number above 0"),
        (["data.subset=.nan"], r"data\.subset=nan: expected a finite number"),
        (["crops.seconds=.nan"], r"crops\.seconds=nan: expected a finite number"),
        (["trainer.devices=0"], r"trainer\.devices=0: expected a number above 0"),
        (["transfer.layer_decay=0"], r"transfer\.layer_decay=0: expected a number above 0, at most 1"),
        (["transfer.probe_share=1.5"], r"transfer\.probe_share=1\.5: expected a number above 0, at most 1"),
        (["transfer.l2_sp=-1"], r"transfer\.l2_sp=-1: expected 0 or more"),
        ({"seed": -1}, "seed=-1: expected 0 or more"),
        ({"optim.weight_decay": float("nan")}, r"optim\.weight_decay=nan: expected a finite number"),
        (["data.corpus=null"], r"\(in data\.corpus\)"),
        (["optim=null"], "optim"),
        (["optim.lr"], r"field=value.*found 'optim\.lr'"),
        (["optim.lr=[1"], r"the overrides optim\.lr=\[1 are no YAML"),
        (["=3"], "''"),
        ({"optim.learning_rate": 1}, r"'learning_rate' .*; did you mean optim\.lr\?"),
        (["optim.wd=1"], r"'wd' .*; did you mean optim\.weight_decay\?"),
        (["lr=1"], r"'lr' .*; did you mean optim\.lr\?"),
        (["model.sampling_rates=1"], r"; did you mean data\.sampling_rate\?"),
        (["crops.zzz=1"], r"; there are crops\.seconds, crops\.windows, crops\.stride_seconds"),
        (["zzz=1"], r"; there are .*optim, .*seed"),
    ],
)
def test_what_cannot_be_read_is_told(overrides: Any, message: str) -> None:  # noqa: ANN401 - either form of overrides
    with pytest.raises(ConfigError, match=message):
        make_config("scratch", "ptb", overrides=overrides)


def test_unknown_fields_of_a_file_are_told() -> None:
    with pytest.raises(ConfigError, match="Did you mean: 'lr'"):
        config_from({"optim": {"lrr": 1}})
    with pytest.raises(ConfigError, match="there is no recipe 'papr': there are paper, modern"):
        make_config("scratch", "ptb", recipe="papr")


@pytest.mark.parametrize(("recipe", "meant"), [("moderne", "modern"), ("Paper", "paper"), ("ptbxlbest", "ptbxl_best")])
def test_a_misspelt_recipe_is_recognised(recipe: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        make_config("scratch", "ptb", recipe=recipe)


def test_scalars_of_numpy_and_paths_are_plain_values(tmp_path: Path) -> None:
    given = {"data.subset": np.int64(20), "optim.lr": np.float32(0.5), "trainer.deterministic": np.bool_(False)}
    config = make_config(
        "finetune", "ptb", seed=np.int64(3), upstream=tmp_path, overrides={**given, "data.root": tmp_path}
    )
    plain = {"data.subset": 20, "optim.lr": 0.5, "trainer.deterministic": False, "data.root": str(tmp_path)}
    assert config == make_config("finetune", "ptb", seed=3, upstream=str(tmp_path), overrides=plain)
    assert config_from({"optim": {"max_epochs": np.int32(7)}}).optim.max_epochs == 7
    run = Run(tmp_path / "run")
    assert make_config("finetune", "ptb", upstream=run).transfer.upstream == str(run.path)


def test_a_single_override_need_not_be_a_list() -> None:
    assert make_config("scratch", "ptb", overrides="optim.max_epochs=1").optim.max_epochs == 1
    with pytest.raises(ConfigError, match=r"field=value.*found 'optim\.lr'"):
        make_config("scratch", "ptb", overrides="optim.lr")
    with pytest.raises(ConfigError, match=r"the overrides optim\.lr=\[1 are no YAML"):
        make_config("scratch", "ptb", overrides="optim.lr=[1")


def test_both_forms_of_overrides_mean_the_same() -> None:
    text = make_config("scratch", "ptb", overrides=["optim.lr=1e-3", "data.subset=null", "trainer.precision=bf16"])
    values = {"optim.lr": 1e-3, "data.subset": None, "trainer.precision": "bf16"}
    assert make_config("scratch", "ptb", overrides=values) == text
    assert text.optim.lr == 0.001
    assert text.trainer.precision == "bf16"


def test_overrides_come_after_the_recipe_beside_the_arguments() -> None:
    config = make_config("pretrain", "georgia", recipe="modern", backbone="gru", seed=4, overrides=["optim.lr=0.5"])
    assert (config.phase, config.data.corpus, config.model.backbone, config.seed) == ("pretrain", "georgia", "gru", 4)
    assert (config.optim.lr, config.optim.schedule, config.optim.batch_size) == (0.5, "one_cycle", 128)
    assert make_config("scratch", "ptb", overrides={"seed": 2}).seed == 2


@pytest.mark.parametrize(
    ("override", "given"),
    [("data.corpus=georgia", "ptb"), ("seed=5", "0"), ("model.backbone=lstm", "gru"), ("transfer.upstream=a", "b")],
)
def test_an_override_may_repeat_what_is_given_but_not_contradict_it(override: str, given: str) -> None:
    """Each value is 0 or a name: only the one that differs is refused."""
    arguments: dict[str, Any] = {"backbone": "gru", "seed": np.int64(0), "upstream": Path("b")}
    with pytest.raises(ConfigError, match=f"^{override} contradicts {given}, which is given beside it"):
        make_config("finetune", "ptb", overrides=[override], **arguments)
    field = override.partition("=")[0]
    assert make_config("finetune", "ptb", overrides=[f"{field}={given}"], **arguments).seed == 0


@pytest.mark.parametrize(
    ("override", "match"), [("recipe=modern", "--recipe modern"), ("phase=scratch", "pretrain run")]
)
def test_recipe_and_phase_are_no_fields_to_set(override: str, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        make_config("pretrain", "ptb", overrides=[override])
    assert make_config("pretrain", "ptb", recipe="modern", overrides=["recipe=modern"]).recipe == "modern"


def test_the_papers_recipe_is_the_default_of_every_field() -> None:
    """Nguyen and Do 2024: Adam at 0.01, no schedule, decay or clipping, batch 256, 100 epochs, seed 0, min-max."""
    config = make_config("scratch", "cpsc2018")
    assert config == RunConfig()
    optim = config.optim
    assert (optim.optimizer, optim.lr, optim.batch_size, optim.max_epochs) == ("adam", 0.01, 256, 100)
    assert (optim.schedule, optim.weight_decay, optim.gradient_clip, config.seed) == ("constant", 0, None, 0)
    assert config.data.scale == "minmax"


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_recipes_are_valid(recipe: str) -> None:
    config = make_config("scratch", "ptb", recipe=recipe)
    for name, value in RECIPES[recipe].items():
        section, field = name.split(".")
        assert getattr(getattr(config, section), field) == value


@pytest.mark.parametrize("form", ["text", "mapping", "tree"])
def test_the_environment_does_not_leak(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_TEST_SECRET", "s3cret")
    value = "${oc.env:ECG_TEST_SECRET}"
    forms: dict[str, tuple[Any, Any]] = {
        "text": ({}, [f"data.root={value}"]),
        "mapping": ({}, {"data.root": value}),
        "tree": ({"data": {"root": value}}, []),
    }
    with pytest.raises(ConfigError, match=r"oc\.env"):
        config_from(*forms[form])
    (tmp_path / "config.yaml").write_text(f"data:\n  root: {value}\n")
    with pytest.raises(ConfigError, match=r"oc\.env") as error:
        _ = Run(tmp_path).config
    assert "s3cret" not in str(error.value)


def test_saved_configurations_are_plain_yaml(tmp_path: Path) -> None:
    import yaml

    config = make_config("finetune", "ptb", upstream="cpsc2018", overrides=["trainer.precision=64"])
    save_config(tmp_path / "config.yaml", config)
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == config.as_dict()


@pytest.mark.parametrize(
    ("fields", "updates_per_epoch", "epochs"),
    [
        ({}, 7, 100),
        ({"max_epochs": 3}, 7, 3),
        ({"max_updates": 20}, 7, 3),
        ({"max_updates": 21}, 7, 3),
        ({"max_updates": 22}, 7, 4),
        ({"max_updates": 1, "max_epochs": 50}, 7, 1),
        ({"max_epochs": 3, "min_updates": 22}, 7, 4),
        ({"max_epochs": 30, "min_updates": 22}, 7, 30),
        ({"max_updates": 400, "evaluate_every": 20}, 133, 4),
        ({"max_epochs": 3, "min_updates": 22, "evaluate_every": 3}, 7, 4),
    ],
)
def test_budgets_in_epochs_and_updates(fields: dict[str, int], updates_per_epoch: int, epochs: int) -> None:
    assert OptimConfig(**fields).num_epochs(updates_per_epoch) == epochs  # type: ignore[arg-type]


def test_one_configuration_leaves_no_trace_in_the_next() -> None:
    changed = make_config("scratch", "ptb", overrides={"optim.lr": 5.0, "data.scale": "millivolt"})
    changed.optim.max_epochs = 3
    assert make_config("scratch", "ptb") == RunConfig(phase="scratch", data=DataConfig(corpus="ptb"))


@pytest.mark.parametrize("recipe", sorted(RECIPES))
def test_a_run_departs_from_its_recipe_by_what_was_changed(recipe: str) -> None:
    """Neither by what its name tells nor by where its files lie."""
    told = {"data.subset": 50, "transfer.way": "lp_ft", "data.root": "elsewhere", "trainer.accelerator": "cpu"}
    changed = {"optim.lr": 0.5, "data.label_set": "all", "monitor": "f1_macro"}
    config = make_config("finetune", "ptbxl", recipe=recipe, backbone="gru", seed=3, overrides={**told, **changed})
    assert departures(config) == changed
