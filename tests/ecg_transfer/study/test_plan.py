from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ecg_transfer.config import TransferConfig
from ecg_transfer.resolve import resolve
from ecg_transfer.runs import run_name
from ecg_transfer.study.definition import Grid, Pretraining, Study, StudyError, read_study
from ecg_transfer.study.plan import Plan, make_plan
from tests.ecg_transfer.study.plans import EXPERIMENTS, finish, simulated

RESNETS = {"resnet1d18", "resnet1d50", "resnet1d101"}


@pytest.fixture(autouse=True)
def _no_corpus_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))


def paper(output: Path, **per_corpus: int) -> Plan:
    study = read_study(EXPERIMENTS / "paper.yaml")
    study.corpora = {corpus: {"data.num_simulated": size} for corpus, size in per_corpus.items()}
    return make_plan(study, output)


def test_the_papers_grid_has_the_papers_numbers_of_runs(tmp_path: Path) -> None:
    plan = paper(tmp_path, ptbxl=21799)
    whole = [planned for planned in plan.runs if planned.config.data.subset is None]
    assert Counter(planned.config.phase for planned in whole) == {"pretrain": 18, "finetune": 72, "scratch": 30}
    assert plan.notices == ()
    targets = Counter(planned.config.data.corpus for planned in whole if planned.config.phase == "finetune")
    assert targets == {"ptb": 18, "ribeiro": 18, "cpsc2018": 12, "georgia": 12, "ptbxl": 12}


def test_the_size_sweep_is_all_resnets_from_every_upstream(tmp_path: Path) -> None:
    sweep = [planned for planned in paper(tmp_path, ptbxl=21799).runs if planned.config.data.subset is not None]
    upstream_corpora = {planned.upstream.name.split("-")[1] for planned in sweep if planned.upstream}
    assert upstream_corpora == {"georgia", "cpsc2018"}
    assert {planned.config.model.backbone for planned in sweep} == RESNETS
    assert {planned.config.data.subset for planned in sweep} == {2000, 4000, 6000, 8000, 10000, 12000}
    assert Counter(planned.config.phase for planned in sweep) == {"finetune": 36, "scratch": 18}
    assert all(planned.sizes.train == planned.config.data.subset for planned in sweep)


@pytest.mark.parametrize("name", ["paper", "quick"])
def test_every_finetuning_starts_from_a_pretraining_planned_before_it(name: str, tmp_path: Path) -> None:
    plan = make_plan(read_study(EXPERIMENTS / f"{name}.yaml"), tmp_path)
    place = {planned.name: number for number, planned in enumerate(plan.runs)}
    assert len(place) == len(plan.runs)
    for planned in plan.by_phase("finetune"):
        assert planned.upstream is not None
        upstream = plan[planned.upstream.name]
        assert place[upstream.name] < place[planned.name]
        assert upstream.config.phase == "pretrain"
        assert upstream.config.model.backbone == planned.config.model.backbone
        assert upstream.config.data.corpus != planned.config.data.corpus
        assert upstream.config.data.subset is None


@pytest.mark.parametrize("name", ["paper", "quick"])
def test_the_arms_of_a_pair_differ_in_the_start_alone(name: str, tmp_path: Path) -> None:
    plan = make_plan(read_study(EXPERIMENTS / f"{name}.yaml"), tmp_path)
    scratch = {planned.config.digest() for planned in plan.by_phase("scratch")}
    for planned in plan.by_phase("finetune"):
        start_apart = replace(planned.config, phase="scratch", transfer=TransferConfig())
        assert start_apart.digest() in scratch


def test_a_planned_name_is_the_name_that_training_finds(tmp_path: Path) -> None:
    plan = make_plan(simulated(upstreams=["georgia"], downstreams=["ptb"], subsets=[50]), tmp_path)
    pretraining, finetuning, scratch = plan.runs
    finish(pretraining)
    for planned in (pretraining, finetuning, scratch):
        resolved = resolve(planned.launch_config(), tmp_path)
        assert resolved.run == planned.run
        assert resolved.config.digest() == planned.config.digest()
    assert plan.runs[0].run.is_done
    assert not plan.runs[1].run.is_done


