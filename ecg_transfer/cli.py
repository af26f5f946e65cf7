"""The command line: verbs only. Each imports what it needs when it runs, so that `--help` is there at once."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ecg_transfer import corpora_cli
from ecg_transfer.advice_cli import advise
from ecg_transfer.data_cli import app as data_app
from ecg_transfer.export_cli import export
from ecg_transfer.labels_cli import labels
from ecg_transfer.loading import loading
from ecg_transfer.prediction_cli import predict
from ecg_transfer.recipes import RECIPES
from ecg_transfer.study_cli import study_app
from ecg_transfer.transferability_cli import transferability

app = typer.Typer(
    name="ecg-transfer",
    help="Does transfer learning help on my ECGs? Pre-train, fine-tune, train from scratch, compare.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(study_app, name="study")
app.add_typer(data_app, name="data")
app.command()(export)
app.command()(transferability)
app.command()(advise)
app.command()(labels)

Backbone = Annotated[
    str | None, typer.Option(help="resnet1d18, -50, -101, lstm, bilstm, gru, ..., or package.module:factory")
]
Seed = Annotated[int | None, typer.Option(help="Of everything random but the split.")]
Recipe = Annotated[str, typer.Option(help=", ".join(RECIPES))]
Output = Annotated[Path, typer.Option(help="Folder of the runs.")]
OverrideArguments = Annotated[
    list[str] | None,
    typer.Argument(help="Any field of the configuration: optim.lr=1e-3 data.subset=200", metavar="[FIELD=VALUE]..."),
]

DEFAULT_OUTPUT = Path("checkpoints")
DEFAULT_UPSTREAM = "cpsc2018"
"""What a fine-tuning starts from where nothing is named."""


@app.command()
def pretrain(
    upstream: Annotated[str, typer.Argument(help="Corpus to train on.")],
    overrides: OverrideArguments = None,
    backbone: Backbone = None,
    seed: Seed = None,
    recipe: Recipe = "paper",
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Train a model on an upstream corpus, for fine-tuning to start from.

    pretext.task=contrastive, or masked for patch_transformer, learns without the corpus's labels.
    """
    _train("pretrain", upstream, overrides, backbone, seed, recipe, output)


@app.command()
def finetune(
    downstream: Annotated[str, typer.Argument(help="Corpus to train on.")],
    overrides: OverrideArguments = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="Corpus whose pre-training it starts from, or a run's name or directory.",
            show_default=DEFAULT_UPSTREAM,
        ),
    ] = None,
    backbone: Backbone = None,
    seed: Seed = None,
    recipe: Recipe = "paper",
    output: Output = DEFAULT_OUTPUT,
    with_pretrain: Annotated[
        bool,
        typer.Option(
            "--with-pretrain",
            help="Pre-train first where that is missing: with the same recipe, seed and overrides but those of which "
            "records and labels (data.subset, num_simulated, label_set, original_rate, unlabelled).",
        ),
    ] = False,
) -> None:
    """Train on a downstream corpus, starting from a pre-trained backbone."""
    is_named = any(override.startswith("transfer.upstream=") for override in overrides or ())
    if upstream is None and not is_named:
        if downstream == DEFAULT_UPSTREAM:
            raise ValueError(
                f"a fine-tuning on {downstream} would start from a pre-training on {downstream} itself: name the "
                "upstream with --upstream"
            )
        upstream = DEFAULT_UPSTREAM
    _train("finetune", downstream, overrides, backbone, seed, recipe, output, upstream, with_pretrain)


