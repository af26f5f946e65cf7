"""What a configuration stands for on this machine: real or simulated, from which upstream run, in which directory."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from data_modules.corpora import CORPORA
from data_modules.sources import is_corpus, will_simulate
from ecg_transfer.config import RunConfig
from ecg_transfer.config_reading import make_config
from ecg_transfer.finished_runs import finished_runs
from ecg_transfer.model_folder import is_model_folder, read_model_folder, refuse_by_name
from ecg_transfer.pretext.config import PretextConfig
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, RunNotFoundError, find_runs, home, open_run, run_name
from ecg_transfer.upstream import Upstream, input_fields


class UpstreamError(ValueError):
    """A pre-trained run that this fine-tuning cannot start from; the message names both sides."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A configuration that names its upstream run, and the run it makes."""

    config: RunConfig
    run: Run
    upstream: Upstream | None
    simulated: bool


def resolve(config: RunConfig, output: Path) -> Resolved:
    """Find the upstream run and the run's own directory. Reads a few small files, no signal.

    Args:
        config: As the user gave it; its `transfer.upstream` may be a corpus name.
        output: Where runs live.

    Raises:
        RunNotFoundError: The upstream has not been pre-trained; the message holds the command that does it.
        UpstreamError: It does not fit, or several do, or it could only be pre-trained on simulated ECGs.
        ValueError: There is no such corpus.
    """
    data = config.data
    simulated = will_simulate(data.corpus, data.root, data.source)
    if config.phase != "finetune":
        return Resolved(
            config=config,
            run=Run(home(output, simulated=simulated) / run_name(config, None), config.model.backbone),
            upstream=None,
            simulated=simulated,
        )
    upstream = find_upstream(config, output, simulated=simulated)
    config = deepcopy(config)
    config.transfer.upstream, config.pretext = upstream.name, PretextConfig()  # the upstream's name says it all
    name = run_name(config, upstream.corpus)
    run = Run(home(output, simulated=simulated) / name, config.model.backbone)
    return Resolved(config=config, run=run, upstream=upstream, simulated=simulated)


def pretrain_config(config: RunConfig) -> RunConfig:
    """The pre-training that belongs to a fine-tuning: the same recipe, backbone, seed and overrides on the upstream.

    But for those of which records and labels: `data.subset`, `num_simulated`, `label_set`, `original_rate` and
    `unlabelled` are the downstream's alone.
    """
    upstream = deepcopy(config)
    upstream.phase = "pretrain"
    upstream.data.corpus = str(config.transfer.upstream)
    upstream.data.label_set = upstream.data.original_rate = upstream.data.unlabelled = None
    upstream.data.subset = upstream.data.num_simulated = None
    upstream.transfer = type(config.transfer)()
    return upstream


def find_upstream(config: RunConfig, output: Path, *, simulated: bool) -> Upstream:
    """The finished pre-training, or the exported model, that a fine-tuning starts from.

    A corpus name stands for its one finished pre-training with this backbone, preprocessing and `pretext.task`; where
    there are several, for the one with the same recipe and seed.

    Args:
        config: Of the fine-tuning.
        output: Where runs live.
        simulated: Whether the fine-tuning is on simulated ECGs.

    Raises:
        RunNotFoundError: There is none.
        UpstreamError: It does not fit, or several do; or there is none, and it would be of simulated ECGs.
        ModelFolderError: An exported model that is damaged.
    """
    wanted = config.transfer.upstream
    if wanted is None:
        raise UpstreamError("a fine-tuning needs an upstream: --upstream CORPUS, or transfer.upstream=RUN")
    if not is_corpus(wanted, config.data.root):
        refuse_by_name(wanted)
    if not is_corpus(wanted, config.data.root) and is_model_folder(wanted):
        upstream = Upstream.from_folder(read_model_folder(wanted))
    else:
        upstream = Upstream.from_run(_finished_run(wanted, config, output, simulated=simulated))
    if config.pretext.task not in ("none", upstream.pretext.split()[0]):
        raise UpstreamError(f"{upstream.name} was not trained with pretext.task={config.pretext.task}: leave that out")
    if (mismatch := _mismatch(upstream.backbone, upstream.inputs, config)) is not None:
        raise UpstreamError(f"{upstream.name} does not fit: {mismatch}")
    if upstream.simulated and not simulated and not config.transfer.allow_simulated:
        raise UpstreamError(f"{upstream.name} was pre-trained on simulated ECGs {_real(config)}")
    return upstream


def refuse_simulated_upstream(config: RunConfig, others: str = "") -> None:
    """Refuse, before the time is spent, to pre-train on simulated ECGs what a real fine-tuning may not start from.

    Args:
        config: Of a fine-tuning whose upstream is a corpus.
        others: What the message is to say of pre-trainings that are there.

    Raises:
        UpstreamError: It would be.
    """
    data, upstream = config.data, str(config.transfer.upstream)
    if config.transfer.allow_simulated or will_simulate(data.corpus, data.root, data.source):
        return
    if will_simulate(upstream, data.root, data.source):
        raise UpstreamError(
            f"{upstream} is not on disk and would be pre-trained on simulated ECGs {_real(config)}{others}"
            f"{_download(upstream)}"
        )


