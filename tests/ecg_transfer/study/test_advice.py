"""Advice from runs whose truth is put in; `fake_runs` writes them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import ecg_transfer as et
from data_modules.corpus import SIMULATION_MARKER
from data_modules.own.arrays import corpus_from_arrays
from data_modules.simulation import simulate_corpus
from ecg_transfer.advice.advise import gain_text
from ecg_transfer.advice.nearest import Gain, at_size, expected_gain, measured, nearest
from ecg_transfer.cli import app
from ecg_transfer.files import write_json
from ecg_transfer.finished_runs import RunLeftOutWarning
from ecg_transfer.predictions import save_predictions
from ecg_transfer.study.definition import read_study
from ecg_transfer.study.plan import make_plan
from ecg_transfer.study.random_effects import pool
from ecg_transfer.upstream_choice.way import way_name
from tests.ecg_transfer.made_runs import of_a_later_version


@pytest.fixture(autouse=True)
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All published corpora would be simulated."""
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))


def add_pairs(
    runs: Any,  # noqa: ANN401
    corpus: str,
    gain: float,
    *,
    seeds: int = 3,
    upstream: str = "cpsc2018",
    **fields: Any,  # noqa: ANN401
) -> None:
    pretraining = next(
        (run for run in runs.written if run.config.phase == "pretrain" and run.config.data.corpus == upstream), None
    ) or runs.run("pretrain", upstream, num_train=4000, simulated=fields.get("simulated", True))
    for seed in range(seeds):
        runs.pair(gain=gain, upstream=pretraining, corpus=corpus, seed=seed, **{"simulated": True, **fields})


def advice(runs: Any, corpus: str = "ptb", **options: Any) -> str:  # noqa: ANN401
    return et.advise(corpus, output=runs.output, **options).text()


def test_without_runs_it_writes_the_study_that_would_tell(fake_runs: Any) -> None:  # noqa: ANN401
    found = et.advise("ptb", output=fake_runs.output)
    assert "Nothing yet" in found.text()
    path = fake_runs.output / "advice" / "ptb.yaml"
    assert f"ecg-transfer study run {path} --output {fake_runs.output}" in found.text()
    plan = make_plan(read_study(path), fake_runs.output)
    assert [len(plan.by_phase(phase)) for phase in ("pretrain", "finetune", "scratch")] == [1, 3, 3]
    assert "7 runs, a pre-training among them, to do" in found.text()


def test_it_pretrains_on_the_corpus_of_which_most_records_are_there(fake_runs: Any, tmp_path: Path) -> None:  # noqa: ANN401
    """Not on the one of which most are published; and one's own corpus is one of them."""
    root = tmp_path / "data"
    for name, num_records in (("ptb", 60), ("georgia", 40), ("cpsc2018", 80)):
        simulate_corpus(name, root / name, num_records=num_records, progress=False)
        (root / name / SIMULATION_MARKER).unlink()  # passes for a real copy
    assert et.advise("ptb", output=fake_runs.output).values["proposal"]["upstream"] == "cpsc2018"
    for name, simulated in (("ours", False), ("made", True)):
        signals = np.random.default_rng(0).normal(size=(100, 12, 1000))
        labels = {"AF": np.arange(100) % 2}
        corpus_from_arrays(signals, labels, sampling_rate=100, name=name, root=root, simulated=simulated)
    assert et.advise("ptb", output=fake_runs.output).values["proposal"]["upstream"] == "ours"


@pytest.mark.parametrize("upstream", ["theirs", "cpsc2018"])
def test_no_study_is_offered_whose_upstream_is_not_on_this_disk(
    fake_runs: Any,  # noqa: ANN401
    tmp_path: Path,
    upstream: str,
) -> None:
    """A model of a colleague's corpus, or of a published one that is not here: its study would have no pair."""
    signals, labels = np.random.default_rng(0).normal(size=(60, 12, 1000)), {"AF": np.arange(60) % 2}
    for name in ("mine", "theirs"):
        corpus_from_arrays(signals, labels, sampling_rate=100, name=name, root=tmp_path / "data")
    add_pairs(fake_runs, "mine", gain=3.0, upstream=upstream, simulated=False, num_train=36)
    (tmp_path / "data" / "theirs.yaml").unlink()
    found = et.advise("mine", output=fake_runs.output)
    assert "are not on this disk. More seeds tell without them" in found.text()
    assert "`ecg-transfer finetune mine --upstream FOLDER --seed 1`" in found.values["proposal"]
    assert not (fake_runs.output / "advice").exists()


