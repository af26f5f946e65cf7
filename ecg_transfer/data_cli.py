"""`ecg-transfer data ...`: corpora from their publishers, and what may be wrong with any."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecg_transfer.recipes import RECIPES

app = typer.Typer(
    help="Corpora: download and verify published ones, check any.", no_args_is_help=True, rich_markup_mode=None
)

Root = Annotated[Path | None, typer.Option(help="Folder of the corpora; else ECG_DATA_ROOT, else data.")]
Name = Annotated[str, typer.Argument(help="ptbxl, cpsc2018, georgia, ptb or ribeiro")]
Rate = Annotated[int | None, typer.Option(help="Hz, for ptbxl: 100 or 500; both by default.")]


@app.command()
def download(
    name: Name,
    rate: Rate = None,
    root: Root = None,
    mirror: Annotated[
        str | None, typer.Option(help="Address of the files in place of the publisher's; `s3` is PhysioNet's own copy.")
    ] = None,
    trust_mirror: Annotated[
        bool, typer.Option("--trust-mirror", help="Take the list of checksums from the mirror, too.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Fetch files anew that are there with another content.")
    ] = False,
    connections: Annotated[int, typer.Option(min=1, max=32, help="Files at a time.")] = 8,
) -> None:
    """Download a corpus, each file checked against its publisher's list. Interrupted, the same command goes on.

    Exit codes: 0 all is there; 1 an error, which a sentence explains; 2 wrong usage; 130 Ctrl-C.
    """
    from data_modules.download import download as fetch
    from data_modules.sources import corpus_named, data_root

    spec = corpus_named(name).spec
    typer.echo(f"{spec.title}, version {spec.version}, licence {spec.licence}: {spec.url}")
    try:
        source = fetch(
            name,
            root=root,
            rate=rate,
            mirror=mirror,
            trust_mirror=trust_mirror,
            replace_wrong=replace,
            connections=connections,
        )
    except KeyboardInterrupt:
        typer.echo("\ninterrupted: the same command goes on from here", err=True)
        raise SystemExit(130) from None
    typer.echo(f"{len(source.files):,} files, each with its published checksum, in {data_root(root) / name}")
    typer.echo(f"If you use them, cite: {spec.citation}")


@app.command()
def verify(name: Name, rate: Rate = None, root: Root = None) -> None:
    """Hash every file of a corpus again. Exit code 1 where one is missing or has another content."""
    from data_modules.download import verify as compare

    found = compare(name, root=root, rate=rate)
    typer.echo(f"{name}: {found.sentence()}")
    if not found.is_whole:
        raise SystemExit(1)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A corpus, published or your own.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="How a run would have it: data.split=paper", metavar="[FIELD=VALUE]...")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="A corpus, or a pre-training's name, whose training records are compared.")
    ] = None,
    files: Annotated[
        bool, typer.Option("--files", help="Read every record file again and compare it with the cache.")
    ] = False,
    csv: Annotated[Path | None, typer.Option(help="Also write all findings into this table.")] = None,
    recipe: Annotated[str, typer.Option(help=", ".join(RECIPES))] = "paper",
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("checkpoints"),
    root: Root = None,
) -> None:
    """Look for what makes scores wrong without an error: copies and patients on two sides, gains, leads.

    Copies are found at another rate, gain or filter, too. Nothing is set aside or changed. Exit code 1 where --files
    finds a record file that is not what the cache was built from.
    """
    from data_modules.corpus_check import check_corpus
    from data_modules.reread import changed_records
    from ecg_transfer.check_table import print_findings, write_findings
    from ecg_transfer.checks import data_to_check

    given = [*(overrides or ()), *([f"data.root={root}"] if root is not None else [])]
    data, upstreams = data_to_check(name, against, recipe=recipe, overrides=given, output=output)
    findings = check_corpus(data, *upstreams)
    changed = changed_records(data) if files else {}
    print_findings(data, findings, upstreams)
    if csv is not None:
        write_findings(csv, findings)
        typer.echo(f"all of them: {csv}")
    if files:
        typer.echo(
            f"record files read again: {len(data.record_ids):,}, not what the cache was built from: {len(changed)}"
        )
        for record_id, detail in list(changed.items())[:8]:
            typer.echo(f"  {record_id}: {detail}")
    if changed:
        raise SystemExit(1)
