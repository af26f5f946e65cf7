"""Models, runs and configurations from anyone: no code is imported, no path is left, no size is believed."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from ecg_transfer.classifier import ECGClassifier, WeightsMismatchError, load_classifier
from ecg_transfer.config import ConfigError
from ecg_transfer.config_reading import config_from, make_config
from ecg_transfer.curve import read_curve
from ecg_transfer.loaded_model import load_model
from ecg_transfer.resolve import resolve
from ecg_transfer.runs import Run, RunNotFoundError, run_name, save_config
from ecg_transfer.study.definition import StudyError, read_study
from ecg_transfer.upstream import Upstream
from ecg_transfer.weights import UntrustedCodeError
from tests.ecg_transfer.tiny_backbone import NAME, TinyBackbone

LABELS = ["AF", "B"]


def checkpoint(path: Path, **hyper_parameters: object) -> Path:
    classifier = ECGClassifier("gru_mean", LABELS, num_samples=40)
    torch.save(
        {"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams) | hyper_parameters}, path
    )
    return path


@pytest.fixture
def module_with_a_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """A module that leaves a file when it is imported, and that file."""
    (tmp_path / "code_of_a_stranger.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'trace')!r}).touch()\ndef net(): raise SystemExit\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "code_of_a_stranger", raising=False)
    return "code_of_a_stranger:net", tmp_path / "trace"


def test_a_checkpoint_cannot_have_code_imported(tmp_path: Path, module_with_a_trace: tuple[str, Path]) -> None:
    name, trace = module_with_a_trace
    run = tmp_path / "run"
    run.mkdir()
    path = checkpoint(run / "best.ckpt", backbone=name)
    save_config(run / "config.yaml", make_config("scratch", "ptb"))
    for trust in (False, NAME):
        with pytest.raises(UntrustedCodeError, match=r"trust=True \(--trust\)"):
            load_classifier(path, trust=trust)
    for one in (Run(run), Run(run, NAME)):
        with pytest.raises(UntrustedCodeError):
            one.model()
    assert not trace.exists()
    with pytest.raises(SystemExit):
        load_classifier(path, trust=True)
    assert trace.exists(), "the attack would work if it were trusted"


def test_an_upstream_gives_its_weights_without_its_code(tmp_path: Path, module_with_a_trace: tuple[str, Path]) -> None:
    name, trace = module_with_a_trace
    checkpoint(tmp_path / "best.ckpt", backbone=name)
    upstream = Upstream(
        name="a", corpus="ptb", backbone=name, inputs={}, simulated=True, origin=Run(tmp_path)
    )  # fmt: skip
    ours = ECGClassifier("gru_mean", ("other",), num_samples=40)
    assert ours.load_backbone(upstream.state_dict()) == sum(v.numel() for v in ours.backbone.state_dict().values())
    assert not trace.exists()


def test_ones_own_network_is_given_back_to_the_process_that_trained_it(tmp_path: Path) -> None:
    classifier = ECGClassifier(TinyBackbone(), LABELS, num_samples=40)
    torch.save({"state_dict": classifier.state_dict(), "hyper_parameters": dict(classifier.hparams)},
               tmp_path / "best.ckpt")  # fmt: skip
    save_config(tmp_path / "config.yaml", make_config("scratch", "ptb"))
    assert isinstance(Run(tmp_path, NAME).model(), ECGClassifier)
    assert isinstance(Run(tmp_path).model(trust=True), ECGClassifier)
    with pytest.raises(UntrustedCodeError):
        Run(tmp_path).model()
    config = make_config("scratch", "ptb", backbone=NAME, overrides={"data.source": "simulated"})
    assert resolve(config, tmp_path).run.backbone == NAME


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"num_samples": 10**12, "backbone": "gru"}, WeightsMismatchError),
        ({"num_samples": True}, WeightsMismatchError),
        ({"num_leads": 10**9}, WeightsMismatchError),
        ({"num_leads": -1}, WeightsMismatchError),
        ({"num_leads": "12"}, WeightsMismatchError),
        ({"label_names": ["a"] * 20_000}, WeightsMismatchError),
        ({"label_names": "AF"}, ValueError),
        ({"label_names": [1, 2]}, ValueError),
        ({"backbone": 3}, ValueError),
        ({"backbone": "resnet1d101"}, WeightsMismatchError),
        ({"backbone": "no_such"}, UntrustedCodeError),
        ({"optim": {"lr": 1, "no_such": 2}}, ValueError),
        ({"optim": []}, ValueError),
    ],
)
def test_hyper_parameters_that_cannot_be(tmp_path: Path, fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"a\.ckpt"):
        load_classifier(checkpoint(tmp_path / "a.ckpt", **fields))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (print, ("unpickled",))


OTHER_CONTENTS: list[object] = [Bomb(), {"state_dict": Bomb(), "hyper_parameters": {}}, [1], {}, {"state_dict": {}}]
OTHER_CONTENTS += [{"state_dict": {"a": 1}, "hyper_parameters": {}}]


@pytest.mark.parametrize("content", OTHER_CONTENTS)
def test_other_contents_are_refused(tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"a\.ckpt is no checkpoint"):
        load_classifier(tmp_path / "a.ckpt")
    (tmp_path / "b.ckpt").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"b\.ckpt is no checkpoint"):
        load_classifier(tmp_path / "b.ckpt")
    assert "unpickled" not in capsys.readouterr().out


def test_a_packed_or_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path / "a.ckpt")
    load_classifier(whole)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(tmp_path / "b.ckpt", "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    torch.load(tmp_path / "b.ckpt", weights_only=True)  # PyTorch unpacks whatever it is given
    content = bytearray(whole.read_bytes())
    content[len(content) // 2] ^= 64
    (tmp_path / "c.ckpt").write_bytes(content)
    torch.load(tmp_path / "c.ckpt", weights_only=True)  # and does not notice a flipped bit
    for name in ("b.ckpt", "c.ckpt"):
        with pytest.raises(ValueError, match="it is torn"):
            load_classifier(tmp_path / name)


def with_entry(path: Path, member: str, changes: dict[int, bytes]) -> Path:
    """A zip with other bytes in a member's entry of the directory at its end, by place (APPNOTE 6.3.10, 4.3.12)."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        name = next(name for name in archive.namelist() if name.endswith(member)).encode()
    entry = content.rindex(name) - 46
    assert content[entry : entry + 4] == b"PK\1\2"
    for place, value in changes.items():
        content[entry + place : entry + place + len(value)] = value
    path.write_bytes(content)
    return path