def test_a_finished_pretraining_is_used_by_that_study(fake_runs: Any) -> None:  # noqa: ANN401
    overrides = ["optim.max_epochs=4", "data.subset=500", "data.scale=zscore", "trainer.precision=bf16"]
    done = fake_runs.run("pretrain", "georgia", recipe="modern", seed=2, simulated=True, overrides=overrides)
    assert "6 runs to do" in advice(fake_runs)
    plan = make_plan(read_study(fake_runs.output / "advice" / "ptb.yaml"), fake_runs.output)
    assert {planned.name for planned in plan.by_phase("pretrain")} == {done.name}
    config = plan.by_phase("finetune")[0].config
    assert (config.data.scale, config.trainer.precision) == ("zscore", "bf16")
    assert (config.optim.max_epochs, config.data.subset) == (20, None)  # its budget is the recipe's own


def test_the_gain_on_the_corpus_itself_is_the_cells(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ptb", gain=3.0, skill=0.2, num_train=360)
    effects = measured(et.find_runs(fake_runs.output), simulated=True, metric="f1_weighted")
    found = nearest(effects, "ptb", 349)
    assert found is not None
    gain = expected_gain(found.choices[0], found, 349)
    pairs = et.find_pairs(fake_runs.output)
    by_hand = [
        p.finetune.scores["val_selected"].f1_weighted - p.scratch.scores["val_selected"].f1_weighted for p in pairs
    ]
    assert gain.estimate == pytest.approx(np.mean(by_hand))
    assert gain.low < gain.estimate < gain.high
    text = advice(fake_runs)
    assert "resnet1d18, pre-trained on cpsc2018; full fine-tuning with the paper recipe, lr 0.01" in text
    assert f"{gain.estimate:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]" in text
    assert "Fewer than 6 seeds" in text


def test_what_makes_the_scores_too_good_is_repeated(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ptb", gain=3.0, skill=0.2, num_train=360)
    assert "too good" not in advice(fake_runs)
    run = et.find_pairs(fake_runs.output)[0].scratch
    write_json(run.path / "manifest.json", run.manifest | {"checks": {"patient_across_parts": 3}})
    run.seal()
    assert "Test scores on ptb may be too good: 3 x one patient in two parts of the split (in 1 of 6 runs on it)" in (
        advice(fake_runs)
    )


@pytest.mark.parametrize(
    ("gain", "skill", "word"), [(3.0, 0.2, "Pre-training helps"), (-1.2, 1.5, "train from scratch")]
)
def test_a_verdict_takes_as_many_seeds_as_a_test_that_can_reach_5_percent(
    fake_runs: Any,  # noqa: ANN401
    gain: float,
    skill: float,
    word: str,
) -> None:
    add_pairs(fake_runs, "ptb", gain=gain, skill=skill, seeds=5)
    few = advice(fake_runs)
    assert "No verdict: it needs 6 paired seeds and has 5" in few
    assert word not in few
    fake_runs.pair(gain=gain, skill=skill, upstream=fake_runs.written[0], corpus="ptb", seed=5, simulated=True)
    assert word in advice(fake_runs)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.0, 0.1, "+0.050 [+0.000, +0.100]"),
        (-0.00004, 0.1, "+0.050 [-4e-05, +0.100]"),
        (0.0003, 0.1, "+0.050 [+0.0003, +0.100]"),
        (-0.1, -0.0006, "+0.050 [-0.100, -0.001]"),
    ],
)
def test_a_limit_never_rounds_to_zero(low: float, high: float, text: str) -> None:
    assert gain_text(Gain(estimate=0.05, low=low, high=high, meaning="")) == text


