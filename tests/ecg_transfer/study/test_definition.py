"""Study files with mistakes in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecg_transfer.study.definition import StudyError, read_study


@pytest.mark.parametrize(
    "grids",
    [
        "{core: {downstreams: [ptb]}}",
        "[{name: core, downstreams: [ptb], backbones: [{gru: 1}]}]",
        "[{name: core, downstreams: {ptb: 1}}]",
    ],
)
def test_a_mapping_where_a_list_or_a_name_belongs_is_a_sentence(tmp_path: Path, grids: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"name: x\ngrids: {grids}\n")
    with pytest.raises(StudyError, match=r"s\.yaml"):
        read_study(file)


@pytest.mark.parametrize("name", ["/x", "x/../../y", "..", ".hidden", "-x", "a b", "studié", "x\\n", ""])
def test_a_name_that_is_no_folder_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f'name: "{name}"\ngrids: [{{downstreams: [ptb], starts: [scratch]}}]\n', encoding="utf-8")
    with pytest.raises(StudyError, match=r"a study cannot be called .*: its name becomes a folder's"):
        read_study(file)


@pytest.mark.parametrize("name", ["x", "ptbxl_best", "2026-11.c++"])
def test_a_name_of_one_folder_is_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"name: {name}\ngrids: [{{downstreams: [ptb], starts: [scratch]}}]\n")
    assert read_study(file).name == name


@pytest.mark.parametrize(
    ("field", "example"),
    [("seeds: 3", "[0, 1, 2]"), ("subsets: all", "[all]"), ("lrs: 0.1", "[0.1]"), ("ways: lp_ft", "[lp_ft]")],
)
def test_a_single_value_where_a_list_belongs_is_told_with_the_list(tmp_path: Path, field: str, example: str) -> None:
    file = tmp_path / "s.yaml"
    name = field.partition(":")[0]
    file.write_text(f"name: x\ngrids: [{{downstreams: [ptb], starts: [scratch]}}, {{downstreams: [ptb], {field}}}]\n")
    with pytest.raises(StudyError) as error:
        read_study(file)
    assert str(error.value) == f"{file}: grids[1].{name} is a list, e.g. {example}"
