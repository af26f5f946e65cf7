"""One process of a probe: builds networks, and times their steps while its fellows do the same."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING

from ecg_transfer.loading import loading
from ecg_transfer.study.probe import NO_MEMORY, Work

if TYPE_CHECKING:
    from data_modules.batches import Batch

STEP_SECONDS = 1.5
"""A step that would take longer is probed with a smaller batch."""
MEASURE_SECONDS, MEASURE_SECONDS_ON_GPU = 3.0, 1.0
"""So long, at least, training and evaluation are measured each, on a CPU their steps in turns; a GPU's are shorter."""
MIN_CALLS = 3
"""Steps of each that are measured, at least."""
NUM_LABELS = 9


def main() -> None:
    """For each line of standard input, a `Work`: say `ready` after warm steps, wait for a line, print the speeds."""
    from ecg_transfer.training_settings import training_settings

    started = float(sys.argv[1])
    with loading():
        import ecg_transfer.training  # noqa: F401 - what a worker loads

    import torch

    if torch.cuda.is_available():
        torch.zeros(1, device="cuda")
    startup = time.time() - started
    with training_settings():
        for line in sys.stdin:
            _measure(Work(**json.loads(line)), startup)
            gc.collect()  # the last network, on a GPU too


def _measure(work: Work, startup: float) -> None:
    try:
        train, evaluate, batch_size, on_gpu = _steps(work)
    except Exception as error:
        from ecg_transfer.memory import means_too_little_memory

        if not means_too_little_memory(error):
            raise
        _say(NO_MEMORY)
        return
    _say("ready\n")
    sys.stdin.readline()
    if on_gpu:  # its fellows' evaluations, in float32, would hold up the training steps more than they do in a run
        seconds = _seconds_a_call({"train": train}, MEASURE_SECONDS_ON_GPU)
        seconds |= _seconds_a_call({"evaluate": evaluate}, MEASURE_SECONDS_ON_GPU)
    else:
        seconds = _seconds_a_call({"train": train, "evaluate": evaluate}, MEASURE_SECONDS)
    _say(json.dumps({name: batch_size / value for name, value in seconds.items()} | {"startup": startup}) + "\n")


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def _steps(work: Work) -> tuple[Callable[[], None], Callable[[], None], int, bool]:
    """A training step and an evaluation step, both warm; how many records they take; whether they are on a GPU."""
    import torch

    from ecg_transfer.classifier import ECGClassifier
    from ecg_transfer.compilation import compile_backbone
    from ecg_transfer.config import OptimConfig
    from ecg_transfer.cuda_graphs import RecordedForward, may_be_recorded
    from ecg_transfer.optim import configure

    device = torch.device("cuda" if torch.cuda.is_available() and work.accelerator != "cpu" else "cpu")
    dtype = torch.float64 if work.precision == 64 else torch.float32
    labels = [str(number) for number in range(NUM_LABELS)]
    classifier = ECGClassifier(work.backbone, labels, num_samples=work.num_samples).to(device, dtype)
    if work.compile:
        compile_backbone(classifier.backbone, device)
    elif device.type == "cuda" and may_be_recorded(work.backbone):
        classifier.backbone.forward = RecordedForward(classifier.backbone)  # type: ignore[method-assign]
    optimizer = configure(classifier.parameters(), OptimConfig(lr=1e-3), 1)["optimizer"]
    classifier.on_train_epoch_start()

    def batch_of(size: int) -> Batch:
        signal = torch.randn(size, work.num_samples, 12, device=device, dtype=dtype).transpose(1, 2)
        label = torch.ones(size, NUM_LABELS, device=device, dtype=dtype)
        return {"signal": signal, "label": label, "index": torch.arange(size, device=device)}

    def train(batch_size: int) -> None:
        batch = batch_of(batch_size)
        classifier.train()
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=work.precision == "bf16"):
            loss = classifier.training_step(batch, 0)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    def evaluate(batch_size: int) -> None:
        batch = batch_of(batch_size)
        classifier.eval()
        with torch.inference_mode():
            float(classifier.evaluated_output(batch["signal"]).sum())

    smallest = min(8, work.batch_size)
    train(smallest)
    started = time.perf_counter()
    train(smallest)
    seconds_a_record = (time.perf_counter() - started) / smallest
    batch_size = max(smallest, min(work.batch_size, int(STEP_SECONDS / seconds_a_record)))
    train(batch_size)
    return lambda: train(batch_size), lambda: evaluate(batch_size), batch_size, device.type == "cuda"


def _seconds_a_call(steps: Mapping[str, Callable[[], None]], at_least: float = MEASURE_SECONDS) -> dict[str, float]:
    """The median of each step's calls, in turns: a moment in which the machine does something else counts for one."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    while min(map(len, seconds.values())) < MIN_CALLS or min(map(sum, seconds.values())) < at_least:
        for name, step in steps.items():
            if len(seconds[name]) >= MIN_CALLS and sum(seconds[name]) >= at_least:
                continue
            started = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


if __name__ == "__main__":
    main()
