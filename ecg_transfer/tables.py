"""Tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from data_modules.completeness import check_completeness
from data_modules.corpora import CORPORA
from data_modules.sources import data_root, open_corpus, own_corpora
from ecg_transfer.comparison import Pair, by_seeds, model_names
from ecg_transfer.config import ConfigError
from ecg_transfer.config_reading import departures
from ecg_transfer.leaks import leak_sentences
from ecg_transfer.lone_runs import lone_runs_sentence
from ecg_transfer.metrics import Scores
from ecg_transfer.pretext.config import pretext_name
from ecg_transfer.runs import Run, RunChangedError, home
from ecg_transfer.way_names import WAY_NAMES

COLUMNS = {"f1_weighted": "F1 weighted", "f1_macro": "F1 macro", "auroc_macro": "AUROC macro", "ap_macro": "AP macro"}
"""The overall scores that tables show."""

EXPLAINED = {
    "val_selected": "epoch chosen on validation",
    "last_epoch": "last epoch",
    "best_on_test": "best epoch on test (as the paper reports)",
}

PIPE_WIDTH = 1000
"""Characters of a line where there is no terminal: `ecg-transfer runs | grep` finds all that is said of a run."""


def print_run(run: Run, *, note: str = "") -> None:
    """A finished run: its three scores, its labels, where it is."""
    console = terminal()
    data = run.manifest["data"]
    kind = "SIMULATED ECGs" if data["simulated"] else "real ECGs"
    console.print(f"\n{run.name} [{kind}] {note}".rstrip(), markup=False, style="bold")
    if run.config.is_supervised:
        _print_scores_of(run, console)
    else:
        _print_pretext(run, console)
    _print_notices(console, data)
    if (upstream := run.manifest.get("upstream")) is not None:
        kind = " [SIMULATED ECGs]" if upstream["simulated"] else ""
        console.print(f"started from: {upstream['run']}{kind}", markup=False)
    if found := run.manifest.get("checks"):
        console.print(f"checks: {', '.join(f'{code} {count}' for code, count in found.items())}", markup=False)
    console.print(f"run: {run.path}", markup=False)


def _print_scores_of(run: Run, console: Console) -> None:
    table = Table("test score", "epoch", *COLUMNS.values(), box=None, padding=(0, 2, 0, 0))
    for name, scores in run.scores.items():
        epoch = run.results[name]["epoch"] + 1
        table.add_row(EXPLAINED[name], str(epoch), *(_number(getattr(scores, column)) for column in COLUMNS))
    console.print(table)
    print_labels(run.scores["val_selected"], console, "test records, the epoch chosen on validation")


def _print_pretext(run: Run, console: Console) -> None:
    """A run without labels: its own loss."""
    results = run.results
    names = list(results["last_epoch"]["val"])
    table = Table(pretext_name(run.config.pretext), "epoch", *(f"{part} {name}" for part in ("val", "test")
                  for name in names), box=None, padding=(0, 2, 0, 0))  # fmt: skip
    for chosen in ("val_selected", "last_epoch"):
        found = results[chosen]
        values = [_number(found[part][name]) for part in ("val", "test") for name in names]
        table.add_row(EXPLAINED[chosen], str(found["epoch"] + 1), *values)
    console.print(table)
    console.print(f"no label was looked at; `ecg-transfer finetune CORPUS --upstream {run.name}` starts from it",
                  markup=False)  # fmt: skip


def print_scores(scores: Mapping[str, Scores], *, title: str) -> None:
    """Overall scores by name, then the labels of the first."""
    console = terminal()
    console.print(title, markup=False, style="bold")
    table = Table("", "records", *COLUMNS.values(), box=None, padding=(0, 2, 0, 0))
    for name, content in scores.items():
        table.add_row(name, str(content.num_records), *(_number(getattr(content, column)) for column in COLUMNS))
    console.print(table)
    print_labels(next(iter(scores.values())), console, "records")


def print_challenge_scores(scores: Mapping[str, Mapping[str, float]]) -> None:
    """One line a challenge: its own scores by its own definitions."""
    console = terminal()
    for challenge, values in scores.items():
        listed = ", ".join(f"{name} {_number(value)}" for name, value in values.items())
        console.print(f"as {challenge} defines it: {listed}", markup=False)


def print_labels(scores: Scores, console: Console, what: str) -> None:
    """F1 and AUROC of each label, with its positives.

    Args:
        scores: Of some records.
        console: Where to.
        what: Which records these are, and of which epoch.
    """
    table = Table("label", "positives", "F1", "precision", "recall", "AUROC", box=None, padding=(0, 2, 0, 0))
    columns = (scores.f1, scores.precision, scores.recall, scores.auroc)
    for row, label in enumerate(scores.label_names):
        table.add_row(label, str(int(scores.num_positives[row])), *(_number(float(column[row])) for column in columns))
    console.print(f"\n{scores.num_records} {what}, threshold 0.5:", markup=False)
    console.print(table)


def print_runs(runs: Sequence[Run], output: Path) -> None:
    """One line a run."""
    console = terminal()
    if not runs:
        console.print(f"no runs in {output}; `ecg-transfer pretrain cpsc2018` makes one", markup=False)
        return
    table = Table(
        "run", "ECGs", "status", "epochs", "F1 weighted", "F1 macro", "best on test", "recipe",
        box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    for run in runs:
        table.add_row(run.name, _kind_of(run), *_state_of(run), _recipe_of(run))
    console.print(table)


def _kind_of(run: Run) -> str:
    """Whether its ECGs are real, as its manifest says; as its place says where there is none."""
    try:
        return home(run.path.parent, simulated=bool(run.manifest["data"]["simulated"])).name
    except (ValueError, OSError, KeyError):
        return run.path.parent.name


def _recipe_of(run: Run, but_for: Sequence[str] = ()) -> str:
    """The recipe and what was changed of it, fields without their section: `modern, label_set=all`."""
    try:
        config = run.config
    except (ValueError, OSError):  # of another version, or damaged: the list goes on
        return ""
    changes = {field: value for field, value in departures(config).items() if field not in but_for}
    return ", ".join((config.recipe, *(f"{field.rpartition('.')[2]}={value}" for field, value in changes.items())))


def _state_of(run: Run) -> list[str]:
    """Status, epochs and scores of a run; of one without labels its loss."""
    if run.damaged:
        return [f"damaged: {', '.join(run.damaged)}", *[""] * 4]
    if not run.is_done:
        return [f"{run.status} {run.failure or ''}".strip()[:60], *[""] * 4]
    try:
        results = run.results
        num_epochs = str(results["last_epoch"]["epoch"] + 1)
        if not run.config.is_supervised:
            loss = _number(results["val_selected"]["val"]["loss"])
            return [f"done: {pretext_name(run.config.pretext)}, val loss {loss}", num_epochs, *["-"] * 3]
        scores = run.scores
    except RunChangedError:
        return [f"changed: {', '.join(run.verify())}", *[""] * 4]
    except ConfigError:
        return ["of another version", *[""] * 4]
    chosen = scores["val_selected"]
    values = (chosen.f1_weighted, chosen.f1_macro, scores["best_on_test"].f1_weighted)
    return ["done", num_epochs, *map(_number, values)]


def print_pairs(pairs: Sequence[Pair], output: Path, runs: Sequence[Run] = ()) -> None:
    """Fine-tuning against scratch: the headline score, and the epochs to 95 % of each arm's own best.

    Recipes are told where they differ, several models of one upstream by the end of their runs' names, and that one
    seed is no result where a comparison has no more.

    Args:
        pairs: As `find_pairs` gives them.
        output: Where runs live.
        runs: Those that the pairs are among: the ones without a partner are told.
    """
    console = terminal()
    alone = lone_runs_sentence(runs, pairs)
    if not pairs:
        console.print(f"no pair of a finished fine-tuning and scratch run in {output}", markup=False)
    else:
        _print_pairs(pairs, console)
    if alone is not None:
        console.print(alone, markup=False)


def _print_pairs(pairs: Sequence[Pair], console: Console) -> None:
    table = Table(
        "downstream", "upstream", "backbone", "train", "seed", "scratch", "fine-tuned", "difference",
        "epochs to 95 %", "ECGs", box=None, padding=(0, 2, 0, 0),
    )  # fmt: skip
    recipes = [_recipe_of(pair.scratch, but_for=("data.subset_seed",)) for pair in pairs]
    is_told = len(set(recipes)) > 1
    if is_told:
        table.add_column("recipe")
    models = model_names(pairs)
    for pair, recipe in zip(pairs, recipes, strict=True):
        upstream = pair.upstream + _mark_of(models[pair], pair.upstream)
        config = pair.scratch.config
        scores = [getattr(run.scores["val_selected"], config.monitor) for run in (pair.scratch, pair.finetune)]
        times = [run.convergence.get("95%") for run in (pair.scratch, pair.finetune)]
        table.add_row(
            pair.downstream,
            upstream if pair.way == WAY_NAMES["full"] else f"{upstream}, {pair.way}",
            config.model.backbone,
            str(pair.scratch.manifest["data"]["parts"]["train"]["records"]),
            str(config.seed),
            *map(_number, scores),
            f"{scores[1] - scores[0]:+.3f}",
            " / ".join("-" if time is None else f"{time['epochs']:.0f}" for time in times),
            "SIMULATED" if pair.simulated else "real",
            *([recipe] if is_told else []),
        )
    console.print(table)
    repeated = [len({pair.scratch.name for pair in alike}) for alike in by_seeds(pairs).values()]
    lonely = "; one seed is no result" if min(repeated) == 1 else ""
    monitors = dict.fromkeys(pair.scratch.config.monitor for pair in pairs)
    several = " (whichever its epoch was chosen by)" if len(monitors) > 1 else ""
    console.print(
        f"test {' or '.join(monitors)}{several} of the epoch chosen on validation; epochs to 95 % of each arm's own "
        f"best validation score, scratch / fine-tuned{lonely}",
        markup=False,
    )
    told = {run.path: run for pair in pairs for run in (pair.scratch, pair.finetune)}
    for sentence in leak_sentences(run.manifest for run in told.values()):
        console.print(sentence, markup=False)


def _mark_of(model: str, upstream: str) -> str:
    """How several models of one upstream are told apart: by the end of their runs' names, a digest."""
    return "" if model == upstream else f" ({model[-8:] if model.startswith('pretrain-') else model})"


