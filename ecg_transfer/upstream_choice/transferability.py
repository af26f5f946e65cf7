"""`transferability()`: candidates for an upstream, scored on a downstream corpus and sorted."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_modules.config import DataConfig
from data_modules.datamodule import ECGDataModule
from data_modules.sources import is_corpus, will_simulate
from ecg_transfer.config_reading import Overrides, data_config
from ecg_transfer.metrics import AGGREGATES
from ecg_transfer.model_folder import ModelFolder, is_model_folder, read_model_folder
from ecg_transfer.pretext.config import upstream_name
from ecg_transfer.resolve import UpstreamError
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, RunNotFoundError, find_runs, open_run
from ecg_transfer.upstream import Upstream
from ecg_transfer.upstream_choice.forward import embed, upstream_model
from ecg_transfer.upstream_choice.scores import MEASURES, scores_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class UpstreamScores:
    """One candidate."""

    upstream: str
    """Name of the run, or of the exported model."""
    corpus: str
    """`ptbxl, contrastive` where it was trained without labels."""
    backbone: str
    size: int | None
    """Its training records; None where an exported model does not say."""
    probe: float
    knn: float
    logme: float
    leep: float | None
    """None where the upstream has no head."""
    melep: float | None
    seconds: float
    """For the forward pass and all scores."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Transferability:
    """Candidates on one downstream corpus, the most promising first; see `MEASURES` for what the columns mean."""

    downstream: str
    metric: str
    """Score of the probes."""
    sorted_by: str
    num_train: int
    num_val: int
    label_names: tuple[str, ...]
    simulated: bool
    """Whether the downstream's ECGs are."""
    candidates: tuple[UpstreamScores, ...]

    @property
    def table(self) -> pd.DataFrame:
        """One row a candidate."""
        import pandas as pd

        return pd.DataFrame([asdict(candidate) for candidate in self.candidates])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        kind = "SIMULATED ECGs" if self.simulated else "real ECGs"
        return f"<b>{self.downstream}</b> [{kind}], {self.num_train} training records{self.table.to_html(index=False)}"


def transferability(
    downstream: str,
    upstreams: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    subset: float | None = None,
    seed: int = 0,
    metric: str = "f1_weighted",
    sort_by: str = "probe",
    overrides: Overrides = (),
    output: str | Path = DEFAULT_OUTPUT,
    allow_simulated: bool = False,
    trust: bool = False,
) -> Transferability:
    """Score pre-trained models on a downstream corpus, from one forward pass each; nothing is trained but the probes.

    Training records and, for the probes, validation records are looked at, never test records. Each candidate sees
    the signals at its own scale, rate and length.

    Args:
        downstream: Name of the corpus.
        upstreams: Runs, their names or directories, corpora (all finished pre-trainings on them), folders of exported
            models; or one of these. None takes all finished pre-trainings on other corpora, on ECGs of the same kind.
        subset: Training records used, as `data.subset`.
        seed: Of that subset, and of the hashing of very wide embeddings.
        metric: Of the probes: a key of `ecg_transfer.metrics.AGGREGATES`.
        sort_by: A key of `MEASURES`.
        overrides: Fields of the `data` section, `{"data.label_set": "all"}`.
        output: Where runs live.
        allow_simulated: Whether a model that was pre-trained on simulated ECGs may be scored on real ones.
        trust: Whether to run the code of a model's own backbone, one of no name that is known here.

    Raises:
        RunNotFoundError: There is no such upstream, or none at all.
        UpstreamError: It is not finished, or was pre-trained on simulated ECGs where the downstream is real.
        ValueError: An unknown corpus, metric or measure; labels without positives or negatives.
    """
    if metric not in AGGREGATES or sort_by not in MEASURES:
        raise ValueError(
            f"metric is {metric!r}, expected one of {', '.join(AGGREGATES)}; sort_by is {sort_by!r}, expected one of "
            f"{', '.join(MEASURES)}"
        )
    config = data_config(downstream, overrides)
    if subset is not None:
        config.subset = subset
    config.subset_seed = seed if subset is not None else config.subset_seed
    simulated = will_simulate(config.corpus, config.root, config.source)
    several = [upstreams] if isinstance(upstreams, str | os.PathLike) else upstreams
    wanted = None if several is None else [os.fspath(upstream) for upstream in several]
    found = find_upstreams(wanted, config, Path(output), simulated=simulated)
    for upstream in found:
        _refuse_mixture(upstream, downstream, simulated=simulated, allow_simulated=allow_simulated)
    prepared = Prepared(config)
    candidates = [_scored(upstream, prepared, metric, seed=seed, trust=trust) for upstream in found]
    measure = MEASURES[sort_by]
    values = {one.upstream: getattr(one, sort_by) for one in candidates}
    candidates.sort(key=lambda one: (values[one.upstream] is None, -measure.sign * (values[one.upstream] or 0),
                                     one.upstream))  # fmt: skip
    data = prepared.any
    return Transferability(
        downstream=downstream,
        metric=metric,
        sorted_by=sort_by,
        num_train=len(data.rows["train"]),
        num_val=len(data.rows["val"]),
        label_names=data.label_names,
        simulated=simulated,
        candidates=tuple(candidates),
    )


