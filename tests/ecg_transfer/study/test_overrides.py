"""Overrides of what an axis gives are refused: one of the two would be dropped without a word."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ecg_transfer.study.definition import Pretraining, StudyError, read_study
from ecg_transfer.study.overrides import axis_problems, flat
from ecg_transfer.study.plan import make_plan
from tests.ecg_transfer.study.plans import EXPERIMENTS, simulated

AXES = [
    ("seed", "seeds"), ("data.subset", "subsets"), ("data.corpus", "downstreams"), ("model.backbone", "backbones"),
    ("transfer.upstream", "upstreams"), ("transfer.way", "ways"), ("recipe", "recipe"), ("phase", "starts"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "axis"), AXES)
@pytest.mark.parametrize("layer", ["overrides", "corpora.georgia", "grids[0].overrides"])
def test_a_field_that_every_grid_gives_is_no_override(name: str, axis: str, layer: str) -> None:
    study = simulated(downstreams=["ptb"], upstreams=["georgia"])
    fields = {"overrides": study.overrides, "grids[0].overrides": study.grids[0].overrides}
    fields.get(layer, study.corpora.setdefault("georgia", {}))[name] = 5
    assert axis_problems(study) == [f"{name} is an axis of a grid: give it as `{axis}:` (in {layer})"]


def test_a_study_file_is_refused_before_its_runs_are_planned(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("name: s\noverrides: {data: {subset: 100}}\ngrids: [{downstreams: [ptb], starts: [scratch]}]\n")
    with pytest.raises(StudyError, match=r"s\.yaml: data\.subset is an axis of a grid: give it as `subsets:`"):
        read_study(file)
    study = simulated(downstreams=["ptb"], starts=["scratch"], seeds=[0, 1, 2], overrides={"seed": 5})
    with pytest.raises(StudyError, match=r"seed is an axis of a grid: give it as `seeds:` \(in grids\[0\]\.overrides"):
        make_plan(study, tmp_path)


@pytest.mark.parametrize(
    ("name", "axis", "values"),
    [("optim.lr", "lrs", [0.1]), ("data.label_set", "label_sets", ["superclass"]), ("pretext.task", "pretexts", [])],
)
def test_an_axis_that_a_grid_leaves_out_may_be_overridden(name: str, axis: str, values: list[object]) -> None:
    study = simulated(downstreams=["ptbxl"], upstreams=["georgia"], overrides={name: "x"})
    study.corpora = {"georgia": {name: "upstream's own"}}
    assert axis_problems(study) == []
    study.grids.append(replace(study.grids[0], **{axis: values or ["none"]}))
    expected = f"{name} is an axis of a grid: give it as `{axis}:` (in grids[1].overrides)"
    assert axis_problems(study) == [expected], "a corpus that is no downstream of the grid keeps its own"


@pytest.mark.parametrize(
    ("name", "where"),
    [("seed", "pretrain: {seed: ...}"), ("recipe", "pretrain: {recipe: ...}"), ("data.corpus", "upstreams:"),
     ("model.backbone", "backbones:"), ("pretext.task", "pretexts:")],
)  # fmt: skip
def test_a_pretraining_has_its_axes_too_but_for_the_subset(name: str, where: str) -> None:
    stated = Pretraining(overrides={name: 5, "data.subset": 100, "data.label_set": "all"})
    study = simulated(downstreams=["ptb"], upstreams=["georgia"], pretexts=["contrastive"], pretrain=stated)
    (problem,) = axis_problems(study)
    assert problem == f"{name} is no override of a pre-training: give it as `{where}` (in grids[0].pretrain.overrides)"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_committed_studies_are_read(path: Path) -> None:
    assert read_study(path).grids


def test_nested_fields_are_dotted_ones() -> None:
    assert flat({"optim": {"lr": 1, "ema": 2}, "seed": 3}) == {"optim.lr": 1, "optim.ema": 2, "seed": 3}


def test_nested_layers_are_laid_over_each_other_field_by_field(tmp_path: Path) -> None:
    dotted, nested = (
        simulated(downstreams=["ptb"], upstreams=["georgia"], overrides=grid, pretrain=Pretraining(overrides=pretrain))
        for grid, pretrain in (
            ({"optim.weight_decay": 0.5}, {"optim.lr": 0.1}),
            ({"optim": {"weight_decay": 0.5}}, {"optim": {"lr": 0.1}}),
        )
    )
    dotted.overrides |= {"optim.batch_size": 32, "optim.lr": 0.2}
    nested.overrides |= {"optim": {"batch_size": 32, "lr": 0.2}}
    plans = [make_plan(study, tmp_path) for study in (dotted, nested)]
    optim = {planned.config.phase: planned.config.optim for planned in plans[1].runs}
    assert {phase: (one.batch_size, one.weight_decay, one.lr) for phase, one in optim.items()} == {
        "pretrain": (32, 0.5, 0.1), "finetune": (32, 0.5, 0.2), "scratch": (32, 0.5, 0.2)
    }  # fmt: skip
    assert [one.name for one in plans[0].runs] == [one.name for one in plans[1].runs]


def test_a_grid_s_nested_data_root_keeps_the_study_s(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"name: s\noverrides: {{data: {{root: {tmp_path}}}}}\n"
        "grids: [{downstreams: [ptb], starts: [scratch], overrides: {data: {num_samples: 500}}}]\n"
    )
    (planned,) = make_plan(read_study(file), tmp_path).runs
    assert (planned.config.data.root, planned.config.data.num_samples) == (str(tmp_path), 500)
