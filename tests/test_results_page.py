"""Numbers of the results' page against the tables that it links to."""

from __future__ import annotations

import csv
import re
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "experiments" / "results"

UPSTREAMS = {
    "superclasses": ("ptbxl", "full fine-tune"),
    "superclasses, `ptbxl_best`": ("ptbxl, ptbxl_best recipe", "full fine-tune"),
    "all 71 statements, `ptbxl_best`": ("ptbxl, labels all, ptbxl_best recipe", "full fine-tune"),
    "all 71 statements, `ptbxl_best`, shared head": (
        "ptbxl, labels all, ptbxl_best recipe",
        "full fine-tune, shared head",
    ),
}
"""What the page calls an upstream of XResNet1d-18, and what `ways.csv` does."""


def best_rate_scores() -> dict[tuple[str, str, int], tuple[float, float]]:
    """F1 of XResNet1d-18 fine-tuned and from scratch, by upstream, way and training records."""
    with (RESULTS / "upstreams" / "tables" / "ways.csv").open() as stream:
        return {
            (row["upstream"], row["way"], int(row["num_train"])): (float(row["finetune"]), float(row["scratch"]))
            for row in csv.DictReader(stream)
            if row["backbone"] == "xresnet1d18"
        }


def test_scores_at_the_chosen_rate_are_those_of_the_table_rounded() -> None:
    scores = best_rate_scores()
    page = (RESULTS / "README.md").read_text()
    section = page[page.index("XResNet1d-18 at ten times that rate") : page.index("- **Labels near")]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    found = {cells[0]: cells[-1] for cells in rows if cells[0] in UPSTREAMS}
    assert found == {
        name: "{:.3f} against {:.3f}".format(*scores[upstream, way, 184]) for name, (upstream, way) in UPSTREAMS.items()
    }


def test_the_first_page_repeats_them() -> None:
    scores = best_rate_scores()
    upstream, way = UPSTREAMS["all 71 statements, `ptbxl_best`, shared head"]
    large, small = scores[upstream, way, 184], scores[upstream, way, 46]
    readme = (RESULTS.parents[1] / "README.md").read_text()
    found = re.search(
        r"scores\s+(\.\d+) on 184 records, (\.\d+) on 46, where training from scratch has (\.\d+) and (\.\d+)", readme
    )
    assert found is not None
    assert found.groups() == tuple(f"{value:.3f}"[1:] for value in (large[0], small[0], large[1], small[1]))