def test_the_choice_is_made_on_validation_and_the_rest_is_listed(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ptb", gain=0.2)
    add_pairs(fake_runs, "ptb", gain=1.5, upstream="georgia", overrides=["optim.lr=1e-3"])
    text = advice(fake_runs)
    assert "pre-trained on georgia" in text
    assert "resnet1d18 from cpsc2018" in text.partition("What else was tried")[2]


def test_two_models_of_one_corpus_are_two_choices(fake_runs: Any) -> None:  # noqa: ANN401
    """One gains, the other harms: each has its own pairs, and is told by its run."""
    short = fake_runs.run("pretrain", "ptbxl", overrides=["optim.max_epochs=1"], simulated=True)
    long = fake_runs.run("pretrain", "ptbxl", simulated=True)
    for seed in range(6):
        for upstream, skill in ((short, 0.3), (long, 2.0)):
            fake_runs.run("finetune", upstream=upstream, seed=seed, skill=skill, simulated=True)
        fake_runs.run("scratch", seed=seed, skill=1.0, simulated=True)
    gains: dict[str, list[float]] = {short.name: [], long.name: []}
    for pair in et.find_pairs(fake_runs.output):
        before, after = (run.scores["val_selected"].f1_weighted for run in (pair.scratch, pair.finetune))
        gains[pair.finetune.manifest["upstream"]["run"]].append(after - before)
    found = et.advise("ptb", output=fake_runs.output)
    assert found.values["num_pairs"] == 6
    assert found.values["gain"]["estimate"] == pytest.approx(np.mean(gains[long.name]))
    what, _, rest = found.text().partition("What else was tried")
    assert f"Several models of that name were tried; this one is {long.name}." in what
    assert "the only one" not in what
    assert f"{np.mean(gains[short.name]):+.3f} [" in rest
    plan = make_plan(read_study(fake_runs.output / "advice" / "ptb.yaml"), fake_runs.output)
    assert {planned.name for planned in plan.by_phase("pretrain")} == {long.name}


def test_a_choice_at_a_far_size_does_not_win_by_its_records(fake_runs: Any) -> None:  # noqa: ANN401
    upstream = fake_runs.run("pretrain", "ptbxl")
    few: dict[str, Any] = {"subset": 100, "num_train": 100, "skill": 0.6, "gain": 0.6}
    many: dict[str, Any] = {"subset": 3000, "num_train": 3000, "skill": 2.2, "recipe": "modern"}
    for seed in range(2):
        fake_runs.pair(corpus="cpsc2018", upstream=upstream, seed=seed, **few)
        fake_runs.pair(corpus="cpsc2018", upstream=upstream, seed=seed, **many)
    found = nearest(measured(fake_runs.written, simulated=False, metric="f1_weighted"), "cpsc2018", 300)
    assert found is not None
    assert found.choices[0].validation_score() < found.choices[1].validation_score()
    assert [choice.effects[0].cell.num_train for choice in found.choices] == [100, 3000]


def test_other_corpora_are_second_best_and_too_few_give_no_interval(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ribeiro", gain=1.0)
    text = advice(fake_runs)
    assert "NOT on ptb but on ribeiro" in text
    assert "(no interval)" in text
    assert "cannot be told" in text
    add_pairs(fake_runs, "ptb", gain=0.5)
    assert "Known on ptb itself" in advice(fake_runs)


def test_three_other_corpora_give_the_prediction_for_one_more(fake_runs: Any) -> None:  # noqa: ANN401
    for corpus, gain in (("ribeiro", 0.2), ("georgia", 1.0), ("ptbxl", 0.6)):
        add_pairs(fake_runs, corpus, gain=gain)
    effects = measured(et.find_runs(fake_runs.output), simulated=True, metric="f1_weighted")
    found = nearest(effects, "ptb", 349)
    assert found is not None
    gain = expected_gain(found.choices[0], found, 349)
    ordered = found.choices[0].effects
    assert len(ordered) == 3
    pooled = pool([e.effect.estimate for e in ordered], [np.var(e.difference_draws) for e in ordered])
    assert (gain.low, gain.high) == pytest.approx((pooled.predicted_low, pooled.predicted_high))
    assert gain.high - gain.low > pooled.high - pooled.low


@pytest.mark.parametrize("subset", [0, -3])
def test_a_subset_of_no_record_is_refused(fake_runs: Any, subset: int) -> None:  # noqa: ANN401
    with pytest.raises(ValueError, match=rf"subset={subset} takes none of the \d+ training records of ptb"):
        advice(fake_runs, subset=subset)


def test_real_and_simulated_runs_are_never_mixed(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ptb", gain=1.0, simulated=False)
    assert "Nothing yet" in advice(fake_runs)  # ptb would be simulated here


def test_sizes_give_the_labels_that_scratch_would_need(fake_runs: Any) -> None:  # noqa: ANN401
    for size, skill in ((50, 0.2), (100, 0.8), (300, 1.6)):
        add_pairs(fake_runs, "ptb", gain=0.4, skill=skill, subset=size, num_train=size)
    text = advice(fake_runs, subset=100)
    assert "fine-tuning on 100 equals scratch on" in text
    between = advice(fake_runs, subset=173)
    assert "interpolated between measured sizes" in between


def test_reading_between_sizes_is_linear_in_the_logarithm() -> None:
    values = np.array([[1.0, 0.0], [3.0, 1.0], [7.0, 1.0]])
    np.testing.assert_allclose(at_size(np.array([10, 100, 1000]), values, 10**1.5), [2.0, 0.5])
    np.testing.assert_allclose(at_size(np.array([10, 100, 1000]), values, 100), [3.0, 1.0])


def test_the_command_writes_a_page(fake_runs: Any, tmp_path: Path) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ptb", gain=0.5)
    page = tmp_path / "advice.html"
    arguments = ["advise", "ptb", "--no-probe", "--html", str(page), "--output", str(fake_runs.output)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "SIMULATED" in done.stdout
    assert "simulated-banner" in page.read_text()
    refused = CliRunner().invoke(app, ["advise", "ptb", "--metric", "luck", "--output", str(tmp_path)])
    assert "expected one of f1_weighted" in str(refused.exception)


def test_json_holds_numbers_and_the_study(fake_runs: Any) -> None:  # noqa: ANN401
    """Whether they are known on the corpus itself or on one other, where there is no interval."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    arguments = ["advise", "ptb", "--no-probe", "--json", "--output", str(fake_runs.output)]
    add_pairs(fake_runs, "ribeiro", gain=1.0)
    found = json.loads(CliRunner().invoke(app, arguments).stdout, parse_constant=refuse)["values"]
    assert (found["gain"]["low"], found["gain"]["high"], found["num_seeds"]) == (None, None, 3)
    assert found["gain"]["estimate"] > 0
    assert found["proposal"]["commands"][0].startswith("ecg-transfer study run")
    add_pairs(fake_runs, "ptb", gain=1.0, seeds=2)
    found = json.loads(CliRunner().invoke(app, arguments).stdout, parse_constant=refuse)["values"]
    assert found["gain"]["low"] < found["gain"]["estimate"] < found["gain"]["high"]
    assert (found["num_seeds"], found["proposal"]["num_pairs"]) == (2, 18)  # three sizes of six seeds


def on_other_records(run: et.Run) -> None:
    """As if the corpus had grown since: another record in the test set."""
    predictions = run.predictions
    predictions["val_selected/test"].record_ids[0] = "another"
    save_predictions(run.path / "predictions.npz", predictions, dict.fromkeys(predictions, 0))
    run.seal()


def test_another_corpus_whose_records_changed_is_no_hindrance(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "ptb", gain=1.0)
    before = advice(fake_runs)
    add_pairs(fake_runs, "ribeiro", gain=1.0)
    for run in fake_runs.written[-2:]:
        on_other_records(run)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RunLeftOutWarning)  # it is not even looked at
        assert advice(fake_runs) == before


def test_what_cannot_be_compared_is_left_out_and_named(fake_runs: Any) -> None:  # noqa: ANN401
    add_pairs(fake_runs, "georgia", gain=1.0)
    before = advice(fake_runs)
    add_pairs(fake_runs, "ribeiro", gain=1.0)
    for run in fake_runs.written[-2:]:
        on_other_records(run)
    unpaired = "left out: cpsc2018 -> ribeiro, .*records on disk changed between them: remove the folders of the older"
    with pytest.warns(RunLeftOutWarning, match=unpaired):
        assert advice(fake_runs) == before
    later = fake_runs.run("scratch", "georgia", seed=9, simulated=True)
    of_a_later_version(later)
    with pytest.warns(RunLeftOutWarning, match=f"left out: .*{later.name}/config.yaml is of another version"):
        assert advice(fake_runs) == before


def test_ways_have_names() -> None:
    config = et.make_config("finetune", "ptb", overrides={"transfer.way": "lp_ft", "transfer.batch_norm": "frozen"})
    assert way_name(config) == "lp_ft, batch_norm=frozen"
