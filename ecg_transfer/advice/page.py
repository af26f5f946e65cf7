"""Advice as an HTML page in the look of a study's report."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ecg_transfer.advice.advise import Advice
from ecg_transfer.files import write_atomically


def write_page(advice: Advice, path: Path) -> None:
    """Write the page; it stands alone, without scripts or other files."""
    environment = Environment(
        loader=PackageLoader("ecg_transfer.study", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    css = Markup(files("ecg_transfer.study").joinpath("templates/report.css").read_text())
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as stream:
        stream.write(environment.get_template("advice.html.j2").render(advice=advice, css=css).encode())
