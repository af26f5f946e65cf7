"""The report of a study: one self-contained HTML page, its figures as PNG and SVG, its tables as CSV."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from data_modules.forked import forked_map
from ecg_transfer.drawing import INK, picture, style
from ecg_transfer.files import write_atomically
from ecg_transfer.leaks import leak_sentences
from ecg_transfer.runs import Run
from ecg_transfer.study.apart import read_apart
from ecg_transfer.study.arrangement import (
    Setting,
    metric_name,
    settings_of,
)
from ecg_transfer.study.benchmark import Measured, benchmark_frame, benchmark_table, measure
from ecg_transfer.study.bootstrap import NUM_DRAWS
from ecg_transfer.study.claims import judge
from ecg_transfer.study.contests import contests_table
from ecg_transfer.study.effects import CellEffect, cell_effects, effects_table
from ecg_transfer.study.evidence import ClaimResult
from ecg_transfer.study.exhibit_tables import (
    effect_table,
    equivalence_table,
    label_tables,
    runs_table,
    score_table,
    speed_table,
)
from ecg_transfer.study.figures.bars import bar_chart
from ecg_transfer.study.figures.dots import score_dots, speed_dots
from ecg_transfer.study.figures.epochs import curve_figures
from ecg_transfer.study.figures.exhibit import Exhibit, several
from ecg_transfer.study.figures.sizes import improvement_by_size, learning_curve_figure
from ecg_transfer.study.figures.upstreams import upstream_exhibits
from ecg_transfer.study.learning_curve import learning_curves
from ecg_transfer.study.optimism import optimism_summary
from ecg_transfer.study.page import Anchors, Table, run_link
from ecg_transfer.study.pairs import Cell, find_cells
from ecg_transfer.study.report_text import answer, counts, left_out, one_draw, one_seed, simulated_text, ways_answer
from ecg_transfer.study.results import Study, write_results
from ecg_transfer.study.speed import Speed, cell_speeds, speeds_table, split_curves
from ecg_transfer.study.study_tables import (
    claims_frame,
    claims_table,
    corpora_table,
    cost_table,
    estimate_text,
    hardware_name,
    optimism_table,
    provenance_table,
)
from ecg_transfer.study.upstream_cells import gone_upstreams
from ecg_transfer.study.upstream_contests import UpstreamContests, read_upstream_contests, upstream_table
from ecg_transfer.study.way_tables import way_table
from ecg_transfer.study.ways import Ways, read_ways

MAX_SETTINGS = 3
"""Settings that get figures; the CSV files have all."""

MAX_ROWS = 1000
"""Rows of the page's longest tables; the CSV files have all."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What one setting shows."""

    setting: Setting
    exhibits: list[tuple[Exhibit, tuple[Markup, str]]]
    """Figures in the paper's order, each with its SVG and the name of its files."""
    scores: Table
    speeds: Table
    equivalence: Table
    labels: list[Table]


