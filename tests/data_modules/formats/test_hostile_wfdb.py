"""WFDB files made to harm: links, gaps, packed signals, and what readers would take in different ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wfdb as wfdb_library

from data_modules.corpus import RecordError
from data_modules.formats import FORMATS
from data_modules.own.listing import LinksLeftOutWarning, record_files
from data_modules.wfdb_record import read_header, read_signal
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts, write_challenge_record
from tests.data_modules.formats.limits import read, within_limits


def test_links_out_of_a_folder_are_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("secret.npy", "in/a.npy"):
        np.save(tmp_path / name, np.zeros((2, 100)))
    (tmp_path / "in" / "b.npy").symlink_to(tmp_path / "secret.npy")
    (tmp_path / "in" / "c.npy").symlink_to("a.npy")
    (tmp_path / "in" / "d.npy").symlink_to("d.npy")
    with pytest.warns(LinksLeftOutWarning, match=r"1 files .* b\.npy first"):
        found = record_files(tmp_path / "in", [FORMATS["npy"]])
    assert [path.name for path in found] == ["a.npy", "c.npy", "d.npy"]


def test_a_header_that_is_a_link_shows_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:x:0:0\n")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.hea").symlink_to(tmp_path / "secret")
    with pytest.raises(RecordError, match="link out of its folder") as error:
        read_header(tmp_path / "in" / "a.hea")
    assert "root" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "r/1 12 500 5592405\n~ 5592405\n",  # half a gigabyte of gaps out of thirty bytes
        "r/3 12 500 6000\n~ 400000\ns 10\n~ 400000\n",
        "r/2 1 500 20\ns 99999999999\ns 99999999999\n",
    ],
)
def test_gaps_cost_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.hea").write_text(text)
    with within_limits(megabytes=20), pytest.raises(RecordError, match="header"):
        read(tmp_path / "r.hea")


def test_a_compressed_signal_is_not_believed_before_its_size_is(tmp_path: Path) -> None:
    (tmp_path / "r.dat").write_bytes(b"fLaC" + bytes(100))
    (tmp_path / "r.hea").write_text("r 1 500 60000000\nr.dat 516 1000/mV 16 0 0 0 0 I\n")
    with within_limits(megabytes=20), pytest.raises(RecordError, match="no ECG is compressed so well"):
        read(tmp_path / "r.hea")


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ("r 1 5e2 40", "r.dat 212 200/mV 12 0 0 0 0 I"),  # wfdb takes 5 Hz and no length
        ("r 1 500/1(0)40", "r.dat 212 200/mV 12 0 0 0 0 I"),
        ("r 1 500 40", "\u00e4r.dat 212 200/mV 12 0 0 0 0 I"),
    ],
)
def test_a_header_that_wfdb_reads_in_another_way_is_refused(tmp_path: Path, first: str, line: str) -> None:
    (tmp_path / "r.dat").write_bytes(bytes(60))
    (tmp_path / "r.hea").write_text(f"{first}\n{line}\n", encoding="utf-8")
    with pytest.raises(RecordError) as error:
        read_signal(read_header(tmp_path / "r.hea"), None)
    assert error.value.reason in ("header", "unreadable")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("r 1 5e2 40\nr.dat 16 200/mV 12 0 0 0 0 I", "no record line"),  # wfdb takes 5 Hz and no length
        ("r 1 500/x 40\nr.dat 16 200/mV 12 0 0 0 0 I", "no record line"),  # no length
        ("r 1 500 40\nr.dat\x1f16 200/mV 12 0 0 0 0 I", "control character 0x1f"),  # no signal line
        ("r 1 500 40\nr.dat 16 200/mV 12 0 0 0 0 I\n# a\x0cr.dat 16", "control character 0x0c"),  # two signals
        ("r 1 500 40\nr.dat 16\u00a0200/mV 12 0 0 0 0 I", r"no space, U\+00A0"),  # format 16200
        ("r 1 500 40\nr.dat 16 1E3/mV 12 0 0 0 0 I", "no gain"),  # a gain of 1
        ("r 1 500 40\nr.dat 16 200/mV -12 0 0 0 0 I", "resolution"),  # a baseline of -12
        ("r 1 500 40\nr.dat 16 200/mV 12 +5 0 0 0 I", "no whole number"),  # a baseline of 0
    ],
)
def test_a_header_in_format_16_that_wfdb_reads_in_another_way_is_refused(tmp_path: Path, lines: str, said: str) -> None:
    (tmp_path / "r.dat").write_bytes(bytes(80))
    (tmp_path / "r.hea").write_text("r 1 500 40\nr.dat 16 200/mV 12 0 0 0 0 I\n", encoding="utf-8")
    assert read_signal(read_header(tmp_path / "r.hea"), None).shape == (1, 40)
    (tmp_path / "r.hea").write_text(f"{lines}\n", encoding="utf-8")
    with pytest.raises(RecordError, match=said) as error:
        read_signal(read_header(tmp_path / "r.hea"), None)
    assert error.value.reason == "header"


def test_a_segment_that_wfdb_reads_in_another_way_is_refused(tmp_path: Path) -> None:
    codes = np.arange(40).reshape(-1, 1)
    wfdb_library.wrsamp("s", fs=500, units=["mV"], sig_name=["I"], d_signal=codes, fmt=["16"], adc_gain=[1000.0],
                        baseline=[0], write_dir=str(tmp_path))  # fmt: skip
    (tmp_path / "m.hea").write_text("m/1 1 500 40\ns 40\n")
    np.testing.assert_allclose(read_signal(read_header(tmp_path / "m.hea"), None)[0], np.arange(40) / 1000, rtol=1e-6)
    (tmp_path / "s.hea").write_text((tmp_path / "s.hea").read_text().replace(" I\n", " I\tI\n"))
    assert wfdb_library.rdrecord(str(tmp_path / "s")).sig_name == ["I"], "it drops what follows a tab"
    with pytest.raises(RecordError, match="in another way"):
        read_signal(read_header(tmp_path / "m.hea"), None)


def test_a_path_that_wfdb_would_take_for_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "zip::x"
    write_challenge_record(folder, "A0001", as_codes(synthetic_millivolts(50, 500)))
    text = (folder / "A0001.hea").read_text()
    assert read_signal(read_header(folder / "A0001.hea")).shape == (12, 50)
    (folder / "A0001.hea").write_text(text.replace(" 16+24 ", " 212 "))
    with pytest.raises(RecordError, match="rename that folder"):
        read_signal(read_header(folder / "A0001.hea"))
