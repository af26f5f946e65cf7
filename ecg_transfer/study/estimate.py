"""How long a plan will take and how much disk it needs, from measured speeds."""

from __future__ import annotations

import errno
import heapq
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from data_modules.sources import spec_named
from ecg_transfer.pretext.requirements import view_samples
from ecg_transfer.study.failures import DiskFullError
from ecg_transfer.study.plan import Plan, PlannedRun
from ecg_transfer.study.probe import Speed, Work, speeds, worker_choices
from ecg_transfer.study.quantities import file_size
from ecg_transfer.windows import Windows

RUN_SECONDS = 1.0
"""Opening the data, building the model, the final scores and files of one run."""
EPOCH_SECONDS = 0.12
"""Metrics, logging and bookkeeping of one epoch."""
BYTES_PER_SECOND = 3e8
"""At which checkpoints are written and synced."""
STATES = 3
"""Of a run that is at work: the last one, the one before, and the one being written."""
PREDICTIONS = 6
"""Sets of logits that a run keeps: three epochs, on validation and test."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a run costs."""

    seconds: float
    kept_bytes: int
    """Of a finished run."""
    working_bytes: int
    """More while it runs: the states it resumes from."""


def work_of(planned: PlannedRun) -> Work:
    """What a run's speed depends on."""
    config = planned.config
    return Work(
        backbone=config.model.backbone,
        precision=config.trainer.precision,
        batch_size=config.optim.batch_size,
        accelerator=config.trainer.accelerator,
        compile=config.trainer.compile,
        num_samples=view_samples(config),
    )


def num_epochs(planned: PlannedRun) -> int:
    """Epochs that a run trains."""
    optim = planned.config.optim
    return optim.num_epochs(math.ceil(planned.sizes.train / optim.batch_size))


def cost(planned: PlannedRun, speed: Speed) -> Cost:
    """What a run costs on a machine of this speed, from its start to its end."""
    sizes, config = planned.sizes, planned.config
    kept_bytes, state_bytes = bytes_of(planned)
    evaluated = sizes.val + sizes.test
    windows = Windows.of(config.crops, config.data)
    inputs = evaluated * (1 if windows is None else len(windows.starts(config.data.num_samples)))
    train = sizes.train
    if config.pretext.task == "contrastive":  # two views of each
        train, inputs = 2 * train, 2 * evaluated
    an_epoch = train / speed.train + inputs / speed.evaluate / config.optim.evaluate_every + EPOCH_SECONDS
    saves = min(1.0, an_epoch / max(config.trainer.checkpoint_seconds, 1e-3))
    an_epoch += saves * state_bytes / BYTES_PER_SECOND
    return Cost(
        seconds=RUN_SECONDS + num_epochs(planned) * an_epoch + inputs / speed.evaluate,
        kept_bytes=kept_bytes,
        working_bytes=STATES * state_bytes,
    )


def bytes_of(planned: PlannedRun) -> tuple[int, int]:
    """Disk that a finished run takes, and each state of an unfinished one: weights, two moments, the best weights."""
    sizes, config = planned.sizes, planned.config
    data = config.data
    windows = Windows.of(config.crops, data)
    length = data.num_samples if windows is None else windows.length
    numbers = num_parameters(config.model.backbone, data.corpus, data.label_set, length, data.root)
    weights = (8 if config.trainer.precision == 64 else 4) * numbers
    labels = len(label_names(data.corpus, data.label_set, data.root))
    predictions = PREDICTIONS // 2 * (sizes.val + sizes.test) * (5 * labels + 40)
    return weights + predictions + 5000 * num_epochs(planned) + 20_000, 4 * weights + predictions


def require_room(plan: Plan, num_workers: int) -> None:
    """Refuse to begin what will not fit on the disk.

    Args:
        plan: What is to be done.
        num_workers: Runs at the same time.

    Raises:
        DiskFullError: What is left of the plan needs more than there is.
    """
    waiting = [bytes_of(planned) for planned in plan.runs if not planned.run.is_done]
    states = sorted((STATES * state for _, state in waiting), reverse=True)[:num_workers]
    needed, free = sum(kept for kept, _ in waiting) + sum(states), room(plan.output)
    if needed > free:
        raise DiskFullError(
            errno.ENOSPC,
            f"the {len(waiting)} runs to do need about {file_size(needed)} of disk and {file_size(free)} are free; "
            "another --output, or one --grid after the other, may fit",
            str(plan.output),
        )


