"""The report in a real browser: a desktop, a phone, and paper."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib.image as mpimg
import pytest

from ecg_transfer.study.report import write_report

if TYPE_CHECKING:
    from conftest import FakeRuns

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--virtual-time-budget=5000",
)  # fmt: skip
PROBE = """<script>addEventListener("load", () => parent.postMessage({
  overflow: document.documentElement.scrollWidth - innerWidth, width: innerWidth,
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  heading: document.querySelector("h1").getBoundingClientRect().height}, "*"))</script>"""
FRAME = """<!DOCTYPE html><body style="margin:0"><pre id="found"></pre><script>
addEventListener("message", (event) => { document.getElementById("found").textContent = JSON.stringify(event.data) })
</script><iframe src="probed.html" style="border:0" width="WIDTH" height="HEIGHT"></iframe></body>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the report with"),
]


@pytest.fixture(scope="module")
def report(fake_runs_class: type[FakeRuns], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    fake = fake_runs_class(folder / "checkpoints", num_test=40)
    for seed in range(2):
        for backbone in ("resnet1d18", "resnet1d50", "resnet1d101", "lstm", "bilstm", "gru"):
            for name in ("ptbxl", "cpsc2018"):
                common = {"backbone": backbone, "seed": seed, "simulated": True}
                upstream = fake.run("pretrain", name, **common)
                for corpus in ("ptb", "ribeiro", "cpsc2018", "georgia"):
                    if corpus == name:
                        continue
                    fake.run("finetune", corpus, upstream=upstream, skill=1.4, **common)
                    if name == "ptbxl":
                        fake.run("scratch", corpus, **common)
    return write_report(fake.written, folder / "report", title="A study of everything", num_draws=200)


def chromium(*arguments: str, profile: Path) -> str:
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def framed(report: Path, folder: Path, width: int, height: int = 1600) -> str:
    """The address of a page with the report in a frame of a given width, which tells how it fits."""
    folder.mkdir(exist_ok=True)
    html = report.read_text().replace("</head>", f"{PROBE}</head>")
    (folder / "probed.html").write_text(html)
    frame = folder / f"frame-{width}.html"
    frame.write_text(FRAME.replace("WIDTH", str(width)).replace("HEIGHT", str(height)))
    return frame.as_uri()


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_sticks_out_of_the_page(report: Path, tmp_path: Path, width: int) -> None:
    dom = chromium("--dump-dom", framed(report, tmp_path / "page", width), profile=tmp_path / "profile")
    found = re.search(r'<pre id="found">(.*?)</pre>', dom)
    assert found, "the page was not loaded"
    assert f'"overflow":0,"width":{width}' in found[1]


def test_it_is_drawn(report: Path, tmp_path: Path) -> None:
    for width in (390, 1280):
        shot = tmp_path / f"{width}.png"
        address = framed(report, tmp_path / "page", width)
        chromium(f"--screenshot={shot}", f"--window-size={max(width, 500)},1600", address, profile=tmp_path / "profile")
        pixels = mpimg.imread(shot)[:, :width, :3]
        ink = (pixels.min(axis=2) < 0.5).mean()
        assert 0.005 < ink < 0.3
        first, last = pixels[:800], pixels[800:1500]
        assert first.std() > 0.05
        assert last.std() > 0.05


def test_it_prints(report: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    chromium(f"--print-to-pdf={paper}", "--no-pdf-header-footer", report.as_uri(), profile=tmp_path / "profile")
    content = paper.read_bytes()
    assert content.startswith(b"%PDF")
    num_pages = len(re.findall(rb"/Type\s*/Page\b", content))
    assert 5 <= num_pages <= 40
