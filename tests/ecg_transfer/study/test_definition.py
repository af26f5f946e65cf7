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
