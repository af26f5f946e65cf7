from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from ecg_transfer.files import write_json
from ecg_transfer.runs import Run, find_runs
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

if TYPE_CHECKING:
    from conftest import FakeRuns

NUM_DRAWS = 200
VOID = {"meta", "link", "br", "img", "path", "use", "rect", "input", "hr"}


@dataclass
class Page(HTMLParser):
    """What a page holds: its tags with their attributes, its text, its tables as rows of text."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    links_by_text: dict[str, str] = field(default_factory=dict)
    open_tags: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if tag not in VOID:
            self.open_tags.append(tag)
        if tag == "div" and given.get("class") == "table":
            self.rows: list[list[str]] = []
            self.tables[given["id"]] = self.rows
        if tag == "tr" and "table" in self.open_tags:
            self.rows.append([])
        if tag in ("td", "th") and "table" in self.open_tags:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open_tags.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        inside = self.open_tags[-1] if self.open_tags else ""
        if inside not in ("style", "script"):
            self.words.append(data)
        if "table" in self.open_tags and ("td" in self.open_tags or "th" in self.open_tags):
            self.rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def hrefs(self) -> list[str]:
        return [given["href"] for tag, given in self.tags if tag == "a"]


def read_page(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text())
    page.close()
    assert page.open_tags == []
    return page


def small_study(fake_runs: FakeRuns, *, simulated: bool = False, seeds: int = 6) -> list[Run]:
    """Two downstream corpora, two models; one cell is missing."""
    for seed in range(seeds):
        for backbone in ("resnet1d18", "lstm"):
            common = {"backbone": backbone, "seed": seed, "simulated": simulated}
            upstream = fake_runs.run("pretrain", "cpsc2018", num_train=4603, **common)
            fake_runs.pair(gain=0.6, upstream=upstream, corpus="ptb", **common)
            if backbone == "lstm":
                continue
            fake_runs.pair(gain=0.1, upstream=upstream, corpus="ribeiro", num_train=554, **common)
    return list(find_runs(fake_runs.output))


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


def test_real_and_simulated_runs_stand_apart(fake_runs: FakeRuns, tmp_path: Path) -> None:
    small_study(fake_runs, seeds=2)
    runs = small_study(fake_runs, simulated=True, seeds=2)
    page = read_page(write_report(runs, tmp_path / "report", title="t", num_draws=NUM_DRAWS))
    assert page.text.startswith("SIMULATED: t")
    assert "On SIMULATED" not in page.text.partition("Corpora, as split")[0].partition("patients.")[2][:20]
    assert {"table-2", "table-2-2"} <= set(page.tables)
    assert {row[2] for row in page.tables["table-1"][1:]} == {"real", "SIMULATED"}


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


def test_a_sweep_of_sizes_is_figure_three_and_not_in_table_two(fake_runs: FakeRuns, tmp_path: Path) -> None:
    for seed in range(2):
        upstream = fake_runs.run("pretrain", "georgia", seed=seed)
        for size in (100, 200, 400, 800):
            common = {"seed": seed, "subset": size, "num_train": size, "corpus": "ptbxl"}
            fake_runs.pair(gain=200 / size, upstream=upstream, **common)
        fake_runs.pair(gain=0.5, upstream=upstream, corpus="ptb", seed=seed)
    path = write_report(find_runs(fake_runs.output), tmp_path / "report", title="t", num_draws=NUM_DRAWS)
    page = read_page(path)
    assert page.tables["table-2"][0][2:] == ["PTB (n=349)"]
    label = next(given["aria-label"] for _, given in page.tags if "Georgia → PTB-XL: " in given.get("aria-label", ""))
    effects = pd.read_csv(path.parent / "tables" / "effects.csv")
    sweep = effects[effects["downstream"] == "ptbxl"].sort_values("num_train")
    expected = ", ".join(f"{row.estimate:+.3f} at {row.num_train}" for row in sweep.itertuples())
    assert expected in label
    assert [row[2] for row in page.tables["equivalence"][1:]] == ["100", "200", "400", "800"]


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


def test_label_sets_of_one_corpus_are_told_apart(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """Table 2 showed one of them, without saying which, and two rows of all comparisons were alike."""
    upstreams = {name: fake_runs.run("pretrain", name) for name in ("georgia", "ptbxl")}
    scores = {}
    for labels, gain in (("superclass", 0.1), ("all", 0.6)):
        pair = fake_runs.pair(
            corpus="ptbxl", upstream=upstreams["georgia"], gain=gain, num_train=17_000,
            overrides=[f"data.label_set={labels}"],
        )  # fmt: skip
        scores[labels] = " / ".join(f"{run.scores['val_selected'].f1_weighted:.3f}" for run in pair)
    fake_runs.pair(corpus="ptb", upstream=upstreams["ptbxl"])
    path = write_report(find_runs(fake_runs.output), tmp_path, title="Two", num_draws=NUM_DRAWS)
    page = Page()
    page.feed(path.read_text())
    head, *rows = page.tables["table-2"]
    assert head[2:] == ["PTB (n=349)", "PTB-XL, labels all (n=17,000)", "PTB-XL, labels superclass (n=17,000)"]
    from_ptbxl, from_georgia = rows
    assert from_ptbxl[3:] == ["same corpus", "same corpus"]
    assert [cell[:13] for cell in from_georgia[3:]] == [scores["all"], scores["superclass"]]
    assert "more comparisons stand at places" not in page.text
    assert {row[1] for row in page.tables["effects"][1:]} == {"PTB", *(f"PTB-XL, labels {name}" for name in scores)}
    effects = pd.read_csv(tmp_path / "tables" / "effects.csv")
    assert set(effects["label_set"].dropna()) == set(scores)
    assert {"labels-ptbxl-labels-all", "labels-ptbxl-labels-superclass"} <= set(page.tables)


def test_a_study_in_the_middle_says_the_size_of_each_score(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """One model was trained on 150 records already, the other on 50: both stood under n=150."""
    for backbone, sizes in (("resnet1d18", (50, 150)), ("gru", (50,))):
        upstream = fake_runs.run("pretrain", "cpsc2018", backbone=backbone)
        for size in sizes:
            fake_runs.pair(upstream=upstream, backbone=backbone, subset=size, num_train=size, gain=size / 100)
    path = write_report(find_runs(fake_runs.output), tmp_path, title="Half", num_draws=NUM_DRAWS)
    page = Page()
    page.feed(path.read_text())
    head, resnet, gru = page.tables["table-2"]
    assert head[2] == "PTB (n=50–150)"
    effects = pd.read_csv(tmp_path / "tables" / "effects.csv").set_index(["backbone", "num_train"])
    for row, key in ((resnet, ("resnet1d18", 150)), (gru, ("gru", 50))):
        score, _, detail = row[2].partition("n=")
        assert score == f"{effects.finetune[key]:.3f} / {effects.scratch[key]:.3f}"
        assert detail.startswith(f"{key[1]}: {effects.estimate[key]:+.3f} [".replace("-", "−"))


def test_settings_of_one_name_are_told_apart_by_what_differs(fake_runs: FakeRuns, tmp_path: Path) -> None:
    """Two budgets of one grid, `updates: [30, 120]`: verdicts and comparisons of both were called the same."""
    upstream = fake_runs.run("pretrain", "cpsc2018")
    for updates, gain in ((30, 0.1), (120, 0.6)):
        fake_runs.pair(upstream=upstream, gain=gain, overrides=[f"optim.max_updates={updates}"])
    path = write_report(find_runs(fake_runs.output), tmp_path, title="Two", num_draws=NUM_DRAWS)
    page = Page()
    page.feed(path.read_text())
    names = {f"paper, lr 0.01, batch 256, optim.max_updates={updates}" for updates in (30, 120)}
    assert {row[1] for row in page.tables["claims-table"][1:]} == names
    assert {row[3] for row in page.tables["effects"][1:]} == names
    claims, effects, results = (
        pd.read_csv(tmp_path / "tables" / f"{name}.csv") for name in ("claims", "effects", "results")
    )
    assert set(claims["setting"]) == names
    by_hand = results[results["phase"] == "finetune"].set_index("run")["val_selected/f1_weighted"]
    for name, score in by_hand.items():
        (updates,) = re.findall(
            r"max_updates: (\d+)", (fake_runs.output / "real" / str(name) / "config.yaml").read_text()
        )
        row = effects[effects["condition"] == f"optim.max_updates={updates}"].iloc[0]
        assert row["finetune"] == pytest.approx(score)
    assert {row[2].rpartition(", ")[2] for row in page.tables["runs"][1:3]} == {name[27:] for name in names}
