"""Axes of a grid that multiply the upstreams and what starts from them: ways and pretexts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ecg_transfer.config import TransferConfig
from ecg_transfer.pretext.config import PretextConfig
from ecg_transfer.resolve import resolve
from ecg_transfer.runs import RunNotFoundError
from ecg_transfer.study.definition import StudyError, read_study
from ecg_transfer.study.plan import make_plan
from tests.ecg_transfer.study.plans import EXPERIMENTS, finish, simulated


@pytest.fixture(autouse=True)
def _no_corpus_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))


def test_ways_multiply_the_fine_tunings_alone(tmp_path: Path) -> None:
    ways = ["full", "lp_ft", {"frozen": {"transfer.batch_norm": "frozen", "optim.schedule": "cosine"}}]
    study = simulated(upstreams=["georgia"], downstreams=["ptb"], seeds=[0, 1], lrs=[0.1, 0.2], ways=ways)
    plan = make_plan(study, tmp_path)
    assert Counter(planned.config.phase for planned in plan.runs) == {"pretrain": 2, "finetune": 12, "scratch": 4}
    found = Counter((run.config.transfer.way, run.config.transfer.batch_norm) for run in plan.by_phase("finetune"))
    assert found == {("full", "train"): 4, ("lp_ft", "train"): 4, ("full", "frozen"): 4}
    assert {run.config.transfer.way for run in plan.runs if run.config.phase != "finetune"} == {"full"}
    tried = Counter((run.config.phase, run.config.transfer.way, run.config.optim.lr) for run in plan.runs)
    assert {tried["scratch", "full", lr] for lr in (0.1, 0.2)} == {2}, "as often as each way"


def test_a_grid_without_ways_plans_what_it_always_did(tmp_path: Path) -> None:
    bare = make_plan(simulated(upstreams=["georgia"], downstreams=["ptb"]), tmp_path)
    written = make_plan(simulated(upstreams=["georgia"], downstreams=["ptb"], ways=["full"]), tmp_path)
    assert [planned.name for planned in bare.runs] == [planned.name for planned in written.runs]


@pytest.mark.parametrize(
    ("ways", "message"),
    [
        ("[ful]", r"grids\[0\]\.ways: 'ful' is no way: there are full, linear_probe, lp_ft"),
        ("[{low: {optim.lr: 0.1}}]", r"grids\[0\]\.ways: 'low' sets optim.lr: a way is made of .* axis lrs"),
        ("[{small: {data.subset: 5}}]", r"'small' sets data.subset"),
        ("[{a: 1}]", r"expected one name with its overrides"),
        ("[]", r"grids\[0\]\.ways is empty"),
    ],
)
def test_ways_that_are_none_are_told(ways: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(f"name: s\ngrids: [{{downstreams: [ptb], upstreams: [georgia], ways: {ways}}}]\n")
    with pytest.raises(StudyError, match=message):
        read_study(path)


def test_a_study_that_gives_scratch_a_way_is_refused(tmp_path: Path) -> None:
    study = simulated(upstreams=["georgia"], downstreams=["ptb"], overrides={"transfer.way": "lp_ft"})
    with pytest.raises(StudyError, match=r"transfer.way is an axis of a grid: give it as `ways:`"):
        make_plan(study, tmp_path)


def test_the_study_of_ways_tries_every_way_as_often_as_scratch(tmp_path: Path) -> None:
    study = read_study(EXPERIMENTS / "ways.yaml")
    study.overrides["data.source"] = "simulated"
    for grid in study.grids:
        assert len(grid.seeds) == 6
        grid.seeds = [0]
    plan = make_plan(study, tmp_path)
    assert Counter(planned.config.phase for planned in plan.runs) == {"pretrain": 1, "finetune": 54, "scratch": 6}
    tried = Counter((run.config.phase, run.config.optim.lr) for run in plan.runs if run.config.phase != "pretrain")
    assert tried == {(phase, lr): 3 * num for phase, num in (("finetune", 9), ("scratch", 1)) for lr in (0.001, 0.003)}
    assert len({run.config.optim.max_updates for run in plan.runs if run.config.phase != "pretrain"}) == 1


def test_pretexts_multiply_the_pretrainings_and_their_fine_tunings(tmp_path: Path) -> None:
    """One line of a grid: an upstream that learnt labels and one that did not, from one scratch."""
    pretexts = ["none", "contrastive", {"gentle": {"pretext.task": "contrastive", "augment.noise": 0.1}}]
    study = simulated(upstreams=["georgia"], downstreams=["ptb"], seeds=[0, 1], pretexts=pretexts)
    plan = make_plan(study, tmp_path)
    assert Counter(planned.config.phase for planned in plan.runs) == {"pretrain": 6, "finetune": 6, "scratch": 2}
    found = Counter((run.config.pretext.task, run.config.augment.noise) for run in plan.by_phase("pretrain"))
    assert found == {("none", 0.0): 2, ("contrastive", 0.0): 2, ("contrastive", 0.1): 2}
    for planned in plan.by_phase("finetune"):
        assert planned.config.is_supervised
        assert planned.upstream is not None
        assert plan[planned.upstream.name].config.seed == planned.config.seed
    starts = Counter(planned.upstream.name for planned in plan.by_phase("finetune") if planned.upstream)
    assert set(starts.values()) == {1}, "each from a pre-training of its own"
    bare = make_plan(simulated(upstreams=["georgia"], downstreams=["ptb"], seeds=[0, 1]), tmp_path)
    assert {planned.name for planned in bare.runs} < {planned.name for planned in plan.runs}


def test_a_planned_fine_tuning_without_labels_upstream_has_the_name_that_training_finds(tmp_path: Path) -> None:
    study = simulated(upstreams=["georgia"], downstreams=["ptb"], subsets=[50], pretexts=["none", "contrastive"])
    study.overrides["optim.lr"] = 0.5
    plan = make_plan(study, tmp_path)
    for planned in plan.by_phase("pretrain"):
        finish(planned)
    for planned in plan.by_phase("finetune"):
        assert resolve(planned.launch_config(), tmp_path).run == planned.run
    by_corpus = [planned for planned in plan.by_phase("finetune") if planned.upstream == plan.runs[2].run]
    assert plan.runs[2].config.pretext.task == "contrastive"
    config = replace(by_corpus[0].config, transfer=TransferConfig(upstream="georgia"))
    assert resolve(config, tmp_path).upstream.name == plan.runs[0].name, "a corpus is its labels"
    config = replace(config, pretext=PretextConfig(task="contrastive"))
    resolved = resolve(config, tmp_path)
    assert (resolved.upstream.name, resolved.run) == (plan.runs[2].name, by_corpus[0].run)
    with pytest.raises(RunNotFoundError, match=r"without labels \(masked\) .*pretext.task=masked"):
        resolve(replace(config, pretext=PretextConfig(task="masked")), tmp_path)


def test_the_study_of_upstreams_shares_pretrainings_with_the_studies_of_ways_and_of_the_best(tmp_path: Path) -> None:
    studies = [read_study(EXPERIMENTS / f"{name}.yaml") for name in ("ways", "ptbxl_best", "upstreams")]
    for study in studies:
        study.overrides["data.source"] = "simulated"
        for grid in study.grids:
            grid.seeds = grid.seeds[:1]
    ways, best, upstreams = (make_plan(study, tmp_path) for study in studies)
    (theirs,) = ways.by_phase("pretrain")
    superclasses, statements = best.by_phase("pretrain")
    assert (superclasses.config.data.label_set, statements.config.data.label_set) == (None, "all")
    ours = {
        (run.config.model.backbone, run.config.recipe, run.config.data.label_set or run.config.pretext.task): run.name
        for run in upstreams.by_phase("pretrain")
    }
    assert ours["resnet1d18", "modern", "none"] == theirs.name
    assert ours["xresnet1d18", "ptbxl_best", "none"] == superclasses.name
    assert set(ours) == {
        ("resnet1d18", "modern", "none"), ("resnet1d18", "modern", "contrastive"), ("resnet1d18", "paper", "none"),
        ("resnet1d18", "modern", "all"),
        ("xresnet1d18", "modern", "none"), ("xresnet1d18", "modern", "contrastive"),
        ("patch_transformer", "modern", "none"), ("patch_transformer", "modern", "masked"),
        ("xresnet1d18", "paper", "none"), ("xresnet1d18", "ptbxl_best", "none"), ("xresnet1d18", "ptbxl_best", "all"),
    }  # fmt: skip
    cells = {(run.upstream.name, run.config.data.subset) for run in upstreams.by_phase("finetune") if run.upstream}
    assert len(cells) == 33
    heads = Counter(run.config.transfer.head for run in upstreams.by_phase("finetune"))
    assert heads == {"new": 42, "shared": 9}


@pytest.mark.parametrize(
    ("pretexts", "message"),
    [
        ("[contrast]", r"grids\[0\]\.pretexts: 'contrast' is no pretext: there are none, contrastive, masked"),
        ("[{low: {optim.lr: 0.1}}]", r"'low' sets optim.lr: a pretext is made of .* stands under pretrain"),
        ("[masked]", r"resnet1d18 has none: take --backbone patch_transformer"),
    ],
)
def test_pretexts_that_are_none_are_told(pretexts: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    grid = f"{{downstreams: [ptb], upstreams: [georgia], pretexts: {pretexts}}}"
    path.write_text(f"name: s\ngrids: [{grid}]\n")
    with pytest.raises(StudyError, match=message):
        make_plan(read_study(path), tmp_path)
