"""When a backbone's steps are recorded and replayed; what a GPU makes of it is in `test_on_gpu.py`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ecg_transfer.callbacks.cuda_graphs import CudaGraphs
from ecg_transfer.config_reading import make_config
from ecg_transfer.cuda_graphs import RecordedForward
from ecg_transfer.models import normalization
from ecg_transfer.runs import Run
from ecg_transfer.trainer import callbacks_of
from tests.ecg_transfer.tiny_backbone import NAME, TinyBackbone


class Recorder:
    """In the place of `torch.cuda.make_graphed_callables`: runs a module as it does to warm up, and counts."""

    def __init__(self) -> None:
        self.recorded: list[tuple[int, ...]] = []
        self.replayed: list[tuple[int, ...]] = []
        self.fails = False

    def __call__(self, body: nn.Module, sample: tuple[Tensor], **options: Any) -> Callable[[Tensor], Tensor]:  # noqa: ANN401
        assert not torch.is_autocast_cache_enabled()
        assert normalization._is_recorded.get()
        for _ in range(3):
            body(sample[0] + 1)
        if self.fails:
            raise RuntimeError("operation not permitted\nwhile a stream is captured")
        self.recorded.append(tuple(sample[0].shape))

        def replay(signal: Tensor) -> Tensor:
            self.replayed.append(tuple(signal.shape))
            assert not normalization._is_recorded.get()
            found: Tensor = body(signal)
            return found

        return replay


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", found)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.get_rng_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: torch.set_rng_state(state))
    return found


def recorded_backbone() -> TinyBackbone:
    torch.manual_seed(0)
    backbone = TinyBackbone()
    backbone.forward = RecordedForward(backbone)  # type: ignore[method-assign]
    return backbone


def signal(size: int) -> Tensor:
    return torch.randn(size, 12, 40, generator=torch.Generator().manual_seed(size))


def test_each_shape_is_recorded_once_and_leaves_no_trace(recorder: Recorder) -> None:
    ours, plain = recorded_backbone(), recorded_backbone()
    del plain.forward
    for size in (4, 4, 3, 4, 3):
        torch.manual_seed(size)  # of the dropout
        found = ours(signal(size))
        torch.manual_seed(size)
        assert torch.equal(found, plain(signal(size)))
    assert recorder.recorded == [(4, 12, 40), (3, 12, 40)]
    assert [shape[0] for shape in recorder.replayed] == [4, 4, 3, 4, 3]
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in ours.state_dict().items())
    assert int(ours.norm.num_batches_tracked) == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda backbone: backbone.convolution.requires_grad_(False),
        lambda backbone: backbone.norm.eval(),
        lambda backbone: backbone.eval(),
    ],
)
def test_it_is_recorded_anew_when_what_is_trained_changes(
    recorder: Recorder, change: Callable[[TinyBackbone], object]
) -> None:
    backbone = recorded_backbone()
    backbone(signal(4))
    change(backbone)
    backbone(signal(4))
    backbone(signal(4))
    assert recorder.recorded == [(4, 12, 40)] * 2
    assert len(recorder.replayed) == 3


def test_what_needs_no_gradient_is_not_recorded(recorder: Recorder) -> None:
    backbone = recorded_backbone()
    with torch.no_grad():
        backbone(signal(4))
    with torch.inference_mode():
        backbone.eval()(signal(4))
    backbone.train().requires_grad_(False)
    backbone(signal(4))
    assert recorder.recorded == []


def test_a_failure_is_said_once_and_leaves_no_trace(recorder: Recorder) -> None:
    recorder.fails = True
    ours, plain = recorded_backbone(), recorded_backbone()
    del plain.forward
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match=r"^trainer.cuda_graphs: .*operation not permitted\); the training goes on"):
        found = ours(signal(4))
    torch.manual_seed(1)
    assert torch.equal(found, plain(signal(4)))
    recorder.fails = False
    ours(signal(4))
    assert recorder.recorded == []
    assert int(ours.norm.num_batches_tracked) == 2


def test_a_copy_of_the_backbone_runs_its_own_weights(recorder: Recorder) -> None:
    backbone = recorded_backbone()
    backbone(signal(4))
    copied = copy.deepcopy(backbone)
    with torch.no_grad():
        backbone.convolution.weight.zero_()
        assert torch.equal(backbone.eval()(signal(4)), torch.zeros(4, 6) + backbone.eval()(signal(4))[:1])
        assert not torch.equal(copied.eval()(signal(4)), backbone(signal(4)))
    copied.train()(signal(4))
    assert len(recorder.recorded) == 2


@pytest.mark.parametrize(
    ("overrides", "is_recorded"),
    [
        ({}, True),
        ({"model.backbone": NAME}, False),
        ({"trainer.cuda_graphs": False}, False),
        ({"trainer.compile": True}, False),
        ({"trainer.devices": 2}, False),
    ],
)
def test_whose_steps_are_recorded(tmp_path: Path, overrides: dict[str, object], is_recorded: bool) -> None:
    config = make_config("scratch", "ptb", overrides=overrides)
    found = callbacks_of(config, Run(tmp_path), SimpleNamespace(), 1, False)  # type: ignore[arg-type]
    assert any(isinstance(callback, CudaGraphs) for callback in found) == is_recorded


def test_a_pretraining_without_labels_is_not_recorded(tmp_path: Path) -> None:
    config = make_config("pretrain", "ptb", recipe="modern", overrides={"pretext.task": "contrastive"})
    found = callbacks_of(config, Run(tmp_path), SimpleNamespace(), 1, False)  # type: ignore[arg-type]
    assert not any(isinstance(callback, CudaGraphs) for callback in found)