def print_corpora(root: Path | None) -> None:
    """One line a corpus: where it is and how complete."""
    console = terminal()
    folder = data_root(root)
    table = Table("corpus", "title", "labels", "published", "on disk", box=None, padding=(0, 2, 0, 0))
    for name, corpus_class in CORPORA.items():
        spec = corpus_class.spec
        labels = ", ".join(f"{task} {len(names)}" for task, names in spec.label_sets.items())
        if corpus_class.is_present(folder / name):
            state = check_completeness(corpus_class(folder / name)).state()
        else:
            simulated = sorted(path.name for path in (folder / "simulated").glob(f"{name}-*"))
            state = f"no; simulated ECGs take its place {' '.join(simulated)}".rstrip()
        table.add_row(name, spec.title, labels, str(spec.num_records), state)
    for name in own_corpora(root):
        try:
            corpus = open_corpus(name, root=root)
            state = check_completeness(corpus).sentence()
            table.add_row(name, corpus.spec.title, f"labels {len(corpus.label_names)}", "", state)
        except (ValueError, OSError) as error:
            table.add_row(name, f"{name} (own corpus)", "", "", f"cannot be used: {error}")
    console.print(table)
    console.print(f"looked for in {folder.resolve()}", markup=False)


def _print_notices(console: Console, data: Mapping[str, object]) -> None:
    console.print()
    console.print(str(data["completeness"]), markup=False)
    for title in ("set_aside", "mended"):
        counts = data[title]
        if isinstance(counts, dict) and counts:
            listed = ", ".join(f"{code} {count}" for code, count in counts.items())
            console.print(f"{title.replace('_', ' ')}: {listed}", markup=False)
    notices = data["notices"]
    for notice in notices if isinstance(notices, list) else ():
        console.print(f"note: {notice}", markup=False)


def terminal() -> Console:
    """A console as wide as its terminal, and never so narrow that a pipe or a log breaks the rows."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"
