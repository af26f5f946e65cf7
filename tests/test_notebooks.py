"""The notebooks run from top to bottom, in a kernel of their own, and again."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from ecg_transfer.recipes import RECIPES

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "experiments" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all notebooks: each finds there what those before it left."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, folder: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"ECG_NOTEBOOK_OUTPUT": str(folder / "runs"), "ECG_DATA_ROOT": str(folder / "data")}
    environment |= {"PYTHONPATH": str(REPOSITORY)}
    for _ in range(2):  # again, in a new kernel, among what the first time left
        client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
        client.execute(env=environment)
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)
    assert not any(output.output_type == "error" for cell in ran for output in cell.outputs)
    assert not any(cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"), (
        "notebooks are kept without their outputs"
    )


def test_the_readmes_block_runs_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    small = {"optim.max_epochs": 1, "optim.min_updates": 0, "data.num_simulated": 60, "model.backbone": "gru_last"}
    monkeypatch.setitem(RECIPES, "modern", {**RECIPES["modern"], **small})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECG_DATA_ROOT", str(tmp_path / "data"))
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["run"].manifest["upstream"]["run"] == names["upstream"].name


def test_an_ecg_is_a_picture_in_a_notebook() -> None:
    import ecg_transfer as et

    figure = et.plot_ecg(et.simulate_ecg(seed=1), 500)
    assert figure._repr_png_().startswith(b"\x89PNG")
