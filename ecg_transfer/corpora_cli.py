"""`ecg-transfer corpora`: list them, add your own."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ecg_transfer.loading import loading

if TYPE_CHECKING:
    from data_modules.own.own_corpus import OwnCorpus
    from data_modules.reading import ReadingOptions

app = typer.Typer(
    help="List the corpora: on disk? complete? simulated? `corpora add` takes your own.", rich_markup_mode=None
)

Root = Annotated[Path | None, typer.Option(help="Folder of the corpora; else ECG_DATA_ROOT, else data.")]
Unit = Annotated[str | None, typer.Option(help="mV, uV or V, where the files do not say it.")]
Gain = Annotated[float | None, typer.Option(help="A/D units per mV, for raw counts.")]
Leads = Annotated[str | None, typer.Option(help="Names of the signals in the files' order: I,II,III,...; - for none.")]
Rate = Annotated[int | None, typer.Option(help="Hz, where the files do not say it.")]
MissingLeads = Annotated[str, typer.Option(help="refuse, or zero: what is done where leads cannot be derived.")]
Dataset = Annotated[str | None, typer.Option(help="Array of an HDF5 or NPZ file that holds the signals.")]
FormatName = Annotated[str | None, typer.Option("--format", help="wfdb, csv, npy, npz, hdf5, edf or dicom.")]
Column = Annotated[str | None, typer.Option(help="Column of the table, where it is not recognised.")]


@app.callback(invoke_without_command=True)
def show(context: typer.Context, root: Root = None) -> None:
    """List the corpora: on disk? complete? simulated?"""
    if context.invoked_subcommand is None:
        from ecg_transfer.tables import print_corpora

        print_corpora(root)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What it is to be called.")],
    path: Annotated[Path, typer.Argument(help="Folder of records, or one HDF5 or NPY file of many.")],
    labels: Annotated[
        Path | None, typer.Option(help="CSV table: a column of 0 and 1 a label, or one of names with ; between them.")
    ] = None,
    unit: Unit = None,
    gain: Gain = None,
    leads: Leads = None,
    rate: Rate = None,
    missing_leads: MissingLeads = "refuse",
    dataset: Dataset = None,
    format_name: FormatName = None,
    label_names: Annotated[
        str | None, typer.Option(help="Labels to keep: AF,LBBB; renamed: 164889003=AF,...; all by default.")
    ] = None,
    label_column: Column = None,
    record_column: Column = None,
    patient_column: Column = None,
    fold_column: Column = None,
    in_order: Annotated[bool, typer.Option("--in-order", help="The table's rows are the records in order.")] = False,
    short: Annotated[str, typer.Option(help="pad or set_aside: recordings shorter than a model's input.")] = "pad",
    replace: Annotated[bool, typer.Option("--replace", help="Describe a corpus of this name anew.")] = False,
    root: Root = None,
) -> None:
    """Look at your own records, say what was found, and make them a corpus: pretrain, finetune, scratch take its name.

    WFDB, CSV, NPY, NPZ, HDF5, EDF and DICOM. What cannot be seen is not guessed: it says what the data suggest and
    which option settles it, and adds nothing.
    """
    from data_modules.own.adding import add_corpus
    from data_modules.own.definition import definition_path
    from data_modules.own.label_survey import LabelOptions
    from data_modules.sources import data_root, will_simulate

    home = data_root(root)
    corpus = add_corpus(
        name,
        path,
        root=home,
        labels=labels,
        reading=reading_options(unit, gain, leads, rate, missing_leads, dataset),
        label_options=LabelOptions(
            names=_listed(label_names),
            record_column=record_column,
            in_order=in_order,
            label_column=label_column,
            patient_column=patient_column,
            fold_column=fold_column,
        ),
        format_name=format_name,
        short="set_aside" if one_of("--short", short, ("pad", "set_aside")) == "set_aside" else "pad",
        replace_old=replace,
        say=typer.echo,
    )
    if missing := _missing_part(corpus, home):
        typer.echo(f"\nwrote {definition_path(home, name)}; it cannot be trained on yet: {missing}")
        return
    typer.echo(f"\nwrote {definition_path(home, name)}; now for example:")
    there = "" if root is None else f" data.root={quote(str(home))}"
    upstream = next((known for known in ("ptbxl", "cpsc2018") if not will_simulate(known, home, "auto")), None)
    if upstream is None:
        typer.echo(f"  ecg-transfer scratch {corpus.spec.name} --recipe modern{there}")
        typer.echo("  ecg-transfer data download ptbxl --rate 100     # real ECGs to pre-train on")
    else:
        command = f"finetune {corpus.spec.name} --upstream {upstream} --with-pretrain --recipe modern"
        typer.echo(f"  ecg-transfer {command}{there}")


def _missing_part(corpus: OwnCorpus, root: Path) -> str:
    """Why a run would not begin: a part of the split without records; nothing where all have some."""
    with loading():
        from data_modules.config import DataConfig
        from data_modules.datamodule import ECGDataModule

    try:
        ECGDataModule(DataConfig(corpus=corpus.spec.name, root=str(root)), corpus=corpus).setup()
    except ValueError as error:
        return str(error)
    return ""


def reading_options(
    unit: str | None, gain: float | None, leads: str | None, rate: int | None, missing_leads: str, dataset: str | None
) -> ReadingOptions:
    """The options of the command line as one object.

    Raises:
        BadParameter: A value that is none of its values.
    """
    from data_modules.formats.raw_record import MILLIVOLTS
    from data_modules.reading import ReadingOptions

    if gain is not None and not 0 < gain < float("inf"):
        raise typer.BadParameter(f"--gain is {gain:g}, expected a positive number of A/D units per mV")
    if gain is not None and unit is not None:
        raise typer.BadParameter("--unit and --gain say the same thing; give one of them")
    if unit is not None:
        one_of("--unit", unit, tuple(MILLIVOLTS))
    return ReadingOptions(
        unit=unit,  # type: ignore[arg-type]
        gain=gain,
        leads=_listed(leads) or None,
        sampling_rate=rate,
        missing_leads="zero" if one_of("--missing-leads", missing_leads, ("refuse", "zero")) == "zero" else "refuse",
        dataset=dataset,
    )


def one_of(option: str, value: str, choices: tuple[str, ...]) -> str:
    """The value, if it is one of the choices.

    Raises:
        BadParameter: It is not.
    """
    if value not in choices:
        raise typer.BadParameter(f"{option} is {value!r}, expected {' or '.join(choices)}")
    return value


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()
