from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from typer.testing import CliRunner

from ecg_transfer.cli import app
from ecg_transfer.comparison import find_pairs, plot_curves, trained_runs
from ecg_transfer.config_reading import make_config
from ecg_transfer.drawing import ARM_COLOURS
from ecg_transfer.files import write_json
from ecg_transfer.finished_runs import RunLeftOutWarning
from ecg_transfer.lone_runs import lone_runs_sentence
from ecg_transfer.runs import Run, find_runs
from ecg_transfer.tables import print_pairs
from tests.ecg_transfer.made_runs import make_finetuning, make_run, of_a_later_version


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two pre-trainings; two seeds of a fine-tuning from the first, one from the second, and of scratch."""
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "no data"))
    output = tmp_path / "runs"
    for corpus in ("cpsc2018", "georgia"):
        make_run(output, make_config("pretrain", corpus), simulated=True)
    for seed in (0, 1):
        make_run(output, make_config("scratch", "ptb", seed=seed), simulated=True)
        make_finetuning(output, make_config("finetune", "ptb", upstream="cpsc2018", seed=seed))
    make_finetuning(output, make_config("finetune", "ptb", upstream="georgia"))
    return output


def described(output: Path, downstream: list[str] | None = None) -> list[tuple[str, str, int, int]]:
    pairs = find_pairs(output, downstream)
    assert all(pair.finetune.config.phase == "finetune" and pair.scratch.config.phase == "scratch" for pair in pairs)
    return [(p.downstream, p.upstream, p.finetune.config.seed, p.scratch.config.seed) for p in pairs]


PAIRS = [("ptb", "cpsc2018", 0, 0), ("ptb", "cpsc2018", 1, 1), ("ptb", "georgia", 0, 0)]


def test_runs_that_differ_in_the_start_alone_pair(output: Path) -> None:
    assert described(output) == PAIRS
    assert described(output, ["ptb"]) == PAIRS
    assert described(output, ["ribeiro"]) == []
    assert find_pairs(str(output), "ptb") == find_pairs(output)
    assert find_pairs(output, iter(["ptb"])) == find_pairs(output)
    assert find_pairs(output, "ptbxl") == [], "a name is no part of another"
    with pytest.raises(ValueError, match=r"there is no corpus 'ptbx'.*did you mean 'ptbxl'"):
        find_pairs(output, ["ptb", "ptbx"])
    assert all(pair.simulated for pair in find_pairs(output))


@pytest.mark.parametrize("other", [{"optim.lr": 0.5}, {"data.subset": 5.0}, {"seed": 2}, {"optim.weight_decay": 0.1}])
def test_runs_that_differ_in_more_do_not(output: Path, other: dict[str, Any]) -> None:
    make_run(output, make_config("scratch", "ptb", overrides=other), simulated=True)
    assert described(output) == PAIRS


def test_runs_on_other_records_do_not(output: Path) -> None:
    config = make_config("finetune", "ptb", upstream="cpsc2018", seed=2)
    make_run(output, make_config("scratch", "ptb", seed=2), simulated=True)
    make_finetuning(output, config, data_digest="other records")
    assert described(output) == PAIRS


def test_unfinished_runs_do_not(output: Path) -> None:
    make_run(output, make_config("scratch", "ptb", seed=2), simulated=True, done=False)
    make_finetuning(output, make_config("finetune", "ptb", upstream="cpsc2018", seed=2))
    assert described(output) == PAIRS


def test_a_renamed_pretraining_is_still_none(output: Path) -> None:
    (pretraining,) = (output / "simulated").glob("pretrain-georgia-*")
    shutil.move(pretraining, pretraining.with_name("my favourite"))
    assert described(output) == PAIRS


def spoil(run: Run, how: str) -> None:
    manifest = run.path / "manifest.json"
    if how == "later":
        of_a_later_version(run)
    elif how == "edited":
        manifest.write_text(manifest.read_text().replace("cpsc2018", "cpsc2019"))
    elif how == "deleted":
        (run.path / "best.ckpt").unlink()
    elif how == "copied":
        shutil.copytree(run.path, run.path.with_name(f"{run.name}.old"))
    else:
        shutil.copytree(run.path, run.path.parents[1] / "real" / run.name)


@pytest.mark.parametrize(
    ("how", "told", "is_lost"),
    [
        ("later", "config.yaml is of another version, or was edited: Key 'newfield'", True),
        ("edited", "manifest.json was changed since the run finished", True),
        ("deleted", "was finished; best.ckpt is missing or cut", True),
        ("copied", ".old is finetune-ptb-from-cpsc2018-resnet1d18-s1-", False),
        ("misplaced", "is of simulated ECGs: its place is ", False),
    ],
)
def test_a_run_that_cannot_be_compared_is_left_out_and_named(output: Path, how: str, told: str, is_lost: bool) -> None:
    spoil(find_pairs(output)[1].finetune, how)
    with pytest.warns(RunLeftOutWarning, match=f"left out: .*{re.escape(told)}"):
        assert described(output) == ([PAIRS[0], PAIRS[2]] if is_lost else PAIRS)


def test_finished_runs_without_a_partner_are_told(output: Path) -> None:
    assert lone_runs_sentence(trained_runs(output), find_pairs(output)) is None
    other = make_run(output, make_config("scratch", "ptb", overrides={"optim.lr": 0.5}), simulated=True)
    assert lone_runs_sentence(trained_runs(output), find_pairs(output)) == (
        f"1 finished run has no partner: {other.name} (the nearest fine-tuning differs in optim.lr)"
    )
    lone = [make_run(output, make_config("scratch", "ribeiro", seed=seed), simulated=True) for seed in range(4)]
    assert lone_runs_sentence(trained_runs(output, "ribeiro"), []) == (
        f"4 finished runs have no partner: {', '.join(run.name for run in lone[:3])} (there is no finished fine-tuning "
        "on simulated ECGs of ribeiro), and 1 more"
    )


def test_the_command_tells_why_nothing_pairs(output: Path) -> None:
    make_run(output, make_config("scratch", "ribeiro"), simulated=True, data_digest="former records")
    tuned = make_finetuning(output, make_config("finetune", "ribeiro", upstream="georgia"))
    told = CliRunner().invoke(app, ["compare", "ribeiro", "--output", str(output)]).stdout
    assert "no pair of a finished fine-tuning and scratch run" in told
    assert tuned.name in told
    assert "(the nearest training from scratch differs in the records that were on disk)" in told


def test_curves_are_drawn(output: Path, tmp_path: Path) -> None:
    plot_curves(find_pairs(output), str(tmp_path / "curves.png"))
    picture = imread(tmp_path / "curves.png")[..., :3]
    for colour in (to_rgb(name) for name in ARM_COLOURS.values()):
        close = np.abs(picture - np.array(colour)).max(axis=-1) < 0.02
        left, right = close[:, : close.shape[1] // 2], close[:, close.shape[1] // 2 :]
        assert left.sum() > 50
        assert right.sum() > 50  # a panel for each upstream
    with pytest.raises(ValueError, match="no pair of runs"):
        plot_curves([], tmp_path / "none.png")
    with pytest.raises(ValueError, match=r"no test score 'auroc' in the curve of .*; it has f1_weighted, f1/AF$"):
        plot_curves(find_pairs(output), tmp_path / "none.png", metric="auroc")
    assert not (tmp_path / "none.png").exists()


def test_one_seed_is_no_result_but_two_are_not_one(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs(find_pairs(output), output)  # georgia has one seed
    assert "one seed is no result" in capsys.readouterr().out
    make_finetuning(output, make_config("finetune", "ptb", upstream="georgia", seed=1))
    print_pairs(find_pairs(output), output)
    told = capsys.readouterr().out
    assert "one seed" not in told
    assert "95 % of each arm's own best validation score, scratch / fine-tuned" in told


def test_a_run_that_learnt_nothing_has_no_epochs(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(output, make_config("scratch", "ribeiro"), simulated=True, curve=(0.0, 0.0))
    make_finetuning(output, make_config("finetune", "ribeiro", upstream="georgia"))
    print_pairs(find_pairs(output, "ribeiro"), output)
    assert "  - / 2  " in capsys.readouterr().out  # made_runs' fine-tuning is at its 0.75 in epoch 2


def test_seeds_that_draw_their_own_subsets_are_seeds(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As every study makes them."""
    for seed in (0, 1):
        own: dict[str, Any] = {"data.subset": 50, "data.subset_seed": seed}
        make_run(output, make_config("scratch", "ribeiro", seed=seed, overrides=own), simulated=True)
        make_finetuning(output, make_config("finetune", "ribeiro", upstream="georgia", seed=seed, overrides=own))
    print_pairs(find_pairs(output, "ribeiro"), output)
    told = capsys.readouterr().out
    assert "one seed" not in told
    assert "recipe" not in told


