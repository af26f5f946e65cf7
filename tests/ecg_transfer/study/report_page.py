"""A report's page as a reader of HTML sees it, and a small study to be reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_transfer.runs import Run, find_runs

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
