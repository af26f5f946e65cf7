"""A header read in one look must say what the parser of all headers says of it, or be left to that one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_modules.corpus import LEAD_NAMES
from data_modules.usual_header import usual_header
from data_modules.wfdb_header import MAX_HEADER_BYTES, read_comment, read_header
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts, write_challenge_record

LINE = "r.mat 16+24 1000/mV 16 0 {} {} 0 {}"
USUAL = "\n".join(
    ["r 12 500 5000 05-May-2020 14:50:55"]
    + [LINE.format(7 * number - 30, 4321 - 1999 * number, name) for number, name in enumerate(LEAD_NAMES)]
    + ["#Age: 74", "#Dx: 59118001,426783006", ""]
)


def assert_as_parsed(path: Path) -> bool:
    """Compare what is read in one look with what is parsed; whether it was read so."""
    found = usual_header(path.read_bytes())
    if found is None:
        return False
    header = read_header(path)
    assert [line.name.casefold() for line in header.signals] == [name.casefold() for name in LEAD_NAMES]
    assert {line.file_name for line in header.signals} == {found.file_name}
    assert {line.storage for line in header.signals} == {("16", 1, 0, found.byte_offset)}
    np.testing.assert_array_equal([line.gain for line in header.signals], [found.gain] * 12)
    assert {line.baseline for line in header.signals} == {0}
    assert (header.sampling_rate, header.num_samples or 0) == (found.sampling_rate, found.num_samples)
    assert tuple(line.initial_value for line in header.signals) == found.initial_values
    assert tuple(line.checksum for line in header.signals) == found.checksums
    return True


def test_a_header_as_the_challenge_has_it(tmp_path: Path) -> None:
    path = write_challenge_record(tmp_path, "r", as_codes(synthetic_millivolts(1300, 500)))
    assert assert_as_parsed(path)
    found = usual_header(USUAL.encode())
    assert found is not None
    assert found[:5] == ("r.mat", 24, 1000.0, 500, 5000)
    assert found.initial_values == tuple(range(-30, 54, 7))
    assert found.checksums[:2] == (4321, 2322)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("r.mat 16+24 1000/mV 16 0 -23", "s.mat 16+24 1000/mV 16 0 -23"),
        ("1000/mV 16 0 -23", "999/mV 16 0 -23"),
        ("1000/mV", "1000(1)/mV"),
        ("16+24", "16x2+24"),
        ("16+24", "16:3+24"),
        ("16+24", "212"),
        ("r.mat", "../r.mat"),
        ("16 0 -23", "16 1 -23"),
        ("r 12 500", "r 13 500"),
        ("r 12 500", "r 12 500.5"),
        ("r 12 500", "r 12 50000"),
        ("5000 05", "9999999 05"),
        ("r 12 500", "r 12 500/1000(3)"),
        ("r 12 500", "r/2 12 500"),
        (" 0 aVF", " 0 V1"),
        (" 0 V6", " 0 V6\nr.mat 16+24 1000/mV 16 0 1 2 0 V7"),
        ("#Age", "# \x00Age"),
        ("#Age", "#\xc4ge"),
        ("#Age", "Age"),
        ("\n#Age", "#Age"),
    ],
)
def test_what_is_not_as_usual_is_left_to_the_parser(old: str, new: str) -> None:
    assert old in USUAL
    assert usual_header(USUAL.replace(old, new).encode()) is None


def test_a_file_too_long_for_a_header_is_none() -> None:
    assert usual_header(USUAL.encode() + b"#" * MAX_HEADER_BYTES) is None


PIECES = st.sampled_from(
    ["", "\n", "\r\n", " ", "  ", "\t", "#", "0", "1", "-", "+", ".", "(0)", "(5)", "/uV", "~", "\\", "r.mat", "I", "é"]
)


@settings(max_examples=400, deadline=None)
@given(place=st.integers(0, len(USUAL)), length=st.integers(0, 3), piece=PIECES)
def test_any_change_is_read_alike_or_left_to_the_parser(
    tmp_path_factory: pytest.TempPathFactory, place: int, length: int, piece: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "changed.hea"
    path.write_bytes((USUAL[:place] + piece + USUAL[place + length :]).encode())
    assert_as_parsed(path)


@pytest.mark.parametrize(
    "line", ["#Dx: 59118001", "# dx:59118001", "\t#Dx: 59118001  ", "\xa0#Dx: 59118001", "##Dx: 1"]
)
def test_a_comment_by_itself_is_the_one_of_the_whole_header(tmp_path: Path, line: str) -> None:
    (tmp_path / "r.hea").write_text(USUAL.replace("#Dx: 59118001,426783006", line) + "#Dx: 2\n", encoding="utf-8")
    assert read_comment(tmp_path / "r.hea", "Dx") == read_header(tmp_path / "r.hea").comment("Dx")


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("ptbxl", "records100/*/*[05]_lr.hea"),
        ("ptbxl", "records500/*/*.hea"),
        ("cpsc2018", "g1/*.hea"),
        ("georgia", "g1/*.hea"),
    ],
)
def test_real_headers(folder: str, pattern: str) -> None:
    paths = sorted(real_folder(folder).glob(pattern))
    assert all(assert_as_parsed(path) for path in paths)
    assert paths
