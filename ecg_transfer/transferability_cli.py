"""`ecg-transfer transferability`: which upstream promises most, and how much such promises were worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ecg_transfer.loading import loading

if TYPE_CHECKING:
    from ecg_transfer.upstream_choice.transferability import Transferability


def transferability(
    downstream: Annotated[
        str | None, typer.Argument(help="Corpus that is to be trained on; with --evidence, all by default.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Fields of its data: data.label_set=all", metavar="[FIELD=VALUE]...")
    ] = None,
    upstreams: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="A run, a corpus (its pre-trainings) or an exported model; may be repeated. Else all there are.",
        ),
    ] = None,
    subset: Annotated[
        float | None, typer.Option(help="Training records used: a number, or a fraction up to 1.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the subset.")] = 0,
    by: Annotated[str, typer.Option(help="Sort by probe, knn, logme, leep, melep or size.")] = "probe",
    metric: Annotated[
        str, typer.Option(help="Of the probes (and the gain): f1_weighted, f1_macro, ...")
    ] = "f1_weighted",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    allow_simulated: Annotated[
        bool, typer.Option("--allow-simulated", help="Score simulated pre-trainings on real ECGs.")
    ] = False,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of a model's own backbone.")] = False,
    evidence: Annotated[
        bool, typer.Option("--evidence", help="Correlate the scores with the gains of finished runs.")
    ] = False,
    study: Annotated[Path | None, typer.Option(help="With --evidence: only the runs of this study file.")] = None,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="With --evidence: folder for tables and figure.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("checkpoints"),
) -> None:
    """Score pre-trained models on a corpus, from one forward pass each: MELEP, LogME, LEEP, a linear probe, kNN.

    Training and validation records are looked at, never test records.
    """
    _refuse_unheeded(
        {"--json": as_json, "--subset": subset is not None, "--from": bool(upstreams), "--by": by != "probe",
         "--seed": seed != 0, "--allow-simulated": allow_simulated, **dict.fromkeys(overrides or (), True)}
        if evidence
        else {"--study": study is not None, "--to": to is not None},
        with_evidence=evidence,
    )  # fmt: skip
    if evidence:
        _evidence(downstream, study, to or default_folder(output), metric, output, trust=trust)
        return
    if downstream is None:
        raise ValueError("which corpus? ecg-transfer transferability DOWNSTREAM, or --evidence")
    with loading():
        from ecg_transfer.upstream_choice.transferability import transferability as scored

    found = scored(
        downstream,
        upstreams or None,
        subset=subset,
        seed=seed,
        metric=metric,
        sort_by=by,
        overrides=overrides or (),
        output=output,
        allow_simulated=allow_simulated,
        trust=trust,
    )
    if as_json:
        import json

        typer.echo(json.dumps(found.as_dict(), indent=2))
        return
    _print(found, default_folder(output))


def _refuse_unheeded(given: dict[str, bool], *, with_evidence: bool) -> None:
    """Refuse options that change nothing: who gave them believes them in force."""
    unheeded = [name for name, is_given in given.items() if is_given]
    if unheeded:
        word = "beside" if with_evidence else "without"
        raise ValueError(f"{', '.join(unheeded)} changes nothing {word} --evidence: leave it out")


def default_folder(output: Path) -> Path:
    """Where `--evidence` leaves its files unless told otherwise."""
    return output / "reports" / "transferability"


def _evidence(
    downstream: str | None, study: Path | None, folder: Path, metric: str, output: Path, *, trust: bool
) -> None:
    from ecg_transfer.finished_runs import finished_runs
    from ecg_transfer.runs import find_runs
    from ecg_transfer.upstream_choice.evidence_files import write_evidence

    runs = finished_runs(find_runs(output))
    if study is not None:
        from ecg_transfer.study.chosen import choose
        from ecg_transfer.study.definition import read_study
        from ecg_transfer.study.plan import make_plan

        runs, notes = choose(runs, [planned.run for planned in make_plan(read_study(study), output, absent=True).runs])
        for note in notes:
            typer.echo(f"  {note}", err=True)
    if downstream is not None:
        runs = [run for run in runs if run.name.startswith("pretrain-") or run.config.data.corpus == downstream]
    lines = write_evidence(
        runs,
        folder,
        output=output,
        metric=metric,
        trust=trust,
        report=lambda text: typer.echo(f"  {text}", err=True),
    )
    for line in lines:
        typer.echo(line)


def _print(found: Transferability, folder: Path) -> None:
    from rich.table import Table

    from ecg_transfer.tables import terminal
    from ecg_transfer.upstream_choice.scores import MEASURES

    console = terminal()
    kind = "SIMULATED ECGs" if found.simulated else "real ECGs"
    console.print(
        f"\n{found.downstream} [{kind}]: {found.num_train} training and {found.num_val} validation records, "
        f"{len(found.label_names)} labels; no test record was looked at",
        markup=False, style="bold",
    )  # fmt: skip
    titles = [measure.title + " *" * (name == found.sorted_by) for name, measure in MEASURES.items()]
    table = Table("upstream", "backbone", *titles, "seconds", "run or model", box=None, padding=(0, 2, 0, 0))
    for one in found.candidates:
        values = [getattr(one, name) for name in MEASURES]
        texts = [
            "-" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3f}" for value in values
        ]
        table.add_row(one.corpus, one.backbone, *texts, f"{one.seconds:.1f}", one.upstream)
    console.print(table)
    console.print(f"* sorted by. probe and kNN are {found.metric} at a threshold of 0.5.", markup=False)
    for measure in MEASURES.values():
        console.print(f"  {measure.title:8} {measure.meaning}", markup=False)
    for one in found.candidates:
        for note in one.notes:
            console.print(f"note: {one.upstream} {note}", markup=False)
    console.print(_worth(folder), markup=False)


def _worth(folder: Path) -> str:
    """What is known of how well the scores went with gains that were measured."""
    from ecg_transfer.upstream_choice.evidence_files import CORRELATIONS

    path = folder / CORRELATIONS
    if not path.exists():
        return (
            "These are promises, not gains. Once fine-tunings and trainings from scratch are finished, `ecg-transfer "
            "transferability --evidence` says how well each score went with the gain."
        )
    import pandas as pd

    rows = pd.read_csv(path)
    rows = rows[(rows["statistic"] == "tau_w") & (rows["scope"] == "all cells") & rows["estimate"].notna()]
    if rows.empty:
        return f"How well these scores go with measured gains cannot be told yet: too few cells ({path})."
    first = rows[rows["setting"] == rows["setting"].iloc[0]]
    kind = "SIMULATED" if bool(first["simulated"].iloc[0]) else "real"
    told = ", ".join(
        f"{row['measure']} {row['estimate']:+.2f}"
        + (f" [{row['low']:+.2f}, {row['high']:+.2f}]" if pd.notna(row["low"]) else " (no interval)")
        for _, row in first.iterrows()
    )
    return f"Weighted Kendall tau with the gain measured in {first['num_cells'].max()} cells ({kind} ECGs): {told}"