class Prepared:
    """A downstream corpus, prepared once for each kind of input that upstreams take.

    Args:
        config: Its `data` section; the upstream's input fields take the place of its own.
    """

    def __init__(self, config: DataConfig) -> None:
        self._config = config
        self._known: dict[tuple[object, ...], ECGDataModule] = {}

    def __getitem__(self, inputs: Mapping[str, object]) -> ECGDataModule:
        key = tuple(inputs.values())
        if key not in self._known:
            data = ECGDataModule(replace(self._config, **inputs))  # type: ignore[arg-type]
            data.setup()
            self._known[key] = data
        return self._known[key]

    @property
    def any(self) -> ECGDataModule:
        """The one that was prepared first."""
        return next(iter(self._known.values()))


def find_upstreams(
    wanted: Sequence[str] | None, config: DataConfig, output: Path, *, simulated: bool
) -> list[Upstream]:
    """The upstreams that are meant, each once, in the order they are named.

    Args:
        wanted: See `transferability`.
        config: Of the downstream.
        output: Where runs live.
        simulated: Whether the downstream's ECGs are.

    Raises:
        RunNotFoundError: One is missing, or there is none at all.
        UpstreamError: One is not finished.
    """
    if wanted is None:
        chosen = [
            Upstream.from_run(run)
            for run in _pretrainings(output)
            if run.config.data.corpus != config.corpus and run.manifest["data"]["simulated"] == simulated
        ]
        if not chosen:
            kind = "simulated" if simulated else "real"
            raise RunNotFoundError(
                f"there is no finished pre-training on another corpus of {kind} ECGs in {output}: `ecg-transfer "
                "pretrain CORPUS` makes one, --from names an exported model"
            )
    else:
        chosen = [upstream for name in wanted for upstream in _named(name, config, output, simulated=simulated)]
    return list({upstream.name: upstream for upstream in chosen}.values())


def _named(name: str, config: DataConfig, output: Path, *, simulated: bool) -> Iterable[Upstream]:
    if is_corpus(name, config.root):
        trained = [run for run in _pretrainings(output) if run.config.data.corpus == name]
        if not trained:
            raise RunNotFoundError(
                f"there is no finished pre-training on {name} in {output}: `ecg-transfer pretrain {name}` makes one"
            )
        same_kind = [run for run in trained if run.manifest["data"]["simulated"] == simulated]
        return map(Upstream.from_run, same_kind or trained)
    if is_model_folder(name):
        return [Upstream.from_folder(read_model_folder(name))]
    run = open_run(name, output)
    if not run.is_done:
        raise UpstreamError(f"{run.path} is {run.status}: its command finishes it")
    return [Upstream.from_run(run)]


def _pretrainings(output: Path) -> list[Run]:
    return [run for run in find_runs(output) if run.name.startswith("pretrain-") and run.is_done]


def _refuse_mixture(upstream: Upstream, downstream: str, *, simulated: bool, allow_simulated: bool) -> None:
    if upstream.simulated and not simulated and not allow_simulated:
        raise UpstreamError(
            f"{upstream.name} was pre-trained on simulated ECGs and {downstream} is real: scores of the one on the "
            "other mean nothing; --allow-simulated computes them all the same"
        )


def _scored(upstream: Upstream, prepared: Prepared, metric: str, *, seed: int, trust: bool) -> UpstreamScores:
    data = prepared[upstream.inputs]
    started = time.perf_counter()
    parts = embed(upstream_model(upstream, trust=trust), data, seed=seed)
    scores = scores_of(parts["train"], parts["val"], metric=metric)
    known: dict[str, Any] = {name: value if math.isfinite(value) else None for name, value in scores.items()}
    return UpstreamScores(
        upstream=upstream.name,
        corpus=upstream_name(upstream.corpus, upstream.pretext),
        backbone=upstream.backbone,
        size=num_records(upstream),
        seconds=round(time.perf_counter() - started, 2),
        notes=_notes(upstream, data),
        **known,
    )


def num_records(upstream: Upstream) -> int | None:
    """Its training records; None where an exported model does not say."""
    if isinstance(upstream.origin, ModelFolder):
        own = [records.count for records in upstream.origin.record_sets if records.role == "training"]
        return sum(own) if own else None
    return int(upstream.origin.manifest["data"]["parts"]["train"]["records"])


def _notes(upstream: Upstream, data: ECGDataModule) -> tuple[str, ...]:
    notes = []
    if upstream.corpus == data.config.corpus:
        notes.append(f"was trained on {upstream.corpus} itself: its scores flatter it")
    if copies := upstream.seen_records(data)[data.rows["val"]].sum():
        notes.append(f"{copies} validation records are copies of ones it was trained on")
    if upstream.simulated != data.corpus.is_simulated:
        notes.append(f"pre-trained on {'SIMULATED' if upstream.simulated else 'real'} ECGs")
    return tuple(notes)