def write_report(
    runs: Iterable[Run],
    folder: Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    metric: str = "f1_weighted",
    num_draws: int = NUM_DRAWS,
) -> Path:
    """Write `report.html`, `figures/` and `tables/` into a folder.

    The same runs give the same bytes, but for what a clock measured: the sections on cost, and seconds in the tables.

    Args:
        runs: Those of the study; unfinished ones are counted and left out.
        folder: Where; links to run directories are relative to it.
        title: Of the page.
        notes: Sentences to print at the top, runs that a plan left out say.
        metric: A test score of `results.METRICS`; the verdicts are declared for `f1_weighted`, others are exploratory.
        num_draws: Of the bootstrap.

    Returns:
        The page.
    """
    every = sorted(runs, key=lambda run: run.path)
    finished = [run for run in every if run.is_done]
    study, manifests = read_apart(finished)
    effects = cell_effects(find_cells(study.results), metric, num_draws=num_draws)
    speeds = cell_speeds([effect.cell for effect in effects], study.curves, num_draws=num_draws)
    settings = settings_of(effects)
    claims = judge(study, effects=effects, speeds=speeds)
    ways = read_ways(study, metric, num_draws)
    kinds = read_upstream_contests(study.results, metric, num_draws)
    condition_of = {id(effect.cell): setting.condition for setting in settings for effect in setting.effects}
    cells = [effect.cell for setting in settings for effect in setting.effects] + ways.cells
    anchors = Anchors(cells)
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    sections = [
        _section(setting, study, speeds, anchors, metric, folder, number)
        for number, setting in enumerate(settings[:MAX_SETTINGS])
    ]
    summary = optimism_summary(study.results) if len(study.results) else pd.DataFrame()
    benchmark = measure(study.results, num_draws=num_draws)
    _write_tables(folder / "tables", study, effects, condition_of, claims, speeds, summary, ways, kinds, benchmark)
    said = [
        *notes,
        *leak_sentences(manifests.values()),
        *one_draw(study),
        *one_seed(effects),
        *gone_upstreams(study.results),
        *left_out(every, len(settings[MAX_SETTINGS:])),
    ]
    page = _environment().get_template("report.html.j2").render(
        title=title,
        css=Markup(files("ecg_transfer.study").joinpath("templates/report.css").read_text()),
        answers=[text for text in (ways_answer(ways.families), answer(settings, benchmark)) if text],
        counts=counts(every, study, effects),
        simulated=simulated_text(study),
        notes=said,
        claims=claims[:4],
        estimate_text=estimate_text,
        several=several,
        sections=sections,
        way_exhibits=_write_exhibits(ways.exhibits(metric), folder),
        upstream_exhibits=_write_exhibits(upstream_exhibits(kinds, metric), folder),
        metric=metric_name(metric),
        tables={
            "corpora": corpora_table(manifests.values()),
            "benchmark": benchmark_table(benchmark, folder),
            "claims": claims_table(claims),
            "ways": way_table(ways.families, ways.speeds, anchors, metric),
            "kinds": upstream_table(kinds, metric),
            "effects": effect_table(settings, anchors, metric, MAX_ROWS),
            "optimism": optimism_table(summary),
            "cost": cost_table(study.results, {name: hardware_name(each) for name, each in manifests.items()}),
            "provenance": provenance_table(list(manifests.values()), study.results),
            "runs": runs_table(cells, anchors, f"val_selected/{metric}", folder, condition_of),
        },
        hours=float(study.results["seconds"].sum()) / 3600 if len(study.results) else 0.0,
        other_runs=_unpaired(study, effects, folder),
    )  # fmt: skip
    path = folder / "report.html"
    with write_atomically(path) as stream:
        stream.write(page.encode())
    return path


def _section(
    setting: Setting, study: Study, speeds: Sequence[Speed], anchors: Anchors, metric: str, folder: Path, number: int
) -> Section:
    cells = {id(effect.cell) for effect in setting.effects}
    own = [speed for speed in speeds if id(speed.cell) in cells]
    place = {name: number for number, name in enumerate(setting.backbones)}
    curves = sorted(
        learning_curves(setting.effects), key=lambda curve: place.get(curve.points[0].cell.backbone, len(place))
    )
    names = [name for effect in setting.places.values() for arm in ("finetune", "scratch")
             for name in effect.cell.pairs[f"run_{arm}"]]  # fmt: skip
    by_run = split_curves(study.curves[study.curves["run"].isin(names)])
    suffix = f"-{number + 1}" if number else ""
    with style():
        drawn = [
            bar_chart(setting, metric),
            score_dots(setting, metric),
            improvement_by_size(setting, curves, metric),
            *curve_figures(setting, by_run, metric),
            learning_curve_figure(setting, curves, metric),
            speed_dots(setting, own),
        ]
        exhibits = [exhibit for exhibit in drawn if exhibit is not None]

        def write(place: int) -> tuple[Markup, str]:  # by number: a figure is inherited, it cannot be pickled
            return _write_figure(exhibits[place], folder / "figures", suffix)

        written = list(forked_map(write, range(len(exhibits))))
    return Section(
        setting=setting,
        exhibits=list(zip(exhibits, written, strict=True)),
        scores=score_table(setting, anchors, metric, f"table-2{suffix}"),
        speeds=speed_table(setting, own, anchors),
        equivalence=equivalence_table(curves, anchors),
        labels=label_tables(setting, study.labels, anchors),
    )