def test_weights_are_those_that_were_checked(tmp_path: Path) -> None:
    wanted = load_classifier(checkpoint(tmp_path / "a.ckpt")).state_dict()
    is_a_directory, has_no_bytes = {38: b"\x10"}, {16: bytes(8)}  # attributes; checksum and packed size
    marked = with_entry(tmp_path / "a.ckpt", "/data/0", is_a_directory)
    found = load_classifier(marked).state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    with zipfile.ZipFile(with_entry(checkpoint(tmp_path / "b.ckpt"), "/data/0", has_no_bytes)) as archive:
        assert archive.testzip() is None, "for Python it is whole"
    with pytest.raises(ValueError, match="it is torn"):
        load_classifier(tmp_path / "b.ckpt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    content = torch.load(checkpoint(tmp_path / "a.ckpt"), weights_only=True)
    content["state_dict"]["head.weight"][0, 0] = value
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(WeightsMismatchError, match="NaN or infinite"):
        load_classifier(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("https://example.org/model", "download the folder first"),
        ("hf://someone/model", "download the folder first"),
        ("s3://bucket/model", "download the folder first"),
        ("model.pkl", "pickle runs its author's code"),
        ("model.PT", "pickle runs its author's code"),
        (Path("x/pytorch_model.bin"), "pickle runs its author's code"),
        ("https:/example.org/model", "download the folder first"),
    ],
)
def test_addresses_and_pickles_are_refused_by_name(source: str | Path, match: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=match):
        load_model(source)
    overrides = {"data.source": "simulated", "data.root": str(tmp_path)}
    config = make_config("finetune", "ptb", upstream=str(source), overrides=overrides)
    with pytest.raises(ValueError, match=match):
        resolve(config, tmp_path)