@app.command()
def scratch(
    downstream: Annotated[str, typer.Argument(help="Corpus to train on.")],
    overrides: OverrideArguments = None,
    backbone: Backbone = None,
    seed: Seed = None,
    recipe: Recipe = "paper",
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Train on a downstream corpus from random weights, to compare a fine-tuning with."""
    _train("scratch", downstream, overrides, backbone, seed, recipe, output)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A run's name or directory.")],
    overrides: OverrideArguments = None,
    part: Annotated[str, typer.Option(help="train, val or test")] = "test",
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of the run's own backbone.")] = False,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Score a run's best weights again, from the record files; with the challenges' own scores on their data."""
    with loading():
        from ecg_transfer.config_reading import config_from
        from ecg_transfer.evaluation import challenge_scores, predict_again, unfinished_note
        from ecg_transfer.metrics import score
        from ecg_transfer.runs import open_run
        from ecg_transfer.tables import print_challenge_scores, print_scores

    found = open_run(run, output)
    predictions, label_names = predict_again(found, part, overrides=overrides or (), trust=trust)
    note = unfinished_note(found)
    kind = " [SIMULATED ECGs]" if found.manifest["data"]["simulated"] else ""
    title = f"{found.name}: {part}{kind}" + ("" if note is None else f" ({note})")
    print_scores({part: score(predictions.logits, predictions.targets, label_names)}, title=title)
    corpus = config_from(found.config.as_dict(), overrides or ()).data.corpus
    print_challenge_scores(challenge_scores(corpus, predictions))


app.command()(predict)


@app.command()
def runs(output: Output = DEFAULT_OUTPUT) -> None:
    """List the runs and their scores."""
    from ecg_transfer.runs import find_runs
    from ecg_transfer.tables import print_runs

    print_runs(list(find_runs(output)), output)


app.add_typer(corpora_cli.app, name="corpora")


@app.command()
def compare(
    downstream: Annotated[list[str] | None, typer.Argument(help="Corpora; all of them by default.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curves into this picture.")] = None,
    output: Output = DEFAULT_OUTPUT,
) -> None:
    """Fine-tuning beside training from scratch, for every pair of finished runs."""
    from ecg_transfer.comparison import pair_up, plot_curves, trained_runs
    from ecg_transfer.tables import print_pairs

    trained = trained_runs(output, downstream or None)
    pairs = pair_up(trained)
    print_pairs(pairs, output, trained)
    if plot is not None and pairs:
        plot_curves(pairs, plot)
        typer.echo(f"curves: {plot}")


def _train(
    phase: str,
    corpus: str,
    overrides: list[str] | None,
    backbone: str | None,
    seed: int | None,
    recipe: str,
    output: Path,
    upstream: str | None = None,
    with_pretrain: bool = False,
) -> None:
    from ecg_transfer.config_reading import make_config
    from ecg_transfer.data_identity import require_same_data, require_same_upstream
    from ecg_transfer.resolve import resolve
    from ecg_transfer.runs import RunNotFoundError
    from ecg_transfer.tables import print_run

    config = make_config(
        phase,  # type: ignore[arg-type]
        corpus,
        recipe=recipe,
        backbone=backbone,
        seed=seed,
        upstream=upstream,
        overrides=overrides or (),
    )
    try:
        resolved = resolve(config, output)
        if resolved.run.is_done:
            require_same_upstream(resolved.run, resolved.upstream)
            require_same_data(resolved.run, resolved.config)
            resolved.run.tidy()
            print_run(resolved.run, note="was finished before: nothing to do")
            return
        if resolved.upstream is not None:
            typer.echo(f"starts from {resolved.upstream.name}", err=True)
    except RunNotFoundError:
        if not with_pretrain:
            raise
    with loading():
        from ecg_transfer.training import train

    run = train(config, output=output, with_pretrain=with_pretrain)
    if run.is_done:
        print_run(run)
        return
    raise SystemExit(0 if _is_helper_process() else 1)


def _is_helper_process() -> bool:
    """Whether this is one of the further processes of a distributed run: only the first one finishes the run."""
    import os

    return os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0"


INTERRUPTED = 130
"""Exit code after Ctrl-C; typer gives it by itself."""
TERMINATED = 143
"""Exit code after SIGTERM."""
EX_TEMPFAIL = 75
"""Exit code of a full disk (sysexits.h): the same command goes on once there is room."""


def _leave(code: int) -> NoReturn:
    """Say so and end with this code; a second signal would make Python's own end a death by signal."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    how = "\ninterrupted" if code == INTERRUPTED else "terminated"
    typer.echo(f"{how}: the same command goes on where it was", err=True)
    sys.exit(code)


def _terminated(number: int, frame: object) -> NoReturn:
    """Leave through every `finally`, as on Ctrl-C: unfinished files are removed, claims given back."""
    raise SystemExit(TERMINATED)


def _formatted(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning of ours as its sentence alone: the line of our code says nothing to who types a command."""
    if category.__module__.partition(".")[0] in ("ecg_transfer", "data_modules"):
        return f"ecg-transfer: warning: {message}\n"
    return _format(message, category, filename, lineno, line)


_format = warnings.formatwarning


def _fell_in_a_thread(found: threading.ExceptHookArgs) -> None:
    """Say nothing of a full disk: TensorBoard's writer hands its error on, and `main` says it in a sentence."""
    from ecg_transfer.files import FULL

    if getattr(found.exc_value, "errno", None) not in FULL:
        threading.__excepthook__(found)


def main() -> None:
    """Run the command line.

    Exit codes: 0 done; 1 an error that a sentence explains; 2 wrong usage; 3 some files could not be used;
        75 the disk is full; 130 Ctrl-C; 143 SIGTERM.
    """
    from data_modules.claim import ClaimLostError, RunClaimedError
    from ecg_transfer.files import FULL

    signal.signal(signal.SIGTERM, _terminated)
    warnings.formatwarning = _formatted
    threading.excepthook = _fell_in_a_thread
    try:
        app()
    except KeyboardInterrupt:
        _leave(INTERRUPTED)
    except SystemExit as error:
        if error.code in (INTERRUPTED, TERMINATED):
            _leave(error.code)
        raise
    except (ValueError, OSError, ArithmeticError, MemoryError, RunClaimedError, ClaimLostError) as error:
        if getattr(error, "errno", None) in FULL:
            typer.echo(f"ecg-transfer: {error}. Make room; the same command goes on where it was", err=True)
            sys.exit(EX_TEMPFAIL)
        sys.exit(f"ecg-transfer: {error}")