def test_models_of_one_upstream_are_told_apart_and_come_one_after_the_other(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = next((output / "simulated").glob("pretrain-cpsc2018-*")).name
    short = make_run(output, make_config("pretrain", "cpsc2018", overrides={"optim.max_epochs": 1}), simulated=True)
    for seed in (0, 1):
        make_finetuning(output, make_config("finetune", "ptb", upstream=short.name, seed=seed))
    print_pairs(find_pairs(output), output)
    rows = [line.split("resnet1d18")[0].split() for line in capsys.readouterr().out.splitlines()[1:6]]
    models = [name for name in sorted((long, short.name)) for _ in range(2)]
    assert rows == [*(["ptb", "cpsc2018", f"({name[-8:]})"] for name in models), ["ptb", "georgia"]]
    assert [pair.scratch.config.seed for pair in find_pairs(output)] == [0, 1, 0, 1, 0]


def test_one_seed_each_of_two_models_is_no_result(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, changed in ((0, {}), (1, {"optim.max_epochs": 1})):
        config = make_config("pretrain", "ptbxl", seed=seed, overrides=changed)
        upstream = make_run(output, config, simulated=True).name
        make_run(output, make_config("scratch", "ribeiro", seed=seed), simulated=True)
        make_finetuning(output, make_config("finetune", "ribeiro", upstream=upstream, seed=seed))
    print_pairs(find_pairs(output, "ribeiro"), output)
    assert "one seed is no result" in capsys.readouterr().out


def test_recipes_are_told_where_they_differ(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs(find_pairs(output), output)
    assert "recipe" not in capsys.readouterr().out
    faster = {"optim.lr": 0.5}
    make_run(output, make_config("scratch", "ptb", overrides=faster), simulated=True)
    make_finetuning(output, make_config("finetune", "ptb", upstream="cpsc2018", overrides=faster))
    print_pairs(find_pairs(output), output)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[-1] == "recipe"
    assert sorted(row.partition("SIMULATED")[2].strip() for row in rows[:4]) == ["paper"] * 3 + ["paper, lr=0.5"]


def test_what_makes_scores_too_good_is_told(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_pairs(find_pairs(output), output)
    assert "too good" not in capsys.readouterr().out
    run = find_pairs(output)[0].scratch
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["data"]["corpus"] = "ptb"
    write_json(run.path / "manifest.json", manifest | {"checks": {"copy": 5, "patient_across_parts": 3}})
    run.seal()
    print_pairs(find_pairs(output), output)
    told = " ".join(capsys.readouterr().out.split())
    assert "Test scores on ptb may be too good: 3 x one patient in two parts of the split (in 1 of" in told


def test_what_differs_in_more_than_seeds_has_its_own_panel(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half: dict[str, Any] = {"data.subset": 0.5, "data.subset_seed": 7}
    make_run(output, make_config("scratch", "ptb", overrides=half), simulated=True)
    make_finetuning(output, make_config("finetune", "ptb", upstream="cpsc2018", overrides=half))
    drawn: list[Figure] = []
    monkeypatch.setattr("ecg_transfer.drawing.write_picture", lambda figure, _: drawn.append(figure))
    plot_curves(find_pairs(output), Path("nowhere.png"))
    assert sorted(axis.get_title() for axis in drawn[0].axes if axis.get_visible()) == [
        "ptb, resnet1d18, 1 seed, SIMULATED\nall records",
        "ptb, resnet1d18, 1 seed, SIMULATED\nsubset 0.5",
        "ptb, resnet1d18, 2 seeds, SIMULATED\nall records",
    ]


def test_scores_of_every_tenth_epoch_are_drawn_there(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in find_runs(output):
        lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
        told = [json.dumps(line | {"epoch": 10 * place + 9}) + "\n" for place, line in enumerate(lines)]
        (run.path / "metrics.jsonl").write_text("".join(told))
        run.seal()
    drawn: list[Figure] = []
    monkeypatch.setattr("ecg_transfer.drawing.write_picture", lambda figure, _: drawn.append(figure))
    plot_curves(find_pairs(output), Path("nowhere.png"))
    (figure,) = drawn
    for axis in figure.axes:
        finetune, scratch = axis.lines
        assert (finetune.get_xdata().tolist(), finetune.get_ydata().tolist()) == ([10, 20, 30], [0.5, 0.75, 0.75])
        assert (scratch.get_xdata().tolist(), scratch.get_ydata().tolist()) == ([10, 20], [0.25, 0.5])
