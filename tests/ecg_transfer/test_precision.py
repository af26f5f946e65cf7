"""What a CPU does not compute in is refused before anything is trained; the tests do as if this one were another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from ecg_transfer import precision, train_from_scratch
from ecg_transfer.config import ConfigError
from ecg_transfer.precision import cpu_has_bfloat16, refusal
from ecg_transfer.study.probe import Speed, Work, speeds
from tests.ecg_transfer.tiny_backbone import NAME

FLAGS = Path("/proc/cpuinfo")


@pytest.fixture
def plain_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.skipif(not FLAGS.exists() or "avx2" not in FLAGS.read_text(), reason="no x86 CPU whose flags can be read")
def test_it_agrees_with_the_processors_flags() -> None:
    flags = set(FLAGS.read_text().split("flags", 1)[1].splitlines()[0].split())
    assert cpu_has_bfloat16() == ({"avx512vl", "avx512bw", "avx512dq"} <= flags or "avx_ne_convert" in flags)


def test_without_onednn_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert cpu_has_bfloat16()


@pytest.mark.usefixtures("plain_cpu")
def test_only_bfloat16_on_such_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "take trainer.precision=32" in str(refusal("bf16", "auto"))
    assert refusal("bf16", "auto") == refusal("bf16", "cpu")
    assert refusal(32, "cpu") is refusal(64, "auto") is refusal("bf16", "gpu") is None
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert refusal("bf16", "auto") is None
    assert refusal("bf16", "cpu") is not None
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)
    assert refusal("bf16", "cpu") is None


def test_a_run_is_refused_before_it_is_begun_and_found_when_it_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides: dict[str, Any] = {"data.root": str(tmp_path / "data"), "data.num_simulated": 60}
    overrides |= {"optim.max_epochs": 1, "trainer.precision": "bf16", "trainer.accelerator": "cpu"}
    with monkeypatch.context() as patch:
        patch.setattr(precision, "cpu_has_bfloat16", lambda: False)
        with pytest.raises(ConfigError, match="does not compute in bfloat16"):
            train_from_scratch("ptb", backbone=NAME, output=tmp_path / "runs", overrides=overrides)
    assert not list((tmp_path / "runs").rglob("manifest.json"))
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: True)  # imitated, in this tiny network
    done = train_from_scratch("ptb", backbone=NAME, output=tmp_path / "runs", overrides=overrides)
    monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: False)
    assert train_from_scratch("ptb", backbone=NAME, output=tmp_path / "runs", overrides=overrides).path == done.path


@pytest.mark.usefixtures("plain_cpu")
def test_a_plan_says_why_it_cannot_tell_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Speed(train=5, evaluate=6, startup=1)
    monkeypatch.setattr("ecg_transfer.study.probe.Processes.speed", lambda self, work: measured)
    said: list[str] = []
    half, whole = (Work(backbone="gru", precision=kind, batch_size=8) for kind in ("bf16", 32))  # type: ignore[arg-type]
    assert speeds([half, whole], 1, tmp_path, report=said.append) == {whole: measured}
    assert any("not measured: gru bf16" in sentence and "trainer.precision=32" in sentence for sentence in said)
