"""The training steps that are compared, each on a random batch that lies in memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.utils.deterministic
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.config import OptimConfig
from ecg_transfer.cuda_graphs import RecordedForward
from ecg_transfer.optim import configure
from ecg_transfer.trainer import fill_no_new_tensors
from experiments.benchmarks.authors_loop import authors_model
from experiments.benchmarks.paper_loop import NUM_LABELS, PaperClassifier, paper_step

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "float64": torch.float64}
PEAK_SECONDS = 0.15
"""A matrix product is repeated for at least so long."""


@dataclass(frozen=True)
class Variant:
    """Something that can be timed."""

    run: Callable[[], None]
    work: float
    """Floating-point operations of the matrix products in one call."""


def make_variant(
    name: str, backbone: str, batch_size: int, *, reference: Path | None = None, device: str = "cpu", size: int = 2048
) -> Variant:
    """Build a variant.

    Args:
        name: `float32`, `bf16` or `float64`: our step; `bf16 unrecorded`: the same on a GPU without CUDA graphs;
            `paper`: the plain float64 loop; `authors`: their model in it; `peak float32` and so on: a matrix product.
        backbone: One of the paper's six.
        batch_size: Of a step.
        reference: The authors' checkout, for `authors`.
        device: Where.
        size: Of the matrices.
    """
    if name.startswith("peak "):
        return Variant(_product(DTYPES[name.removeprefix("peak ")], size, device), 2.0 * size**3)
    generator = torch.Generator().manual_seed(0)
    signal = torch.rand(batch_size, 1000, 12, generator=generator).to(device) * 2 - 1
    label = (torch.rand(batch_size, NUM_LABELS, generator=generator) < 0.2).float().to(device)
    work = flops_a_record(backbone) * batch_size
    torch.manual_seed(0)
    if name == "paper":
        model = PaperClassifier(backbone).to(device)
        return Variant(paper_step(model, signal.transpose(1, 2).contiguous().double(), label.double()), work)
    if name == "authors":
        assert reference is not None
        theirs = authors_model(reference, backbone, NUM_LABELS)
        return Variant(paper_step(theirs, signal.double(), label.double()), work)
    return Variant(_our_step(name, backbone, signal.transpose(1, 2), label), work)


def _our_step(precision: str, backbone: str, signal: Tensor, label: Tensor) -> Callable[[], None]:
    """Our step as `fit` has it, without Lightning around it."""
    precision, _, unrecorded = precision.partition(" ")
    classifier = ECGClassifier(backbone, [str(number) for number in range(NUM_LABELS)]).to(signal.device)
    if precision == "float64":
        classifier, signal, label = classifier.double(), signal.double(), label.double()
    fill_no_new_tensors()
    classifier.train()
    classifier.on_train_epoch_start()
    if signal.is_cuda and not unrecorded:
        classifier.backbone.forward = RecordedForward(classifier.backbone)  # type: ignore[method-assign]
    optimizer = configure(classifier.parameters(), OptimConfig(), 1)["optimizer"]
    batch = {"signal": signal, "label": label, "index": torch.arange(len(label))}

    def step() -> None:
        torch.use_deterministic_algorithms(True)  # the default of a run; the paper's loop has not asked for it
        optimizer.zero_grad()
        with torch.autocast(signal.device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = classifier.training_step(batch, 0)  # type: ignore[arg-type]
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()
        torch.use_deterministic_algorithms(False)

    return step


def _product(dtype: torch.dtype, size: int, device: str) -> Callable[[], None]:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))  # a GPU is faster on zeros
    out = torch.empty(size, size, dtype=dtype, device=device)

    def product() -> None:
        torch.mm(left, right, out=out)
        if device != "cpu":
            torch.cuda.synchronize()

    return product


@cache
def flops_a_record(backbone: str) -> float:
    """Operations that a training step costs a record: those of the matrix products and convolutions, both ways."""
    num_records = 2
    model = PaperClassifier(backbone)
    step = paper_step(model, torch.zeros(num_records, 12, 1000).double(), torch.zeros(num_records, NUM_LABELS).double())
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops()) / num_records


def seconds_of(variant: Variant, at_least: float = 0.0) -> float:
    """Seconds of one call, the mean of as many as take `at_least`."""
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - started < at_least:
        variant.run()
        calls += 1
    return (time.perf_counter() - started) / calls
