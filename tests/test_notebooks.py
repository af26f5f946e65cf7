"""The notebooks run from top to bottom, in a kernel of their own."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "experiments" / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    environment = os.environ | {"ECG_NOTEBOOK_OUTPUT": str(tmp_path / "runs"), "ECG_DATA_ROOT": str(tmp_path / "data")}
    environment |= {"PYTHONPATH": str(REPOSITORY)}
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in ran)
    assert not any(output.output_type == "error" for cell in ran for output in cell.outputs)
    assert not any(cell.outputs for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"), (
        "notebooks are kept without their outputs"
    )


def test_an_ecg_is_a_picture_in_a_notebook() -> None:
    import ecg_transfer as et

    figure = et.plot_ecg(et.simulate_ecg(seed=1), 500)
    assert figure._repr_png_().startswith(b"\x89PNG")