def test_equal_runs_of_several_grids_are_one_run(tmp_path: Path) -> None:
    grid = Grid(upstreams=["georgia"], downstreams=["ptb"], seeds=[0, 1])
    study = Study(name="s", grids=[grid, replace(grid, seeds=[1, 2])])
    assert len(make_plan(study, tmp_path).runs) == 3 * 3


def test_axes_multiply_and_budgets_are_exact(tmp_path: Path) -> None:
    study = simulated(
        downstreams=["ptb"],
        starts=["scratch"],
        seeds=[0, 1],
        lrs=[1e-2, 1e-3],
        epochs=[5],
        updates=[70],
        recipe="modern",
    )
    plan = make_plan(study, tmp_path)
    assert len(plan.runs) == 2 * 2 * 2
    assert {planned.config.optim.lr for planned in plan.runs} == {1e-2, 1e-3}
    assert {planned.config.optim.num_epochs(7) for planned in plan.runs} == {5, 10}


def test_one_pretraining_may_serve_all_seeds_and_has_its_own_budget(tmp_path: Path) -> None:
    stated = Pretraining(seed=7, epochs=3, overrides={"optim.lr": 0.5})
    study = simulated(upstreams=["georgia"], downstreams=["ptb"], seeds=[0, 1], lrs=[0.1], updates=[9], pretrain=stated)
    (pretraining,) = make_plan(study, tmp_path).by_phase("pretrain")
    optim = pretraining.config.optim
    assert (pretraining.config.seed, optim.num_epochs(10), optim.lr) == (7, 3, 0.5)
    study.grids[0].pretrain = Pretraining()
    assert {planned.config.seed for planned in make_plan(study, tmp_path).by_phase("pretrain")} == {0, 1}


def test_a_subset_beyond_the_corpus_is_the_whole_corpus_and_said(tmp_path: Path) -> None:
    study = simulated(downstreams=["ptb"], starts=["scratch"], subsets=[50, 0.5, 5000, 9000, "all"])
    study.corpora = {"ptb": {"data": {"num_simulated": 300}}}
    plan = make_plan(study, tmp_path)
    assert [planned.config.data.subset for planned in plan.runs] == [50, 0.5, None]
    assert [planned.sizes.train for planned in plan.runs] == [50, 90, 180]
    assert plan.notices == ("ptb has 180 training records: the subsets 5000, 9000 are all of them",)


@pytest.mark.parametrize("stated", [None, 5])
def test_each_seed_draws_its_own_records_unless_one_draw_is_asked_for(tmp_path: Path, stated: int | None) -> None:
    study = simulated(downstreams=["ptb"], upstreams=["georgia"], subsets=[50, 9000, "all"], seeds=[0, 3])
    study.corpora = {"ptb": {"data": {"num_simulated": 300}}}
    study.grids[0].overrides |= {} if stated is None else {"data.subset_seed": stated}
    data = [one.config for one in make_plan(study, tmp_path).runs if one.config.phase != "pretrain"]
    assert len(data) == 2 * 2 * 2, "9000 and all are one run"
    drawn = {(config.seed, config.data.subset_seed) for config in data if config.data.subset}
    assert drawn == ({(0, 0), (3, 3)} if stated is None else {(0, stated), (3, stated)})
    assert {config.data.subset_seed for config in data if config.data.subset is None} == {stated or 0}


def test_a_share_that_leaves_no_record_is_left_out_and_said(tmp_path: Path) -> None:
    study = simulated(downstreams=["ptb"], starts=["scratch"], subsets=[0.001, 0.5])
    study.corpora = {"ptb": {"data": {"num_simulated": 300}}}
    plan = make_plan(study, tmp_path)
    assert [planned.config.data.subset for planned in plan.runs] == [0.5]
    assert plan.notices == ("ptb is left out where data.subset=0.001: not one of its 180 records",)


def test_a_corpus_that_must_be_real_and_is_not_there_is_left_out_and_said(tmp_path: Path) -> None:
    study = simulated(upstreams=["georgia"], downstreams=["ptb"])
    study.overrides = {"data.source": "real"}
    plan = make_plan(study, tmp_path)
    assert plan.runs == ()
    assert plan.notices[0].startswith("ptb is left out: no PTB")


