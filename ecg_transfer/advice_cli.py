"""`ecg-transfer advise`: a page in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecg_transfer.loading import loading


def advise(
    downstream: Annotated[str, typer.Argument(help="Corpus that is to be trained on, published or your own.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Fields of its data: data.label_set=all", metavar="[FIELD=VALUE]...")
    ] = None,
    subset: Annotated[float | None, typer.Option(help="Training records there will be; all by default.")] = None,
    metric: Annotated[str, typer.Option(help="f1_weighted or f1_macro")] = "f1_weighted",
    html: Annotated[Path | None, typer.Option(help="Also write it as a page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    probe: Annotated[bool, typer.Option(help="Measure this machine's speed where it is not known.")] = True,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("checkpoints"),
) -> None:
    """Which upstream, backbone and way, what to expect, at what cost, how sure: from the finished runs here."""
    with loading():
        from ecg_transfer.advice.advise import advise as advised

    found = advised(
        downstream,
        subset=subset,
        metric=metric,
        overrides=overrides or (),
        output=output,
        measure=probe,
        report=lambda sentence: typer.echo(sentence, err=True),
    )
    if html is not None:
        from ecg_transfer.advice.page import write_page

        write_page(found, html)
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps(asdict(found), indent=2, allow_nan=False))
        return
    typer.echo(found.text())
    if html is not None:
        typer.echo(f"page: {html}")
