"""Fine-tuning beside training from scratch: which runs belong together, and their curves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ecg_transfer.config import TransferConfig
from ecg_transfer.files import write_atomically
from ecg_transfer.runs import Run, find_runs


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A fine-tuning and the training from scratch that differs from it in the start alone."""

    finetune: Run
    scratch: Run

    @property
    def downstream(self) -> str:
        """The corpus that both were trained on."""
        return self.scratch.config.data.corpus

    @property
    def upstream(self) -> str:
        """The corpus that the fine-tuning starts from."""
        return str(self.finetune.manifest["upstream"]["corpus"])

    @property
    def simulated(self) -> bool:
        """Whether any of its ECGs, upstream or downstream, are simulated."""
        return bool(self.scratch.manifest["data"]["simulated"] or self.finetune.manifest["upstream"]["simulated"])


def find_pairs(output: Path, downstream: Sequence[str] | None = None) -> list[Pair]:
    """The pairs among the finished runs below a folder.

    Two runs pair when their configurations differ in nothing but the start, and their data are the same records.

    Args:
        output: Where runs live.
        downstream: Corpora that are wanted; all by default.
    """
    arms: dict[str, dict[str, list[Run]]] = defaultdict(lambda: {"finetune": [], "scratch": []})
    for run in find_runs(output):
        if not run.is_done or run.config.phase == "pretrain":
            continue
        if downstream is None or run.config.data.corpus in downstream:
            arms[_what_is_shared(run)][run.config.phase].append(run)
    return [
        Pair(finetune=finetune, scratch=scratch)
        for _, group in sorted(arms.items())
        for scratch in group["scratch"]
        for finetune in group["finetune"]
    ]


def _what_is_shared(run: Run) -> str:
    start_apart = replace(run.config, phase="scratch", transfer=TransferConfig())
    return f"{start_apart.digest()} {run.manifest['data']['digest']}"


def plot_curves(pairs: Iterable[Pair], path: Path, *, metric: str = "f1_weighted") -> None:
    """Draw test-score curves over epochs, fine-tuning against scratch, one panel a (downstream, upstream, backbone).

    Several seeds are drawn as thin lines under their mean.

    Args:
        pairs: What to draw.
        path: The picture; its suffix decides the format.
        metric: A score of the epochs' records.

    Raises:
        ValueError: There are no pairs.
    """
    import numpy as np
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str, str], list[Pair]] = defaultdict(list)
    for pair in pairs:
        panels[pair.downstream, pair.upstream, pair.scratch.config.model.backbone].append(pair)
    if not panels:
        raise ValueError("there is no pair of runs to draw; see find_pairs")
    num_columns = min(len(panels), 3)
    num_rows = -(-len(panels) // num_columns)
    figure = Figure(figsize=(4.6 * num_columns, 3.4 * num_rows), layout="constrained")
    axes = figure.subplots(num_rows, num_columns, squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    for axis, ((downstream, upstream, backbone), members) in zip(axes.flat, panels.items(), strict=False):
        for arm, colour in (("finetune", "#c0392b"), ("scratch", "#2c3e50")):
            curves = [getattr(pair, arm).curve[f"test/{metric}"].to_numpy() for pair in members]
            shared = np.array([curve[: min(map(len, curves))] for curve in curves])
            epochs = np.arange(1, shared.shape[1] + 1)
            if len(shared) > 1:
                axis.plot(epochs, shared.T, color=colour, alpha=0.3, linewidth=0.8)
            label = f"fine-tuned from {upstream}" if arm == "finetune" else "from scratch"
            axis.plot(epochs, shared.mean(axis=0), color=colour, label=label)
        note = "  SIMULATED ECGs" if any(pair.simulated for pair in members) else ""
        axis.set_title(f"{downstream}, {backbone}, n={len(members)} seed{'s' * (len(members) > 1)}{note}", fontsize=9)
        axis.set(xlabel="epoch", ylabel=f"test {metric.replace('_', ' ')}", ylim=(0, 1))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
    with write_atomically(path) as stream:
        figure.savefig(stream, format=path.suffix.lstrip(".") or "png", dpi=150)
