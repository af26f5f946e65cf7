"""What is meant for a GPU, run on the CPU: batches gathered on the device, and a compiled backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from ecg_transfer import compilation
from ecg_transfer.compilation import CompilationError, compile_backbone
from ecg_transfer.config import ConfigError, RunConfig
from ecg_transfer.config_reading import config_from
from ecg_transfer.models import create_backbone
from ecg_transfer.training import train_from_scratch
from tests.data_modules.fake_corpus import FakeCorpus, random_labels, write_fake_corpus
from tests.ecg_transfer.tiny_backbone import NAME
from tests.ecg_transfer.tiny_training import fit, tiny_classifier, tiny_data, tiny_trainer, weights_of


def trained(folder: Path, corpus: FakeCorpus) -> dict[str, torch.Tensor]:
    data = tiny_data(corpus)
    pl.seed_everything(0, verbose=False)
    classifier = tiny_classifier(data)
    fit(tiny_trainer(folder, data, 2), classifier, data)
    rows, logits, _ = classifier.evaluated["test"]
    return {**weights_of(folder / "last.ckpt"), "rows": rows, "logits": logits}


def test_a_training_from_a_resident_corpus_ends_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = write_fake_corpus(tmp_path / "data" / "fake", random_labels(60, seed=3))
    plain = trained(tmp_path / "plain", corpus)
    asked: list[int] = []

    def room(device: torch.device, num_bytes: int) -> bool:
        asked.append(num_bytes)
        return True

    monkeypatch.setattr("data_modules.datamodule.has_room", room)
    moved = trained(tmp_path / "moved", corpus)
    assert len(asked) == 1  # one copy serves training, validation and test
    assert asked[0] > 0
    assert asked[0] % (50 * 12 * 4) == 0
    assert plain.keys() == moved.keys()
    assert all(torch.equal(value, moved[name]) for name, value in plain.items())


@pytest.mark.parametrize("name", ["resnet1d18", "gru_mean"])
def test_a_compiled_backbone_keeps_its_names_and_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    torch.manual_seed(0)
    plain = create_backbone(name).double().eval()
    compiled = create_backbone(name).double().eval()
    compiled.load_state_dict(plain.state_dict(), strict=True)
    compile_backbone(compiled, torch.device("cpu"))
    assert list(compiled.state_dict()) == list(plain.state_dict())
    signal = torch.randn(2, 64, 12, dtype=torch.float64).transpose(1, 2)
    outputs = []
    for backbone in (plain, compiled):
        embedding = backbone(signal)
        embedding.square().sum().backward()
        outputs.append(embedding.detach())
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
    for found, wanted in zip(compiled.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-9, atol=1e-9)
    torch.compiler.reset()


def test_a_compiled_run_ends_like_a_plain_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    fields = {"data.root": str(tmp_path), "data.source": "simulated", "data.num_simulated": 40, "data.num_samples": 100}
    fields |= {"optim.max_epochs": 2, "optim.batch_size": 16, "trainer.accelerator": "cpu"}
    runs = [
        train_from_scratch(
            "ptb", backbone=NAME, output=tmp_path / "runs", progress=False, overrides={**fields, "trainer.compile": on}
        )
        for on in (False, True)
    ]
    torch.compiler.reset()
    assert runs[0].name != runs[1].name
    plain, compiled = (weights_of(run.path / "best.ckpt") for run in runs)
    assert list(plain) == list(compiled)
    for name, value in plain.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-5, atol=1e-6)


def failing_backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> None:
    raise OSError("no g++\npages of C++")


def test_a_compiler_that_fails_is_named_with_what_does_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compilation, "BACKEND", failing_backend)
    fields = {"data.root": str(tmp_path), "data.source": "simulated", "data.num_simulated": 40, "data.num_samples": 100}
    fields |= {"optim.max_epochs": 1, "trainer.accelerator": "cpu", "trainer.compile": True}
    with pytest.raises(CompilationError, match=r"no g\+\+.*trainer\.compile=false") as caught:
        train_from_scratch("ptb", backbone=NAME, output=tmp_path / "runs", progress=False, overrides=fields)
    torch.compiler.reset()
    assert "pages of C++" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU: CUDA graphs cannot be recorded")
def test_cuda_graphs_give_the_numbers_of_the_plain_backbone() -> None:
    torch.manual_seed(0)
    plain = create_backbone("resnet1d18").cuda().eval()
    compiled = create_backbone("resnet1d18").cuda().eval()
    compiled.load_state_dict(plain.state_dict(), strict=True)
    compile_backbone(compiled, torch.device("cuda"))
    signal = torch.randn(8, 1000, 12, device="cuda").transpose(1, 2)
    with torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(compiled(signal), plain(signal), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["16", "float16", "16-mixed"])
def test_float16_is_refused_with_what_to_take(precision: str) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.precision.*bf16 is the half precision"):
        config_from({}, {"trainer.precision": precision})


def test_runs_from_before_keep_their_names() -> None:
    tree = RunConfig().as_dict()
    del tree["trainer"]["compile"]
    assert config_from(tree).digest() == RunConfig().digest()
