"""What `ecg-transfer study report` does: choose the runs, write the page, say what it says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ecg_transfer.leaks import leak_sentences
from ecg_transfer.runs import Run, find_runs
from ecg_transfer.study.chosen import choose


def report(
    folder: Path,
    *,
    output: Path = Path("checkpoints"),
    planned: Iterable[Run] | None = None,
    title: str = "Transfer learning in ECG diagnosis: is it effective?",
    notes: Sequence[str] = (),
    metric: str = "f1_weighted",
    tensorboard: bool = True,
) -> list[str]:
    """Write the report of a study, and its TensorBoard log beside it.

    Args:
        folder: Where it is written.
        output: Where the runs live.
        planned: The study's runs; all runs in `output` when None. Those that have no directory yet are counted, those
            of the same name on other ECGs, simulated where real ones are planned say, are left out.
        title: Of the page.
        notes: Sentences for the top of the page, a plan's notices say.
        metric: The test score it is about.
        tensorboard: Whether to write `folder/tensorboard`.

    Returns:
        Lines for a terminal: the verdicts with their setting, and where the files are.
    """
    from ecg_transfer.study.report import write_report

    runs = list(find_runs(output))
    notes = list(notes)
    said: list[str] = []
    if planned is not None:
        wanted = set(planned)
        runs, said = choose(runs, wanted)
        notes += said
        if absent := len(wanted) - len(runs):
            notes.append(f"{absent:,} of the {len(wanted):,} planned runs were not started yet.")
    page = write_report(runs, folder, title=title, notes=notes, metric=metric)
    tables = folder / "tables"
    leaks = leak_sentences(run.manifest for run in runs if run.is_done)
    lines = [*_verdicts(tables), *_benchmark(tables / "benchmark.csv"), *leaks, *said]
    lines.append(f"report: {page}")
    if tensorboard:
        from ecg_transfer.study.tensorboard_log import write_tensorboard

        write_tensorboard(runs, folder / "tensorboard")
        lines.append(f"curves: tensorboard --logdir {folder / 'tensorboard'}")
    return lines


def _verdicts(tables: Path) -> list[str]:
    """Of the first setting: what it is, and a line a claim; or why there is none."""
    import pandas as pd

    try:
        claims = pd.read_csv(tables / "claims.csv")
    except pd.errors.EmptyDataError:
        return [_no_verdict(tables)]
    first, num_settings = claims.iloc[0], claims["id"].value_counts().max()
    others = f", the first of {num_settings} settings" if num_settings > 1 else ""
    exploratory = [f"; {note}" for note in first["notes"].split("; ") if note.startswith("exploratory")]
    return [f"verdicts with {first['setting']}{others}{''.join(exploratory)}"] + [
        f"{row['id']} {row['verdict']}{' (SIMULATED)' * bool(row['simulated'])}: {row['text']}"
        for row in claims.drop_duplicates("id").to_dict("records")
    ]


def _no_verdict(tables: Path) -> str:
    """Why the claims were not judged."""
    import pandas as pd

    try:
        pd.read_csv(tables / "effects.csv")
    except pd.errors.EmptyDataError:
        return "no pair of a finished fine-tuning and its training from scratch yet"
    return (
        "no verdicts: the paper's claims are about full fine-tuning of upstreams that learnt labels in the same "
        "recipe, which no comparison of this report is"
    )


def _benchmark(path: Path) -> list[str]:
    """A line a training on all of PTB-XL, beside the published number of its network or else the best one."""
    import pandas as pd

    if not path.exists():
        return []
    lines = []
    for row in pd.read_csv(path).to_dict("records"):
        is_own = row["published"] == row["published"]
        published = row["published"] if is_own else row["best_published"]
        lines.append(
            f"PTB-XL {row['label_set']}, {row['backbone']}, {row['recipe']}: macro AUROC {row['auroc_macro']:.3f} "
            f"[{row['low']:.3f}, {row['high']:.3f}]; published{'' if is_own else ' at best'} {published:.3f}"
        )
    return lines
