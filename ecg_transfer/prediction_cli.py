"""`ecg-transfer predict`: a model's findings for files, as a table and as drawn ECGs."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from ecg_transfer.corpora_cli import Dataset, FormatName, Gain, Leads, MissingLeads, Rate, Unit
from ecg_transfer.loading import loading

if TYPE_CHECKING:
    from data_modules.reading import ReadingOptions
    from ecg_transfer.loaded_model import LoadedModel
    from ecg_transfer.prediction import FilePrediction

BAD_FILES = 3
"""Exit code where some files could not be used."""

MAX_DRAWN_SECONDS = 300
"""Of a recording that a picture shows: a longer one would be wider than programs open, and take gigabytes to draw."""


def predict(
    model: Annotated[str, typer.Argument(help="A run's name or directory, or an exported model's folder.")],
    files: Annotated[list[Path], typer.Argument(help="Files, or folders of them.")],
    table: Annotated[str, typer.Option("--table", "-o", help="CSV to write; - is the terminal.")] = "-",
    plot: Annotated[
        Path | None,
        typer.Option(help="Also draw each ECG, up to 5 minutes of it, with its findings into this folder."),
    ] = None,
    windows: Annotated[
        bool, typer.Option("--windows", help="Average over the whole of longer recordings, window by window.")
    ] = False,
    unit: Unit = None,
    gain: Gain = None,
    leads: Leads = None,
    rate: Rate = None,
    missing_leads: MissingLeads = "refuse",
    dataset: Dataset = None,
    format_name: FormatName = None,
    like: Annotated[str | None, typer.Option(help="Read the files as those of this corpus of your own.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of a model's own backbone.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("checkpoints"),
) -> None:
    """Probabilities and findings of a model for your files. Not a medical device.

    Bad files are reported, skipped, and make the exit code 3.
    """
    from data_modules.formats import FORMATS
    from ecg_transfer.corpora_cli import one_of, reading_options

    with loading():
        from ecg_transfer.loaded_model import load_model
        from ecg_transfer.prediction import predict_files

    if format_name is not None:
        one_of("--format", format_name, tuple(FORMATS))
    reading = reading_options(unit, gain, leads, rate, missing_leads, dataset)
    if plot is not None and plot.exists() and not plot.is_dir():
        raise typer.BadParameter(f"--plot is {plot}, which is a file; name a folder for the pictures")
    if like is not None:
        if reading != reading_options(None, None, None, None, "refuse", None):
            raise typer.BadParameter(f"--like reads as {like} is read; leave the other options of reading out")
        reading, format_name = _read_like(like, format_name)
    if table != "-":
        _require_place(Path(table), files, format_name)
    loaded = load_model(model, output=output, trust=trust)
    results = predict_files(
        loaded,
        files,
        reading=reading,
        format_name=format_name,
        windows=windows,
        keep_records=plot is not None,
    )
    with _stream(table) as stream:
        num_done, num_bad = write_table(stream, loaded, results, plot)
    typer.echo(f"{num_done} records predicted by {loaded.title}, {num_bad} skipped", err=True)
    if num_bad:
        raise SystemExit(BAD_FILES)


def _require_place(table: Path, files: Iterable[Path], format_name: str | None) -> None:
    """Refuse a table that cannot be written, or would take the place of a recording, before anything is predicted.

    Raises:
        BadParameter: It is a folder, or one of the files to be read.
    """
    from data_modules.formats import FORMATS
    from data_modules.formats.wfdb import header_of
    from data_modules.own.listing import record_files

    if table.is_dir():
        raise typer.BadParameter(f"--table is {table}, which is a folder; name a file in it")
    if not table.exists():
        return
    formats = FORMATS.values() if format_name is None else [FORMATS[format_name]]
    read = {
        file.resolve()
        for given in map(header_of, files)
        for file in (record_files(given, formats) if given.is_dir() else [given])
    }
    if not read.isdisjoint({table.resolve(), header_of(table).resolve()}):
        raise typer.BadParameter(f"--table is {table}, one of the recordings to be read; name another file")


def _read_like(name: str, format_name: str | None) -> tuple[ReadingOptions, str]:
    """How the files of an own corpus are read, and their format where none is named.

    Raises:
        BadParameter: It is no corpus of the user's own.
        ValueError: It is none at all.
    """
    from data_modules.own.definition import definition_path, load_definition
    from data_modules.sources import corpus_named, data_root, is_own

    if not is_own(name):
        title = corpus_named(name).spec.title
        raise typer.BadParameter(f"--like is {name}, the published {title}; it takes a corpus of your own")
    definition = load_definition(definition_path(data_root(), name))
    return definition.reading, format_name or definition.format


def write_table(
    stream: TextIO, model: LoadedModel, results: Iterable[FilePrediction], plot: Path | None = None
) -> tuple[int, int]:
    """Write one row a record as the results come: probabilities, findings, notes; report bad ones.

    Args:
        stream: Where the CSV goes.
        model: Whose results they are.
        results: From `predict_files`.
        plot: Folder for a PNG a record, if wanted.

    Returns:
        How many records were predicted, how many skipped.
    """
    from tqdm import tqdm

    from ecg_transfer.loaded_model import TRAINED_ON_SIMULATED

    names, mark = model.label_names, [f"model {TRAINED_ON_SIMULATED}"] if model.simulated else []
    writer = csv.writer(stream)
    writer.writerow(["record", *names, "findings", "findings_at_0.5", "notes"])
    drawn: set[Path] = set()
    num_done = num_bad = 0
    bar = tqdm(results, unit=" records", disable=None, desc="predicting")
    for result in bar:
        if result.error is not None:
            num_bad += 1
            bar.write(f"skipped {result.name}: {result.error}", file=sys.stderr)
            continue
        probabilities = result.probabilities
        tuned = [name for name, p, t in zip(names, probabilities, model.thresholds, strict=True) if p > t]
        plain = [name for name, p in zip(names, probabilities, strict=True) if p > 0.5]
        values = [f"{value:.6g}" for value in probabilities]
        writer.writerow([result.name, *values, ";".join(tuned), ";".join(plain), ";".join([*result.notes, *mark])])
        num_done += 1
        if plot is not None:
            found = {name: float(p) for name, p in zip(names, probabilities, strict=True) if name in tuned}
            drawn.add(_draw(plot, result, found, drawn, mark))
    return num_done, num_bad


def _draw(
    folder: Path, result: FilePrediction, findings: dict[str, float], drawn: Collection[Path], mark: Sequence[str]
) -> Path:
    """Draw a record in place of an earlier call's picture of it; `drawn` are those of this call.

    Args:
        folder: Where to.
        result: With its recording.
        findings: Probability by label.
        drawn: Pictures that must stay.
        mark: What is to be said of the model beside the record's name.
    """
    from data_modules.plot import plot_ecg

    assert result.record is not None
    folder.mkdir(parents=True, exist_ok=True)
    shown = findings or ["no finding above its threshold"]
    signal, rate = result.record.signal, result.record.sampling_rate
    drawn_samples = MAX_DRAWN_SECONDS * rate
    cut = [f"the first {MAX_DRAWN_SECONDS} of {signal.shape[1] / rate:,.0f} s"] * (signal.shape[1] > drawn_samples)
    title = "   ".join([Path(result.name).name, *cut, *mark])
    figure = plot_ecg(signal[:, :drawn_samples], rate, title=title, findings=shown)
    path = _free(folder, Path(result.name).name.replace(":", "-"), drawn)
    figure.savefig(path)
    return path


def _free(folder: Path, stem: str, drawn: Collection[Path]) -> Path:
    """A name that no other picture of this call has: records of two folders may be called the same."""
    path, number = folder / f"{stem}.png", 1
    while path in drawn:
        number += 1
        path = folder / f"{stem}-{number}.png"
    return path


@contextmanager
def _stream(table: str) -> Iterator[TextIO]:
    if table == "-":
        yield sys.stdout
        return
    from ecg_transfer.files import write_atomically

    with write_atomically(Path(table)) as raw:
        stream = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        yield stream
        stream.detach()  # flushes, and leaves closing to the one who opened
