from __future__ import annotations

import json
import re
import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ecg_transfer.config import ConfigError
from ecg_transfer.config_reading import make_config
from ecg_transfer.files import write_json
from ecg_transfer.runs import (
    SEALED,
    Run,
    RunChangedError,
    RunNotFoundError,
    find_runs,
    home,
    open_run,
    run_name,
    sha256,
)
from ecg_transfer.tables import print_runs
from tests.ecg_transfer.made_runs import make_run, of_a_later_version

CONFIG = make_config("pretrain", "cpsc2018", seed=2)


def test_a_run_goes_from_absent_to_done(tmp_path: Path) -> None:
    assert Run(tmp_path / "real" / run_name(CONFIG, None)).status == "absent"
    run = make_run(tmp_path, CONFIG, done=False)
    assert (run.status, run.is_done, run.failure) == ("unfinished", False, None)
    run.fail(OSError("no room"))
    assert (run.status, run.failure) == ("failed", "OSError: no room")
    run.seal()
    assert (run.status, run.is_done, run.failure) == ("done", True, None)
    assert run.verify() == []


@pytest.mark.parametrize("name", SEALED)
def test_done_means_every_file_has_its_size(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, CONFIG)
    path = run.path / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert run.status == "unfinished"
    path.unlink()
    assert run.status == ("absent" if name == "config.yaml" else "unfinished")
    assert run.verify() == [name]
    path.write_bytes(whole)
    assert run.status == "done"