def test_an_upstream_whose_tables_cannot_be_used_is_left_out_as_a_downstream_is(tmp_path: Path) -> None:
    """One broken table refused the whole study, trainings from scratch on another corpus among them."""
    broken = tmp_path / "data" / "ptbxl"
    (broken / "records100").mkdir(parents=True)
    (broken / "ptbxl_database.csv").write_text("ecg_id,patient_id\n1,1\n")
    (broken / "scp_statements.csv").write_text("\n")
    study = simulated(upstreams=["ptbxl", "georgia"], downstreams=["ptb", "ptbxl"])
    study.overrides = {}
    plan = make_plan(study, tmp_path)
    assert {(one.config.phase, one.config.data.corpus) for one in plan.runs} == {
        ("pretrain", "georgia"), ("finetune", "ptb"), ("scratch", "ptb")
    }  # fmt: skip
    (said,) = plan.notices
    assert said.startswith("ptbxl is left out: ")
    assert "ptbxl_database.csv" in said


def test_a_corpus_that_is_its_only_upstream_is_not_fine_tuned_and_said(tmp_path: Path) -> None:
    study = simulated(upstreams=["ptb"], downstreams=["ptb", "georgia"], starts=["finetune"])
    plan = make_plan(study, tmp_path)
    assert [planned.config.data.corpus for planned in plan.by_phase("finetune")] == ["georgia"]
    assert plan.notices == (
        "ptb is not fine-tuned: its upstreams are ptb alone, and an upstream is never its own downstream",
    )
    study.grids[0].upstreams.append("georgia")
    assert make_plan(study, tmp_path).notices == ()


def test_real_and_simulated_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    study = simulated(downstreams=["ptb"], starts=["scratch"])
    study.grids.append(replace(study.grids[0], overrides={"data.source": "auto"}))
    assert len(make_plan(study, tmp_path).runs) == 1
    patient = tmp_path / "data" / "ptb" / "patient001"
    patient.mkdir(parents=True)
    (patient / "s0010_re.hea").write_text("s0010_re 15 1000 10\n")
    with pytest.raises(StudyError, match="real in one grid and simulated in another"):
        make_plan(study, tmp_path)


def test_label_sets_are_an_axis_and_trainings_can_be_upstreams_alone(tmp_path: Path) -> None:
    study = simulated(
        downstreams=["ptbxl"], starts=["pretrain"], label_sets=["form", "superclass"], backbones=["resnet1d18", "gru"]
    )
    plan = make_plan(study, tmp_path)
    found = {(run.config.phase, run.config.data.label_set, run.config.model.backbone) for run in plan.runs}
    assert found == {("pretrain", labels, name) for labels in ("form", "superclass") for name in ("resnet1d18", "gru")}
    assert len(plan.runs) == 4
    later = Grid(
        downstreams=["ptb"], upstreams=["ptbxl"], starts=["finetune"], backbones=["gru"],
        pretrain=Pretraining(overrides={"data.label_set": "form"}),
    )  # fmt: skip
    study.grids.append(later)
    (finetune,) = make_plan(study, tmp_path).by_phase("finetune")
    assert finetune.upstream is not None
    assert finetune.upstream.name in {run.name for run in plan.runs}  # that pre-training is not planned twice


def test_upstream_recipes_stand_beside_each_other_against_the_same_scratch(tmp_path: Path) -> None:
    study = simulated(downstreams=["ptb"], upstreams=["ptbxl"], recipe="ptbxl_benchmark")
    paper = Pretraining(recipe="paper", overrides={"data.scale": "millivolt"})
    study.grids.append(replace(study.grids[0], pretrain=paper))
    plan = make_plan(study, tmp_path)
    assert Counter(planned.config.phase for planned in plan.runs) == {"pretrain": 2, "finetune": 2, "scratch": 1}
    ours, theirs = (planned.config for planned in plan.by_phase("pretrain"))
    assert (ours.crops.seconds, ours.optim.optimizer, ours.optim.max_epochs) == (2.5, "adamw", 50)
    assert (theirs.crops.seconds, theirs.optim.optimizer, theirs.optim.max_epochs) == (None, "adam", 100)