def _write_exhibits(exhibits: Sequence[Exhibit], folder: Path) -> list[tuple[Exhibit, tuple[Markup, str]]]:
    with style():
        return [(exhibit, _write_figure(exhibit, folder / "figures", "")) for exhibit in exhibits]


def _write_figure(exhibit: Exhibit, folder: Path, suffix: str) -> tuple[Markup, str]:
    """Write a figure's two files; give its SVG for the page, and their name."""
    name = f"{exhibit.slug}{suffix}"
    svg = picture(exhibit.figure, "svg")
    for kind, content in (("svg", svg), ("png", picture(exhibit.figure, "png"))):
        with write_atomically(folder / f"{name}.{kind}") as stream:
            stream.write(content)
    return inline_svg(svg.decode(), name), name


def inline_svg(svg: str, prefix: str) -> Markup:
    """An SVG for a page: without the XML prologue and metadata, its ids unique, its ink the page's text colour.

    Only our own drawings go this way, whose texts are paths: nothing of it needs to be escaped.

    Args:
        svg: As matplotlib writes it.
        prefix: Of the ids, one for each figure of the page.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*">', "<g>", body)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', body, flags=re.DOTALL
    )
    return Markup(body.replace(INK, "currentColor"))


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("ecg_transfer.study", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _write_tables(
    folder: Path,
    study: Study,
    effects: Sequence[CellEffect],
    condition_of: Mapping[int, str],
    claims: Sequence[ClaimResult],
    speeds: Sequence[Speed],
    optimism: pd.DataFrame,
    ways: Ways,
    kinds: UpstreamContests,
    benchmark: Sequence[Measured],
) -> None:
    results = study.results
    if len(results):
        results = results.assign(path=[run_link(path, folder) for path in results["path"]])
    tables = {
        "results": results,
        "labels": study.labels,
        "effects": _with_conditions(effects_table(effects), [effect.cell for effect in effects], condition_of),
        "claims": claims_frame(claims),
        "speeds": _with_conditions(speeds_table(speeds), [speed.cell for speed in speeds], condition_of),
        "optimism": optimism,
        "benchmark": benchmark_frame(benchmark) if benchmark else None,
        "ways": contests_table(ways.contests, ways.effects) if ways.contests else None,
        "upstreams": kinds.frame() if kinds.contests else None,
    }
    for name, table in tables.items():
        if table is not None:
            write_results(table, folder / f"{name}.csv")
            continue
        for kind in ("csv", "parquet"):  # of a report of other runs that was here before
            (folder / f"{name}.{kind}").unlink(missing_ok=True)


def _with_conditions(table: pd.DataFrame, cells: Sequence[Cell], condition_of: Mapping[int, str]) -> pd.DataFrame:
    """A table of one row a cell, with what tells its setting from others of that name."""
    return table.assign(condition=[condition_of[id(cell)] for cell in cells]) if cells else table


def _unpaired(study: Study, effects: Sequence[CellEffect], folder: Path) -> list[tuple[str, str]]:
    """Finished runs of no comparison, pre-trainings above all, with their links."""
    paired = {
        str(name) for effect in effects for arm in ("finetune", "scratch") for name in effect.cell.pairs[f"run_{arm}"]
    }
    if not len(study.results):
        return []
    rows = study.results[~study.results["run"].isin(paired)]
    return [(str(run), run_link(path, folder)) for run, path in zip(rows["run"], rows["path"], strict=True)]