@pytest.mark.parametrize("corpus", ["../../x", "a/b", "/x", "", ".", "a\0b", "a b"])
def test_a_foreign_corpus_name_cannot_lead_out_of_the_runs(corpus: str) -> None:
    config = make_config("finetune", "ptb", upstream="a")
    if corpus:
        with pytest.raises(ValueError, match="cannot be called"):
            run_name(config, corpus)
    config.data.corpus = corpus or "."
    with pytest.raises(ValueError, match="cannot be called"):
        run_name(config, None)


OUTSIDE = {"../../../etc/passwd": {"bytes": 1, "sha256": ""}}


@pytest.mark.parametrize("files", [OUTSIDE, ["best.ckpt"], "x", 3, {"best.ckpt": 3}, {"best.ckpt": {}}, {}])
def test_a_seal_vouches_for_the_runs_own_files_alone(tmp_path: Path, files: object) -> None:
    (tmp_path / "config.yaml").write_text("{}\n")
    (tmp_path / "DONE").write_text(json.dumps({"files": files}))
    assert Run(tmp_path).status == "unfinished"
    assert Run(tmp_path).verify()


def test_deep_json_is_torn_json(tmp_path: Path) -> None:
    deep = "[" * 100_000
    for name in ("DONE", "FAILED", "manifest.json", "scores.json"):
        (tmp_path / name).write_text(deep)
    (tmp_path / "config.yaml").write_text("{}\n")
    run = Run(tmp_path)
    assert (run.status, run.failure) == ("failed", None)
    with pytest.raises(RunNotFoundError, match="missing or torn"):
        _ = run.manifest
    (tmp_path / "metrics.jsonl").write_text(f'{{"epoch": 0}}\n{deep}\n{{"epoch": 1e400}}\n{{"epoch": "x"}}\n[]\n3\n')
    assert read_curve(tmp_path / "metrics.jsonl") == [{"epoch": 0}]


INTERPOLATIONS = [
    "${oc.env:HOME}",
    "${oc.decode:${oc.env:HOME}}",
    "x${oc.create:{}}",
    "${data.corpus}",
    "${a}",
    "\\${x}",
]


@pytest.mark.parametrize("text", INTERPOLATIONS)
def test_nothing_is_put_in_the_place_of_an_interpolation(tmp_path: Path, text: str) -> None:
    for tree, layers in (({"data": {"root": text}}, ()), ({}, ({"data.root": text},)), ({}, ([f"data.root={text}"],))):
        with pytest.raises(ConfigError, match="write the value itself"):
            config_from(tree, *layers)
    (tmp_path / "config.yaml").write_text(json.dumps({"data": {"root": text}}))
    with pytest.raises(ConfigError, match="write the value itself"):
        _ = Run(tmp_path).config
    grid = {"downstreams": ["ptb"], "starts": ["scratch"]}
    for study in (
        {"name": text, "grids": [grid]},
        {"name": "s", "overrides": {"data.root": text}, "grids": [grid]},
        {"name": "s", "grids": [grid | {"overrides": {"data": {"root": text}}}]},
        {"name": "s", "corpora": {"ptb": {text: 1}}, "grids": [grid]},
    ):
        (tmp_path / "s.yaml").write_text(json.dumps(study))
        with pytest.raises(ConfigError, match="write the value itself"):
            read_study(tmp_path / "s.yaml")


@pytest.mark.parametrize("text", ["a: &a [1]\nb: *a\n", "[" * 5000, "3", "- a\n", "name: s\n  x: :\n", "\xff\xfe"])
def test_yaml_that_is_no_plain_mapping(tmp_path: Path, text: str) -> None:
    for name in ("config.yaml", "s.yaml"):
        (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(RunNotFoundError, match="no configuration"):
        _ = Run(tmp_path).config
    with pytest.raises(StudyError, match=r"s\.yaml"):
        read_study(tmp_path / "s.yaml")
