"""What we are compared with is what the paper describes, and computes what our networks compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.study.probe import Speed
from experiments.benchmarks.authors_loop import CLASSES, CheckoutError, authors_model, check_reference
from experiments.benchmarks.paper_loop import NUM_LABELS, PAPER_NETWORKS, PaperClassifier, paper_step
from experiments.benchmarks.rows.gpu import hours_of_grid, runs_of_grid
from experiments.benchmarks.variants import flops_a_record

PUBLISHED_PARAMETERS = {
    "resnet1d18": 4_111_488,
    "resnet1d50": 17_008_256,
    "resnet1d101": 29_315_712,
    "lstm": 45_600,
    "bilstm": 91_200,
    "gru": 34_200,
}
"""Without the head."""


@pytest.mark.parametrize("name", PAPER_NETWORKS)
def test_the_papers_network_is_ours(name: str) -> None:
    torch.manual_seed(0)
    ours = ECGClassifier(name, [str(number) for number in range(NUM_LABELS)]).double().eval()
    for module in ours.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    plain = PaperClassifier(name).eval()
    plain.load_state_dict(ours.state_dict(), strict=True)
    assert sum(value.numel() for value in plain.backbone.parameters()) == PUBLISHED_PARAMETERS[name]
    signal = torch.randn(2, 1000, 12, dtype=torch.float64).transpose(1, 2)
    with torch.no_grad():
        expected, found = ours(signal), plain(signal.contiguous())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_the_papers_step_is_adam_at_a_hundredth_on_the_cross_entropy() -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    signal, label = torch.randn(5, 3).double(), torch.tensor([[1.0, 0.0]] * 5).double()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    logits = signal @ before["weight"].T + before["bias"]
    slope = (torch.sigmoid(logits) - label) / 10  # of the mean over 5 x 2 cross-entropies
    gradients = {"weight": slope.T @ signal, "bias": slope.sum(dim=0)}
    paper_step(model, signal, label)()
    for name, value in model.named_parameters():  # Adam's first update is lr * g / (|g| + eps)
        expected = before[name] - 0.01 * gradients[name] / (gradients[name].abs() + 1e-8)
        torch.testing.assert_close(value.detach(), expected)


def test_operations_of_an_lstm_step_by_hand() -> None:
    inputs, hidden, steps, gates = 12, 100, 1000, 400
    forward = 2 * steps * gates * (inputs + hidden) + 2 * steps * hidden * NUM_LABELS
    # backwards the same once for the weights and once for what came in, which for the first layer is nobody's business
    expected = 3 * forward - 2 * steps * gates * inputs - 2 * gates * hidden * 2
    assert flops_a_record("lstm") == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("name", "num_sweep"), [("gru", 0), ("resnet1d18", 84_000)])
def test_records_of_the_papers_grid_by_hand(name: str, num_sweep: int) -> None:
    # pre-training: PTB-XL 17,418, CPSC2018 4,603, Georgia 6,895; fine-tuning: PTB and Ribeiro from three upstreams,
    # the upstreams from the two others; scratch: each corpus once; the sweep in both arms
    expected = 28_916 + 3 * (349 + 554) + 2 * 28_916 + 28_916 + 349 + 554 + num_sweep
    assert sum(train for train, _ in runs_of_grid(name)) == expected
    # 20 runs, each corpus in 4 of them, and PTB-XL in the sweep's 12, too
    evaluated = 4 * 4_419 + 4 * 2_274 + 4 * 3_449 + 4 * (200 + 273) + (12 * 4_419 if num_sweep else 0)
    assert sum(count for _, count in runs_of_grid(name)) == evaluated


def test_hours_of_the_grid_by_hand() -> None:
    speed = Speed(train=1_000.0, evaluate=10_000.0, startup=36.0)
    train, evaluated = 119_276, 4 * (4_419 + 2_274 + 3_449 + 473)
    seconds = 36 + (20 + 100 * (train / 1_000 + evaluated / 10_000 + 20 * 0.12)) / 4
    assert hours_of_grid({"lstm": speed}) == pytest.approx(seconds / 3600)
    assert sum(len(runs_of_grid(name)) for name in PAPER_NETWORKS) == 132


def write_authors(folder: Path, source: str) -> Path:
    (folder / "pretrain").mkdir(parents=True)
    for file, _ in CLASSES.values():
        (folder / "pretrain" / file).write_text(source)
    return folder


def test_the_authors_models_come_from_the_checkout(tmp_path: Path) -> None:
    source = (
        "import torch\nclass LSTM(torch.nn.Linear):\n"
        "    def __init__(self, num_classes, device):\n        super().__init__(12, num_classes)\n"
    )
    model = authors_model(write_authors(tmp_path, source), "lstm", 9)
    assert model(torch.ones(2, 12).double()).shape == (2, 9)
    assert {value.dtype for value in model.parameters()} == {torch.float64}


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match=r"no pretrain/gru.py, .*transfer-learning-ecg-diagnosis"):
        check_reference(tmp_path)
    folder = write_authors(tmp_path, "class ResNet1d18:\n    def __init__(self, wrong):\n        pass\n")
    with pytest.raises(CheckoutError, match="defines no class LSTM"):
        authors_model(folder, "lstm", 9)
    with pytest.raises(CheckoutError, match=r"ResNet1d18 in .* cannot be built"):
        authors_model(folder, "resnet1d18", 9)
