"""`ecg-transfer export`: a run's model as one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecg_transfer.loading import loading


def export(
    run: Annotated[str, typer.Argument(help="A run's name or directory.")],
    to: Annotated[Path, typer.Option("--to", "-o", help="Folder to write; must not be there yet.")],
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Also model.onnx, raw millivolts in, probabilities out.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, help="Hz of the recordings that model.onnx takes.")] = 500,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of the run's own backbone.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("checkpoints"),
) -> None:
    """Write a finished run's model as one folder: weights, card, scores, provenance; ready for the Hugging Face Hub."""
    with loading():
        from ecg_transfer.export import export_run
        from ecg_transfer.model_folder import read_model_folder
        from ecg_transfer.runs import open_run

    folder = read_model_folder(export_run(open_run(run, output), to, onnx=onnx, rate=rate, trust=trust))
    kind = "SIMULATED ECGs" if folder.simulated else "real ECGs"
    typer.echo(f"{folder.full_name} [{kind}]: {len(folder.label_names)} labels, {folder.backbone}")
    for path in sorted(folder.path.iterdir()):
        typer.echo(f"  {path.stat().st_size:>12,}  {path}")
