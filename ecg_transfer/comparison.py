"""Fine-tuning beside training from scratch: which runs belong together, and their curves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data_modules.sources import corpus_named, is_corpus
from ecg_transfer.config import RunConfig, TransferConfig
from ecg_transfer.finished_runs import finished_runs
from ecg_transfer.pretext.config import upstream_name
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, find_runs
from ecg_transfer.way_names import WAY_NAMES, way_name

if TYPE_CHECKING:
    import pandas as pd


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
        """The corpus that the fine-tuning starts from, and what was learnt there where that is not its labels."""
        upstream = self.finetune.manifest["upstream"]
        return upstream_name(str(upstream["corpus"]), str(upstream.get("pretext", "none")))

    @property
    def upstream_run(self) -> str:
        """Name of the run, or of the exported model, that the fine-tuning starts from."""
        return str(self.finetune.manifest["upstream"]["run"])

    @property
    def way(self) -> str:
        """How the fine-tuning went, in words."""
        return way_name(self.finetune.config.transfer)

    @property
    def simulated(self) -> bool:
        """Whether any of its ECGs, upstream or downstream, are simulated."""
        return bool(self.scratch.manifest["data"]["simulated"] or self.finetune.manifest["upstream"]["simulated"])


def find_pairs(output: str | Path = DEFAULT_OUTPUT, downstream: str | Iterable[str] | None = None) -> list[Pair]:
    """The pairs among the finished runs below a folder, as `pair_up` makes them; see `trained_runs`.

    Args:
        output: Where runs live.
        downstream: Corpora that are wanted, or one; all by default.

    Raises:
        ValueError: One of them is no corpus; the message says what was probably meant.
    """
    return pair_up(trained_runs(output, downstream))


def trained_runs(output: str | Path = DEFAULT_OUTPUT, downstream: str | Iterable[str] | None = None) -> list[Run]:
    """The finished fine-tunings and trainings from scratch below a folder; a warning names what cannot be compared.

    Arguments and errors are those of `find_pairs`.
    """
    wanted = [downstream] if isinstance(downstream, str) else None if downstream is None else [*downstream]
    candidates = (run for run in find_runs(output) if not run.sealed_name.startswith("pretrain-"))
    trained = [run for run in finished_runs(candidates) if run.config.phase != "pretrain"]
    seen = {run.config.data.corpus for run in trained}
    for corpus in wanted or ():
        if corpus not in seen and not is_corpus(corpus):
            corpus_named(corpus)  # which refuses it
    return [run for run in trained if wanted is None or run.config.data.corpus in wanted]


def pair_up(runs: Iterable[Run]) -> list[Pair]:
    """The pairs among some fine-tunings and trainings from scratch.

    Two runs pair when their configurations differ in nothing but the start, and their data are the same records. Pairs
    are sorted by corpora, backbone, subset, model where several come from one upstream, and seed.
    """
    arms: dict[str, dict[str, list[Run]]] = defaultdict(lambda: {"finetune": [], "scratch": []})
    for run in runs:
        arms[pair_key(run.config, run.manifest["data"]["digest"])][run.config.phase].append(run)
    found = [
        Pair(finetune=finetune, scratch=scratch)
        for group in arms.values()
        for scratch in group["scratch"]
        for finetune in group["finetune"]
    ]
    models = model_names(found)
    return sorted(found, key=lambda pair: _place(pair, models[pair]))


def _place(pair: Pair, model: str) -> tuple[str, str, str, float, str, int, str]:
    config = pair.scratch.config
    subset = math.inf if config.data.subset is None else config.data.subset
    return pair.downstream, pair.upstream, config.model.backbone, subset, model, config.seed, pair.scratch.name


def pair_key(config: RunConfig, data_digest: str) -> str:
    """What a fine-tuning and its training from scratch have in common: all but the start, and the very same data.

    Args:
        config: Of either run.
        data_digest: Of its records, signals and labels, `data.digest` of its manifest.
    """
    return f"{start_apart(config).digest()} {data_digest}"


def start_apart(config: RunConfig) -> RunConfig:
    """A configuration but for the start: what a fine-tuning shares with its training from scratch."""
    return replace(config, phase="scratch", transfer=TransferConfig())


def plot_curves(pairs: Iterable[Pair], path: str | Path, *, metric: str = "f1_weighted") -> None:
    """Draw test-score curves over epochs, fine-tuning against scratch, a panel for all that differ in seeds alone.

    Several seeds are drawn as their mean in its 95 % band.

    Args:
        pairs: What to draw.
        path: The picture; its suffix decides the format.
        metric: A score of the epochs' records, `auroc_macro` say.

    Raises:
        ValueError: There are no pairs, or the epochs have no such score.
    """
    import numpy as np

    from ecg_transfer.drawing import draw_arm, new_figure, seeds_text, style, write_picture

    panels = by_seeds(pairs)
    if not panels:
        raise ValueError("there is no pair of runs to draw; see find_pairs")
    details = _details([members[0].scratch.config for members in panels.values()])
    num_columns = min(len(panels), 3)
    num_rows = -(-len(panels) // num_columns)
    is_simulated = [simulated for *_, simulated in panels]
    with style():
        figure = new_figure(4.6 * num_columns, 3.4 * num_rows, simulated=any(is_simulated))
        axes = figure.subplots(num_rows, num_columns, squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, detail, ((_, upstream, way, simulated), members) in zip(
            axes.flat, details, panels.items(), strict=False
        ):
            for arm, label in (("finetune", _start(upstream, way)), ("scratch", "from scratch")):
                runs = {run.name: run for run in (getattr(pair, arm) for pair in members)}  # a shared one is one
                tables = [_curve(run, f"test/{metric}") for run in runs.values()]
                curves = [np.stack([table["epoch"] + 1, table[f"test/{metric}"]]) for table in tables]
                draw_arm(axis, curves, arm, label=label)
            first, seeds = members[0], len({pair.scratch.name for pair in members})
            title = f"{first.downstream}, {first.scratch.config.model.backbone}, {seeds_text([seeds])}"
            axis.set_title(f"{title}{', SIMULATED' * simulated}{detail}")
            axis.set(xlabel="epoch", ylabel=f"test {metric.replace('_', ' ')}", ylim=(0, 1))
            axis.legend(loc="lower right")
        write_picture(figure, Path(path))


def by_seeds(pairs: Iterable[Pair]) -> dict[tuple[str, str, str, bool], list[Pair]]:
    """Pairs that differ in seeds alone, by configuration, model, way and kind of ECGs.

    Several models of one upstream are told apart by the names of their runs: those that differ in more than seeds, and
    those that are compared with the same training from scratch.
    """
    groups: dict[tuple[str, str, str, bool], list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[_but_for_seeds(pair.scratch.config), pair.upstream, pair.way, pair.simulated].append(pair)
    panels: dict[tuple[str, str, str, bool], list[Pair]] = defaultdict(list)
    for (config, upstream, way, simulated), members in groups.items():
        are_seeds = len({pair.scratch.name for pair in members}) == len(members)
        starts = {pair.finetune.path.parent / pair.upstream_run for pair in members}
        is_one_model = are_seeds and len(set(map(_training, starts))) == 1
        for pair in members:
            model = upstream if is_one_model else pair.upstream_run
            panels[config, model, way, simulated].append(pair)
    return panels


def model_names(pairs: Iterable[Pair]) -> dict[Pair, str]:
    """What each fine-tuning starts from: the upstream, or its run where several models come from one."""
    return {pair: model for (_, model, _, _), members in by_seeds(pairs).items() for pair in members}


def _training(upstream: Path) -> str:
    """How an upstream was trained, but for seeds; its name where that cannot be read any more."""
    try:
        return _but_for_seeds(Run(upstream).config)
    except (ValueError, OSError):
        return upstream.name


def _but_for_seeds(config: RunConfig) -> str:
    return replace(config, seed=0, data=replace(config.data, subset_seed=0)).digest()


def _details(configs: Sequence[RunConfig]) -> list[str]:
    """A second line of each title: size, recipe and rate where trainings differ in them."""
    sizes = ["all records" if (part := config.data.subset) is None else f"subset {part:g}" for config in configs]
    told = [sizes, [config.recipe for config in configs], [f"lr {config.optim.lr:g}" for config in configs]]
    differing = [values for values in told if len(set(values)) > 1]
    return ["\n" * bool(differing) + ", ".join(values[place] for values in differing) for place in range(len(configs))]


def _curve(run: Run, column: str) -> pd.DataFrame:
    """A run's curve, after a look that it has a column."""
    curve = run.curve
    if column not in curve:
        part, _, metric = column.partition("/")
        known = [name.removeprefix(f"{part}/") for name in map(str, curve) if name.startswith(f"{part}/")]
        raise ValueError(f"there is no {part} score {metric!r} in the curve of {run.name}; it has {', '.join(known)}")
    return curve


def _start(upstream: str, way: str) -> str:
    return f"fine-tuned from {upstream}" + ("" if way == WAY_NAMES["full"] else f", {way}")
