from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ecg_transfer.files import write_json
from ecg_transfer.runs import find_runs
from ecg_transfer.study.arrangement import settings_of
from ecg_transfer.study.effects import cell_effects
from ecg_transfer.study.exhibit_tables import speed_table
from ecg_transfer.study.figures.epochs import curve_figures
from ecg_transfer.study.figures.sizes import _size_axis
from ecg_transfer.study.page import Anchors
from ecg_transfer.study.pairs import find_cells
from ecg_transfer.study.report import inline_svg, write_report
from ecg_transfer.study.report_text import answer
from ecg_transfer.study.speed import cell_speeds, split_curves
from tests.ecg_transfer.study.report_page import NUM_DRAWS, read_page, small_study

if TYPE_CHECKING:
    from conftest import FakeRuns


@pytest.fixture(scope="module")
def written(fake_runs_class: type[FakeRuns], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One report for the tests that only read it."""
    folder = tmp_path_factory.mktemp("study")
    runs = small_study(fake_runs_class(folder / "checkpoints"))
    return write_report(runs, folder / "report", title="A <study> & more", num_draws=NUM_DRAWS)


def test_the_numbers_of_the_page_are_those_of_the_runs(written: Path) -> None:
    page, results = read_page(written), pd.read_csv(written.parent / "tables" / "results.csv")
    rows = page.tables["table-2"]
    assert rows[0] == ["upstream", "model", "PTB (n=349)", "Ribeiro (n=554)"]
    means = results.groupby(["downstream", "backbone", "phase"])["val_selected/f1_weighted"].mean()
    effects = pd.read_csv(written.parent / "tables" / "effects.csv").set_index(["downstream", "backbone"])
    for row, backbone in zip(rows[1:], ("resnet1d18", "lstm"), strict=True):
        finetune, scratch = (means["ptb", backbone, phase] for phase in ("finetune", "scratch"))
        low, high = effects.loc[("ptb", backbone), ["low", "high"]]
        numbers = [float(n.replace("−", "-")) for n in re.findall(r"[+−]?\d\.\d+", row[2])]
        expected = [finetune, scratch, finetune - scratch, low, high]
        assert numbers == [float(f"{value:.3f}") for value in expected]
    assert rows[2][3] == "not run"


def test_every_link_leads_somewhere_and_nothing_is_loaded_from_outside(written: Path) -> None:
    page = read_page(written)
    anchors = {given["id"] for _, given in page.tags if "id" in given}
    for href in page.hrefs():
        if href.startswith("#"):
            assert href[1:] in anchors
        else:
            assert (written.parent / unquote(href)).exists(), href
    linked = {Path(unquote(href)).name for href in page.hrefs()}
    assert {run.name for run in find_runs(written.parents[1] / "checkpoints")} <= linked
    loaded = [given.get("src") or given.get("href", "") for tag, given in page.tags if tag in ("img", "script", "link")]
    assert loaded == ["data:,"]
    used = [given["xlink:href"] for tag, given in page.tags if tag == "use"]
    assert used
    assert all(address.startswith("#") for address in used)
    assert not re.search(r"url\((?!#)|@import", written.read_text())


def test_ids_are_unique_and_svg_references_resolve(written: Path) -> None:
    page = read_page(written)
    ids = [given["id"] for _, given in page.tags if "id" in given]
    assert len(ids) == len(set(ids))
    used = {given["xlink:href"][1:] for tag, given in page.tags if tag == "use"}
    used |= set(re.findall(r"url\(#([^)]+)\)", written.read_text()))
    assert used <= set(ids)


def test_figures_are_there_as_png_and_svg_with_their_alternative_texts(written: Path) -> None:
    names = sorted(path.name for path in (written.parent / "figures").iterdir())
    slugs = ("figure-1-bars", "figure-2-scores", "figure-3-size", "figure-4-curves-resnet1d18", "figure-7-curves-rnn",
             "figure-9-speed")  # fmt: skip
    assert names == sorted(f"{slug}.{kind}" for slug in slugs for kind in ("png", "svg"))
    drawn = [given for _, given in read_page(written).tags if given.get("role") == "img"]
    assert len(drawn) == len(slugs)
    assert all(len(given["aria-label"]) > 30 for given in drawn)
    results = pd.read_csv(written.parent / "tables" / "results.csv")
    chosen = results[(results["phase"] == "scratch") & (results["downstream"] == "ribeiro")]
    assert f"from scratch {chosen['val_selected/f1_weighted'].mean():.2f}" in drawn[0]["aria-label"]


def test_the_verdicts_come_first(written: Path) -> None:
    claims = pd.read_csv(written.parent / "tables" / "claims.csv")
    text = read_page(written).text
    assert claims["id"].tolist() == ["C1", "C2", "C3", "C4"]
    for claim in claims.to_dict("records"):
        assert text.index(f"{claim['id']}: {claim['verdict']}") < text.index("Corpora, as split")
        assert claim["reason"].partition(". ")[0] in text
    assert text.index("48 finished") < text.index("C1:")


def test_text_of_files_is_escaped(written: Path, fake_runs: FakeRuns, tmp_path: Path) -> None:
    html = written.read_text()
    assert "A &lt;study&gt; &amp; more" in html
    assert "<study>" not in html
    evil = '<img src=x onerror="alert(1)">'
    run = fake_runs.run("scratch", "georgia")
    path = run.path / "manifest.json"
    path.write_text(path.read_text().replace('"GEORGIA"', '"' + evil.replace('"', "'") + '"'))
    run.seal()
    page = write_report([run], tmp_path / "report", title="t", notes=[evil], num_draws=NUM_DRAWS)
    tags = [tag for tag, _ in read_page(page).tags]
    assert "img" not in tags
    assert "onerror" in read_page(page).text


def test_what_makes_scores_too_good_is_a_note(fake_runs: FakeRuns, tmp_path: Path) -> None:
    run = fake_runs.run("scratch", "georgia")
    manifest = json.loads((run.path / "manifest.json").read_text())
    write_json(run.path / "manifest.json", manifest | {"checks": {"copy_across_parts": 2}})
    run.seal()
    page = write_report([run], tmp_path / "report", title="t", num_draws=NUM_DRAWS)
    text = " ".join(read_page(page).text.split())
    assert "Test scores on georgia may be too good: 2 x one recording in two parts of the split" in text


@pytest.mark.parametrize("simulated", [False, True])
def test_simulated_is_said_of_all_that_is_and_of_nothing_else(
    fake_runs: FakeRuns, tmp_path: Path, simulated: bool
) -> None:
    runs = small_study(fake_runs, simulated=simulated, seeds=2)
    path = write_report(runs, tmp_path / "report", title="t", num_draws=NUM_DRAWS)
    page = read_page(path)
    assert ("SIMULATED" in path.read_text().partition("</style>")[2]) == simulated
    assert any(given.get("class") == "simulated-banner" for _, given in page.tags) == simulated
    assert any("SIMULATED: t" in word for word in page.words) == simulated
    for rows in (page.tables["table-1"], page.tables["runs"], page.tables["effects"], page.tables["optimism-table"]):
        kinds = {row[rows[0].index("ECGs")] for row in rows[1:]}
        assert kinds == {"SIMULATED" if simulated else "real"}
    drawn = [given["aria-label"] for _, given in page.tags if given.get("role") == "img"]
    assert drawn[0].startswith("Simulated") == simulated


def test_curves_stand_at_the_epochs_that_were_evaluated(
    make_study: Callable[..., Any], fake_cell: Callable[..., object]
) -> None:
    """Every tenth, say; scratch rises at update 50, its fifth evaluation."""
    study = make_study([fake_cell(finetune=[0.5] * 3, scratch=[0.5] * 3, finetune_updates=20)])
    curves, cells = study.curves.assign(epoch=10 * study.curves["epoch"]), find_cells(study.results)
    (setting,) = settings_of(cell_effects(cells, num_draws=20))
    (exhibit,) = curve_figures(setting, split_curves(curves), "f1_weighted")
    (finetune, scratch) = (line for axis in exhibit.figure.axes for line in axis.lines)
    for line, risen in ((finetune, 20), (scratch, 50)):
        assert line.get_xdata().tolist() == list(range(10, 101, 10))
        assert line.get_ydata().tolist() == pytest.approx([0.1 + 0.7 * (x >= risen) for x in line.get_xdata()])
    table = speed_table(setting, cell_speeds(cells, curves, num_draws=20), Anchors(cells))
    assert "after the first evaluated epoch (jump-start)" in table.caption


def test_seeds_of_a_panel_are_told_where_no_score_is_drawn(
    make_study: Callable[..., Any], fake_cell: Callable[..., object]
) -> None:
    study = make_study([fake_cell(finetune=[0.5] * 3, scratch=[0.5] * 3)])
    (setting,) = settings_of(cell_effects(find_cells(study.results), num_draws=20))
    (exhibit,) = curve_figures(setting, split_curves(study.curves), "f1_weighted")
    (axis,) = (axis for axis in exhibit.figure.axes if axis.lines)
    assert axis.get_title().endswith(", 3 seeds")
    assert not axis.texts


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ([46, 92, 184], [46, 92, 184]),
        ([1000], [1000]),
        ([184, 349, 360, 10_000], [360, 10_000]),
        ([100, 110, 120, 1000], [120, 1000]),
    ],
)
def test_a_size_axis_has_its_ticks_at_the_measured_sizes(sizes: list[int], named: list[int]) -> None:
    axis = Figure().subplots()
    axis.plot(sizes, [0.5] * len(sizes))
    _size_axis(axis, [*sizes, sizes[0]])
    assert axis.get_xticks().tolist() == named[::-1]
    assert sorted([*axis.get_xticks(), *axis.get_xticks(minor=True)]) == sizes
    axis.figure.draw_without_rendering()
    assert [label.get_text() for label in axis.get_xticklabels()] == [f"{size:,}" for size in named[::-1]]


def test_the_same_runs_give_the_same_bytes(fake_runs: FakeRuns, tmp_path: Path) -> None:
    runs = small_study(fake_runs, seeds=2)
    first, second = (
        write_report(order, tmp_path / name, title="t", num_draws=NUM_DRAWS).parent
        for name, order in (("first", runs), ("other", runs[::-1]))
    )
    files = sorted(path.relative_to(first) for path in first.rglob("*.*") if path.suffix != ".parquet")
    assert len(files) > 10
    figures = [path for path in files if path.parts[0] == "figures"]
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in figures)
    again = write_report(runs, tmp_path / "first", title="t", num_draws=NUM_DRAWS)
    assert again.read_bytes() == (second / "report.html").read_bytes()


def test_an_empty_study_and_one_without_pairs_say_so(fake_runs: FakeRuns, tmp_path: Path) -> None:
    empty = read_page(write_report([], tmp_path / "empty", title="t"))
    assert "no answer yet" in empty.text
    run = fake_runs.run("scratch")
    torn = fake_runs.run("scratch", seed=1)
    (torn.path / "DONE").unlink()
    page = read_page(write_report([run, torn], tmp_path / "report", title="t"))
    assert "no answer yet" in page.text
    assert "Not in this report: 1 unfinished run." in page.text
    assert any(run.name in href for href in page.hrefs())


def test_a_score_that_is_undefined_gives_no_answer(
    make_study: Callable[..., Any], fake_cell: Callable[..., object]
) -> None:
    """One label without positives in the test set has no AUROC; neither has their difference, nor a mean over it."""
    cells = [
        fake_cell(finetune=[value] * 6, scratch=[0.5] * 6, downstream=downstream)
        for value, downstream in ((float("nan"), "ptb"), (0.9, "georgia"))
    ]
    settings = settings_of(cell_effects(find_cells(make_study(cells).results), num_draws=20))
    said = answer(settings, [])
    assert said.startswith(
        "It cannot be told whether fine-tuning helps: the test weighted F1 is undefined in 1 of 2 comparisons."
    )
    assert "makes no difference" not in said


def test_labels_come_with_positives_and_seed_means(written: Path) -> None:
    rows = read_page(written).tables["labels-ribeiro"]
    tables = written.parent / "tables"
    runs, labels = pd.read_csv(tables / "results.csv"), pd.read_csv(tables / "labels.csv")
    scratch = runs[(runs["downstream"] == "ribeiro") & (runs["phase"] == "scratch")]["run"]
    for row in rows[1:]:
        found = labels[labels["run"].isin(scratch) & (labels["label"] == row[2])]
        assert row[3] == str(found["positives_test"].iloc[0])
        assert row[6] == f"{found['f1'].mean():.3f}"


def test_inline_svg_prefixes_what_refers_to_each_other() -> None:
    svg = '<?xml?><svg width="1" viewBox="0 0 1 1"><g id="axes_1"><clipPath id="c"/><use xlink:href="#m"/></g>'
    svg += '<path clip-path="url(#c)" style="fill: #1f2329"/></svg>'
    expected = '<svg viewBox="0 0 1 1" aria-hidden="true"><g><clipPath id="f-c"/><use xlink:href="#f-m"/></g>'
    expected += '<path clip-path="url(#f-c)" style="fill: currentColor"/></svg>'
    assert inline_svg(svg, "f") == expected


def test_intervals_of_curves_are_t_intervals() -> None:
    from scipy import stats

    from ecg_transfer.drawing import mean_band

    values = np.random.default_rng(0).normal(size=(5, 3))
    mean, low, high = mean_band(values)
    expected = stats.t.interval(0.95, 4, loc=values.mean(axis=0), scale=stats.sem(values, axis=0))
    assert mean == pytest.approx(values.mean(axis=0))
    assert np.stack([low, high]) == pytest.approx(np.stack(expected))