def _real(config: RunConfig) -> str:
    return f"and {config.data.corpus} is real; transfer.allow_simulated=true does it all the same"


def _download(corpus: str) -> str:
    """What gets the recordings of a published corpus."""
    rate = " --rate 100" if corpus == "ptbxl" else ""
    return f". `ecg-transfer data download {corpus}{rate}` gets the real ones" if corpus in CORPORA else ""


def _finished_run(wanted: str, config: RunConfig, output: Path, *, simulated: bool) -> Run:
    if is_corpus(wanted, config.data.root):
        run = _pretraining_on(wanted, config, output, simulated=simulated)
    else:
        beside = Run(home(output, simulated=simulated) / wanted)
        run = open_run(wanted, output) if beside.status == "absent" else beside
    if not run.is_done:
        raise UpstreamError(f"{run.path} is {run.status}: its command finishes it")
    return run


def _pretraining_on(corpus: str, config: RunConfig, output: Path, *, simulated: bool) -> Run:
    exact = Run(home(output, simulated=simulated) / run_name(pretrain_config(config), None))
    if exact.is_done:
        return exact
    named = (run for run in find_runs(output) if run.name.startswith(f"pretrain-{corpus}-"))
    trained = [
        run
        for run in finished_runs(named)
        if run.config.data.corpus == corpus and run.config.pretext.task == config.pretext.task
    ]
    fitting = [run for run in trained if _run_mismatch(run, config) is None]
    fitting = [run for run in fitting if run.manifest["data"]["simulated"] == simulated] or fitting
    for name in ("recipe", "seed"):
        if len(fitting) > 1:
            fitting = [run for run in fitting if getattr(run.config, name) == getattr(config, name)] or fitting
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        listed = ", ".join(run.name for run in fitting)
        raise UpstreamError(f"several pre-trainings on {corpus} fit; name one of them with --upstream: {listed}")
    from ecg_transfer.models import require_name  # PyTorch, which a finished run can do without

    require_name(config.model.backbone)
    others = "".join(f"; {run.name} does not fit: {_run_mismatch(run, config)}" for run in trained[:3])
    refuse_simulated_upstream(config, others)
    raise RunNotFoundError(
        f"no finished pre-training of {config.model.backbone} on {corpus}{_without_labels(config)} in {output}"
        f"{others}. Make it with: "
        f"{_command(config, output)} (or add --with-pretrain)"
    )


def _without_labels(config: RunConfig) -> str:
    return "" if config.is_supervised else f" without labels ({config.pretext.task})"


def _command(config: RunConfig, output: Path) -> str:
    """The command that makes exactly the pre-training which belongs to a fine-tuning."""
    wanted = pretrain_config(config)
    plain = make_config(
        "pretrain", wanted.data.corpus, recipe=wanted.recipe, backbone=wanted.model.backbone, seed=wanted.seed
    )
    words = ["ecg-transfer pretrain", wanted.data.corpus, f"--backbone {wanted.model.backbone}"]
    if wanted.recipe != "paper":
        words.append(f"--recipe {wanted.recipe}")
    if wanted.seed:
        words.append(f"--seed {wanted.seed}")
    if output != DEFAULT_OUTPUT:
        words.append(f"--output {quote(str(output))}")
    return " ".join([*words, *_overrides(wanted, plain)])


def _overrides(wanted: RunConfig, plain: RunConfig) -> list[str]:
    """The overrides, as a shell takes them, that turn one configuration into another."""
    ours, theirs = _dotted(wanted), _dotted(plain)
    return [
        quote(f"{name}={'null' if value is None else value}") for name, value in ours.items() if value != theirs[name]
    ]


def _dotted(config: RunConfig) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in config.as_dict().items():
        values |= (
            {f"{name}.{inner}": item for inner, item in value.items()} if isinstance(value, dict) else {name: value}
        )
    return values


def _run_mismatch(run: Run, config: RunConfig) -> str | None:
    return _mismatch(run.config.model.backbone, input_fields(run.config.data), config)


def _mismatch(backbone: str, inputs: Mapping[str, object], downstream: RunConfig) -> str | None:
    """In what an upstream's inputs differ from a downstream's; None when its backbone can be taken over."""
    if backbone != downstream.model.backbone:
        return f"it is a {backbone}, a {downstream.model.backbone} is wanted (--backbone {backbone} takes it)"
    for name, ours in input_fields(downstream.data).items():
        if inputs[name] != ours:
            return (
                f"it was trained with data.{name}={inputs[name]}, this run has data.{name}={ours}: give that field, or "
                "the --recipe that it was trained by"
            )
    return None