@pytest.mark.real
def test_the_benchmark_study_is_six_label_sets_of_five_networks(tmp_path: Path, real_data: Path) -> None:
    plan = make_plan(read_study(EXPERIMENTS / "ptbxl_benchmark.yaml", ["networks", "recurrent"]), tmp_path)
    assert len(plan.runs) == 30
    assert {planned.config.phase for planned in plan.runs} == {"pretrain"}
    assert len({(planned.config.data.label_set, planned.config.model.backbone) for planned in plan.runs}) == 30
    assert not any(planned.simulated for planned in plan.runs)


def test_names_do_not_depend_on_where_the_data_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = simulated(upstreams=["georgia"], downstreams=["ptb"])
    before = [planned.name for planned in make_plan(study, tmp_path).runs]
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "elsewhere"))
    study.overrides["data.root"] = str(tmp_path / "third")
    plan = make_plan(study, tmp_path / "other")
    assert [planned.name for planned in plan.runs] == before
    assert plan.runs[0].name == run_name(plan.runs[0].config, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gridz: []", "Did you mean: 'grids'"),
        ("grids: [{downstreams: [ptb], starts: [scratch], sedes: [1]}]", "Did you mean: 'seeds'"),
        ("grids: [{downstreams: [ptbx], starts: [scratch]}]", "did you mean 'ptbxl'"),
        ("grids: [{downstreams: [ptb], starts: [scratch], backbones: [resnet18]}]", "did you mean 'resnet1d18'"),
        ("grids: [{downstreams: [ptb], starts: [scratch], recipe: moderne}]", "did you mean 'modern'"),
        ("grids: [{downstreams: [ptb], starts: [scratch], seeds: [a]}]", "could not be converted to Integer"),
        ("grids: [{downstreams: [ptb], starts: [scratch], subsets: [-5]}]", "-5 is neither"),
        ("grids: [{downstreams: [ptb], starts: [linear]}]", "linear"),
        ("grids: [{downstreams: [ptb]}]", "need upstreams"),
        ("grids: [{downstreams: [ptb], starts: [scratch], seeds: []}]", "seeds is empty"),
        (
            "grids: [{downstreams: [ptbxl], starts: [scratch], label_sets: [al]}]",
            "label set of ptbxl 'al': did you mean 'all'",
        ),
        ("grids: [{downstreams: [ptb, ptbxl], starts: [scratch], label_sets: [form]}]", "label set of ptb 'form'"),
        ("grids: []", "at least one grid"),
        ("grids: [}", "study.yaml"),
        ("", "at least one grid|grids"),
    ],
)
def test_a_mistake_in_a_study_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(f"name: x\n{text}\n")
    with pytest.raises(StudyError, match=message):
        make_plan(read_study(file), tmp_path)


def test_a_mistake_in_an_override_names_its_grid(tmp_path: Path) -> None:
    study = simulated(downstreams=["ptb"], starts=["scratch"], name="mine", overrides={"optim.lrr": 1})
    with pytest.raises(StudyError, match=r"grids\[0\] \(mine\): .*Did you mean: 'lr'"):
        make_plan(study, tmp_path)


def test_a_missing_file_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no study"):
        read_study(tmp_path / "none.yaml")


@pytest.mark.real
def test_the_real_study_has_a_core_and_clips_its_ladder(tmp_path: Path, real_data: Path) -> None:
    plan = make_plan(read_study(EXPERIMENTS / "real_small.yaml"), tmp_path)
    assert not any(planned.simulated for planned in plan.runs)
    ladder = {p.sizes.train for p in plan.by_phase("scratch") if p.config.data.corpus == "ptbxl"}
    assert {50, 100, 200, 500, 1000, 2000, 5000} < ladder
    assert max(ladder) > 17000


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    import os

    folder = os.environ.get("ECG_REAL_DATA")
    if not folder:
        pytest.skip("ECG_REAL_DATA does not name the real recordings")
    monkeypatch.setenv("ECG_DATA_ROOT", folder)
    return Path(folder)