def room(output: Path) -> int:
    """Free bytes where runs go; the folder need not exist."""
    folder = output.resolve()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def num_parameters(backbone: str, corpus: str, label_set: str | None, num_samples: int, root: str | None = None) -> int:
    """Numbers in a classifier, its head included, without filling them."""
    body, num_features = _body(backbone, num_samples)
    return body + (num_features + 1) * len(label_names(corpus, label_set, root))


@cache
def _body(backbone: str, num_samples: int) -> tuple[int, int]:
    """Numbers in a backbone, and of its features."""
    import torch

    from ecg_transfer.models import create_backbone

    with torch.device("meta"):
        built = create_backbone(backbone, num_samples=num_samples)
    return sum(value.numel() for value in built.state_dict().values()), int(built.num_features)


def label_names(corpus: str, label_set: str | None, root: str | None = None) -> tuple[str, ...]:
    """The labels that a corpus is trained for."""
    sets = spec_named(corpus, root).label_sets
    return sets[label_set or next(iter(sets))]


def makespan(plan: Plan, seconds: Mapping[str, float], num_workers: int) -> float:
    """Seconds until so many workers, in the plan's order, have done the runs of `seconds`; others count as done.

    Args:
        plan: Its order and dependencies.
        seconds: Of each run that is still to do, by name.
        num_workers: At the same time.
    """
    free = [0.0] * num_workers
    ends: dict[str, float] = {}
    waiting = [planned for planned in plan.runs if planned.name in seconds]
    while waiting:
        now = heapq.heappop(free)
        ready = {planned.name: _ready_at(planned, seconds, ends) for planned in waiting}
        chosen = next((planned for planned in waiting if ready[planned.name] <= now), None)
        if chosen is None:
            heapq.heappush(free, min(at for at in ready.values() if at > now))
            continue
        waiting.remove(chosen)
        ends[chosen.name] = now + seconds[chosen.name]
        heapq.heappush(free, ends[chosen.name])
    return max(ends.values(), default=0.0)


def _ready_at(planned: PlannedRun, seconds: Mapping[str, float], ends: Mapping[str, float]) -> float:
    if planned.upstream is None or planned.upstream.name not in seconds:
        return 0.0
    return ends.get(planned.upstream.name, math.inf)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is left of a plan, with a number of workers."""

    num_workers: int
    costs: Mapping[str, Cost]
    """Of the runs that are not done, by name; without those whose speed is not known."""
    seconds: float
    """Until all of them are done."""

    @property
    def num_bytes(self) -> int:
        """Disk they will need, while the last of them runs."""
        working = sorted((each.working_bytes for each in self.costs.values()), reverse=True)
        return sum(each.kept_bytes for each in self.costs.values()) + sum(working[: self.num_workers])


def estimate(
    plan: Plan,
    num_workers: int | None = None,
    *,
    measure: bool = True,
    report: Callable[[str], None] = lambda sentence: None,
) -> list[Estimate]:
    """Estimates for a number of workers, or for each number worth trying; the quickest first.

    Args:
        plan: What to do.
        num_workers: Runs at the same time; None compares.
        measure: Whether to measure speeds that are not known yet.
        report: Is told what is being measured.
    """
    waiting = [planned for planned in plan.runs if not planned.run.is_done]
    choices = [num_workers] if num_workers is not None else worker_choices()
    found = [_estimate(plan, waiting, choice, plan.output, measure, report) for choice in choices]
    return sorted(found, key=lambda one: (-len(one.costs), one.seconds))


def _estimate(
    plan: Plan, waiting: list[PlannedRun], num_workers: int, output: Path, measure: bool, report: Callable[[str], None]
) -> Estimate:
    known = speeds([work_of(planned) for planned in waiting], num_workers, output, measure=measure, report=report)
    costs = {planned.name: cost(planned, known[work_of(planned)]) for planned in waiting if work_of(planned) in known}
    seconds = makespan(plan, {name: each.seconds for name, each in costs.items()}, num_workers)
    startup = max((speed.startup for speed in known.values()), default=0.0)
    return Estimate(num_workers=num_workers, costs=costs, seconds=startup + seconds)