@pytest.mark.parametrize("name", SEALED)
def test_verify_finds_a_changed_byte(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, CONFIG)
    content = bytearray((run.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (run.path / name).write_bytes(content)
    assert run.verify() == [name]
    assert run.status == "done"  # a look at sizes alone cannot tell
    reads = {"config.yaml": "config", "manifest.json": "manifest", "metrics.jsonl": "curve", "scores.json": "scores"}
    with pytest.raises(RunChangedError, match=f"{name} was changed since the run finished"):
        getattr(Run(run.path), reads.get(name, "predictions")) if name != "best.ckpt" else run.model()


def test_any_changed_bit_of_a_seal_is_noticed(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG)
    seal = run.path / "DONE"
    whole = seal.read_bytes()
    for place in range(len(whole)):
        seal.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert not run.is_done, f"byte {place}"
        assert run.verify() == list(SEALED)
    seal.write_bytes(whole)
    assert run.is_done


def test_a_seal_of_before_it_had_a_digest_is_believed(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG)
    content = json.loads((run.path / "DONE").read_text())
    del content["sha256"]
    write_json(run.path / "DONE", content)
    assert (run.status, run.verify()) == ("done", [])
    write_json(run.path / "DONE", {**content, "more": 1})
    assert run.status == "unfinished"


def test_a_changed_run_is_named_among_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, changed = make_run(tmp_path, CONFIG), make_run(tmp_path, make_config("pretrain", "cpsc2018", seed=3))
    scores = changed.path / "scores.json"
    scores.write_text(scores.read_text().translate(str.maketrans("0123456789", "1234567890")))
    print_runs([whole, changed], tmp_path)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "changed: scores.json" in lines[changed.name]
    assert f"{whole.scores['val_selected'].f1_weighted:.3f}" in lines[whole.name]


def test_the_list_goes_on_past_a_run_of_another_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, later = make_run(tmp_path, CONFIG), make_run(tmp_path, make_config("pretrain", "cpsc2018", seed=3))
    of_a_later_version(later)
    with pytest.raises(ConfigError, match=re.escape(f"{later.path / 'config.yaml'} is of another version")):
        _ = Run(later.path).config
    print_runs([Run(later.path), whole], tmp_path)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "of another version" in lines[later.name]
    assert f"{whole.scores['val_selected'].f1_weighted:.3f}" in lines[whole.name]


def test_the_list_takes_the_manifests_word_and_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, CONFIG, simulated=True)
    misplaced = Run(Path(shutil.copytree(run.path, tmp_path / "real" / run.name)))
    damaged = make_run(tmp_path, make_config("pretrain", "cpsc2018", seed=3))
    (damaged.path / "best.ckpt").unlink()
    print_runs([misplaced, damaged], tmp_path)
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.split()[1:3] == ["simulated", "done"]
    assert second.split()[1:4] == ["real", "damaged:", "best.ckpt"]


def test_runs_that_their_names_do_not_tell_apart_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a run where the list is piped, however much was changed of the recipe; a damaged one says nothing."""
    changed = {"data.label_set": "all", "optim.mixup": 0.2, "trainer.precision": "bf16", "transfer.way": "full"}
    configs = [
        make_config("pretrain", "ptbxl", recipe="modern"),
        make_config("pretrain", "ptbxl", recipe="ptbxl_best", seed=2, overrides={"crops.windows": "max", **changed}),
        make_config("pretrain", "cpsc2018"),
    ]
    runs = [make_run(tmp_path, config) for config in configs]
    (runs[2].path / "config.yaml").write_text("optim: {lrr: 1}")
    print_runs([Run(run.path) for run in runs], tmp_path)
    header, *lines = capsys.readouterr().out.splitlines()
    found = [line[header.index("recipe") :].strip() for line in lines]
    assert found == ["modern", "ptbxl_best, label_set=all, windows=max, precision=bf16", ""]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": {}}'])
def test_a_torn_or_empty_seal_is_none(tmp_path: Path, content: str) -> None:
    run = make_run(tmp_path, CONFIG)
    (run.path / "DONE").write_text(content)
    assert run.status == "unfinished"


def test_nothing_vouches_for_a_run_that_is_not_done(tmp_path: Path) -> None:
    assert Run(tmp_path / "nowhere").verify() == list(SEALED)


def test_a_run_without_its_files_is_not_sealed(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG, done=False)
    (run.path / "best.ckpt").unlink()
    with pytest.raises(RunNotFoundError, match=r"is not complete: it lacks best\.ckpt"):
        run.seal()
    assert run.status == "unfinished"


def test_the_seal_holds_hashes_that_sha256sum_gives(tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "nothing") is None


def test_a_run_that_moved_is_the_same_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "one", CONFIG)
    moved = Run(Path(shutil.move(run.path, tmp_path / "elsewhere")))
    assert moved.is_done
    assert moved.verify() == []
    assert moved.config == CONFIG


def test_a_manifest_is_what_the_file_says_now(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG, done=False)
    assert "finished" not in run.manifest
    write_json(run.path / "manifest.json", {**run.manifest, "finished": "now"})
    assert run.manifest["finished"] == "now"


@pytest.mark.parametrize("name", ["manifest.json", "scores.json"])
def test_what_is_missing_is_told_with_the_status(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path, CONFIG, done=False)
    (run.path / name).write_text("{")
    with pytest.raises(RunNotFoundError, match=f"{name} is missing or torn: the run is unfinished"):
        _ = run.manifest if name == "manifest.json" else run.results


@pytest.mark.parametrize("content", ["[1]", "3", "a: [", "sed: 1"])
def test_a_configuration_that_is_none_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises((RunNotFoundError, ConfigError)):
        _ = Run(tmp_path).config


def test_a_run_tells_its_results(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG, curve=(0.1, 0.8, 0.79))
    predictions = run.predictions["val_selected/test"]
    expected = f1_score(predictions.targets, predictions.logits > 0, average="weighted")
    assert run.scores["val_selected"].f1_weighted == pytest.approx(expected)
    assert set(run.scores) == {"val_selected", "last_epoch", "best_on_test"}
    assert run.curve["val/f1_weighted"].tolist() == [0.1, 0.8, 0.79]
    assert run.curve["test/f1/AF"].tolist() == [0.1, 0.8, 0.79]
    assert run.convergence["99%"] == {"score": pytest.approx(0.792), "epochs": 2, "updates": 10, "seconds": 2.0}
    assert run.name in run._repr_html_()
    with pytest.raises(FrozenInstanceError):
        run.path = tmp_path  # type: ignore[misc]


def test_names_tell_runs_apart() -> None:
    config = make_config("finetune", "ptb", seed=1, upstream="cpsc2018", overrides={"data.subset": 200})
    assert run_name(config, "cpsc2018") == f"finetune-ptb-from-cpsc2018-resnet1d18-n200-s1-{config.digest()[:8]}"
    own = make_config("scratch", "ptb", backbone="my.package:Net")
    assert run_name(own, None) == f"scratch-ptb-my.package-Net-s0-{own.digest()[:8]}"


def test_runs_are_found_by_path_name_and_listing(tmp_path: Path) -> None:
    real = make_run(tmp_path, CONFIG)
    simulated = make_run(tmp_path, CONFIG, simulated=True)
    other = make_run(tmp_path, make_config("scratch", "ptb"), done=False)
    (tmp_path / "real" / "no run").mkdir()
    assert list(find_runs(tmp_path)) == [real, other, simulated]
    assert open_run(simulated.path, tmp_path) == simulated
    assert open_run(other.name, tmp_path) == other
    assert open_run(real.name, tmp_path) == real  # of two of one name the real one
    with pytest.raises(RunNotFoundError, match=rf"no run nothing in .*{other.name}"):
        open_run("nothing", tmp_path)
    with pytest.raises(RunNotFoundError, match=rf"did you mean {other.name}\?"):
        open_run(f"{other.name[:-1]}x", tmp_path)
    with pytest.raises(RunNotFoundError, match="there are: none"):
        open_run("nothing", tmp_path / "empty")
    assert open_run(simulated, tmp_path) is simulated
    assert (list(find_runs(str(tmp_path))), open_run(other.name, str(tmp_path))) == ([real, other, simulated], other)
    with pytest.raises(RunNotFoundError, match=r"; there is a corpus ptbxl$"):
        open_run("ptbx", tmp_path)


def test_homes_are_apart(tmp_path: Path) -> None:
    assert home(tmp_path, simulated=True) != home(tmp_path, simulated=False)


def test_predictions_of_a_run_are_its_files(tmp_path: Path) -> None:
    run = make_run(tmp_path, CONFIG)
    assert run.predictions["last_epoch/val"].record_ids.tolist() == ["a", "b", "c"]
    assert np.array_equal(run.predictions["last_epoch/val"].targets, [[1, 0], [0, 1], [1, 1]])
    assert json.loads((run.path / "DONE").read_text())["run"] == run.name
