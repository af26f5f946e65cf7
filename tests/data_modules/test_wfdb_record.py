from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import wfdb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data_modules import wfdb_header
from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.quality import REASONS
from data_modules.wfdb_record import checksums_agree, read_codes, read_header, read_signal, select_leads
from tests.data_modules.ecg_files import as_codes, real_folder, synthetic_millivolts, write_challenge_record

BITS = {"16": 16, "212": 12, "80": 8, "24": 24, "32": 32, "516": 16}


def by_wfdb(header: Path, **options: object) -> NDArray[np.float32]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = wfdb.rdrecord(str(header.with_suffix("")), return_res=32, **options)
    return record.p_signal.T


def assert_same_bits(found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    assert found.dtype == expected.dtype == np.float32
    assert found.shape == expected.shape
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    # NaN has many bit patterns, every other number has one
    assert np.array_equal(
        np.where(np.isnan(found), 0, found).view(np.uint32), np.where(np.isnan(expected), 0, expected).view(np.uint32)
    )


@pytest.mark.parametrize("format_", sorted(BITS))
@pytest.mark.parametrize(("gain", "baseline"), [(1000.0, 0), (200.0, -17), (4880.0, 0), (123.456, 5)])
def test_every_format_equals_wfdb_bit_for_bit(tmp_path: Path, format_: str, gain: float, baseline: int) -> None:
    top = 2 ** (BITS[format_] - 1) - 1
    rng = np.random.default_rng(3)
    codes = rng.integers(-top, top, size=(400, 12), endpoint=True)
    codes[5:8, 2] = -top - 1  # "no sample"
    wfdb.wrsamp(
        "r", fs=500, units=["mV"] * 12, sig_name=list(LEAD_NAMES), d_signal=codes, fmt=[format_] * 12,
        adc_gain=[gain] * 12, baseline=[baseline] * 12, write_dir=str(tmp_path),
    )  # fmt: skip
    found = read_signal(read_header(tmp_path / "r.hea"))
    assert_same_bits(found, by_wfdb(tmp_path / "r.hea"))
    assert np.isnan(found[2, 5:8]).all()
    assert np.isnan(found).sum() == 3


@pytest.mark.parametrize("format_", ["8", "61", "160", "310", "311"])
def test_formats_that_wfdb_only_reads_equal_it_on_random_bytes(tmp_path: Path, format_: str) -> None:
    (tmp_path / "r.dat").write_bytes(np.random.default_rng(1).bytes(12 * 300 * 2))
    lines = [f"r.dat {format_} 250(3)/mV 16 0 0 0 0 {name}" for name in LEAD_NAMES]
    (tmp_path / "r.hea").write_text("\n".join(["r 12 500 300", *lines]))
    assert_same_bits(read_signal(read_header(tmp_path / "r.hea")), by_wfdb(tmp_path / "r.hea"))


def test_several_samples_per_frame_and_skew_equal_wfdb(tmp_path: Path) -> None:
    np.random.default_rng(1).integers(-900, 900, size=300 * 3).astype("<i2").tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text("r 2 500 300\nr.dat 16x2 200/mV 16 0 0 0 0 I\nr.dat 16:4 200/mV 16 0 0 0 0 II\n")
    assert_same_bits(read_signal(read_header(tmp_path / "r.hea"), None), by_wfdb(tmp_path / "r.hea"))


@pytest.mark.parametrize("format_", ["16", "212"])
def test_leads_are_found_by_name_in_any_case_and_order(tmp_path: Path, format_: str) -> None:
    codes = np.random.default_rng(0).integers(-2000, 2000, size=(100, 15))
    names = ["vx", *(name.lower() for name in reversed(LEAD_NAMES)), "vy", "vz"]
    gains = [float(100 + lead) for lead in range(15)]
    wfdb.wrsamp("r", fs=1000, units=["mV"] * 15, sig_name=names, d_signal=codes, fmt=[format_] * 15, adc_gain=gains,
                baseline=[0] * 15, write_dir=str(tmp_path))  # fmt: skip
    found = read_signal(read_header(tmp_path / "r.hea"))
    for lead, name in enumerate(LEAD_NAMES):
        column = names.index(name.lower())
        np.testing.assert_allclose(found[lead], codes[:, column] / gains[column], rtol=1e-6)
    everything = read_signal(read_header(tmp_path / "r.hea"), leads=None)
    assert_same_bits(everything, by_wfdb(tmp_path / "r.hea"))


def test_signals_in_several_files_and_only_needed_ones_are_opened(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(300, 1000))
    codes.T.astype("<i2").tofile(tmp_path / "r.dat")
    lines = ["r 13 1000 300"]
    lines += [
        f"r.dat 16 1000 16 0 {row[0]} {int(row.astype(int).sum()) % 65536} 0 {name}"
        for name, row in zip(LEAD_NAMES, codes, strict=True)
    ]
    (tmp_path / "r.hea").write_text("\n".join([*lines, "r.xyz 16 1000 16 0 0 0 0 vx"]))
    header = read_header(tmp_path / "r.hea")
    np.testing.assert_allclose(read_signal(header), codes / 1000, atol=1e-6)
    assert checksums_agree(read_codes(header, header.signals[:12]), header.signals[:12])
    with pytest.raises(RecordError, match="no_signal"):
        read_signal(header, leads=None)


@pytest.mark.parametrize(
    ("scale", "per_millivolt", "baseline"),
    [("1000.0(0)/mV", 1000, 0), ("1000/mv", 1000, 0), ("2/uV", 2000, 0), ("1e6/V", 1000, 0), ("500(20)", 500, 20)],
)
def test_units_and_baselines(tmp_path: Path, scale: str, per_millivolt: float, baseline: int) -> None:
    codes = as_codes(synthetic_millivolts(500, 500))
    header = write_challenge_record(tmp_path, "E00001", codes, scale=scale)
    expected = (codes.astype(np.float64) - baseline) / per_millivolt
    np.testing.assert_allclose(read_signal(read_header(header)), expected, rtol=1e-6)


def test_adc_zero_is_the_baseline_where_none_is_given(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(100, 500))[:1]
    codes.T.astype("<i2").tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text("r 1 500 100\nr.dat 16 1000/mV 16 33 0 0 0 I\n")
    assert_same_bits(read_signal(read_header(tmp_path / "r.hea"), ["I"]), by_wfdb(tmp_path / "r.hea"))


@pytest.mark.parametrize("storage", ["16+24", "16x1+24"])
def test_matlab_file_equals_scipy_and_wfdb(tmp_path: Path, storage: str) -> None:
    codes = as_codes(synthetic_millivolts(700, 500))
    codes[3, 10] = -32768
    header = write_challenge_record(tmp_path, "A0001", codes, storage=storage, first_line="A0001 12 500 700")
    np.testing.assert_array_equal(scipy.io.loadmat(str(tmp_path / "A0001.mat"))["val"], codes)
    found = read_signal(read_header(header))
    assert_same_bits(found, by_wfdb(header))
    assert np.isnan(found[3, 10])


def test_georgia_first_line_that_wfdb_refuses(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(500, 500))
    first_line = "E00271.mat 12 500 500 05-May-2020 14:50:55"
    header = write_challenge_record(tmp_path, "E00271", codes, first_line=first_line)
    with pytest.raises(Exception, match="record line"):
        by_wfdb(header)
    np.testing.assert_allclose(read_signal(read_header(header)), codes / 1000, atol=1e-6)


def test_comments_are_found_with_and_without_a_space(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(10, 500))
    header = write_challenge_record(tmp_path, "A0001", codes, comments=["#Age: NaN", "# Dx: 1,2", "#dx: 3"])
    assert read_header(header).comment("Dx") == "1,2"
    assert read_header(header).comment("Sx") is None


def test_multi_segment_record_goes_through_wfdb(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(600, 500)).T.astype(int)
    for name, part in (("s1", codes[:250]), ("s2", codes[250:])):
        wfdb.wrsamp(name, fs=500, units=["mV"] * 12, sig_name=list(LEAD_NAMES), d_signal=part, fmt=["16"] * 12,
                    adc_gain=[1000.0] * 12, baseline=[0] * 12, write_dir=str(tmp_path))  # fmt: skip
    (tmp_path / "m.hea").write_text("m/2 12 500 600\ns1 250\ns2 350\n")
    assert_same_bits(read_signal(read_header(tmp_path / "m.hea")), by_wfdb(tmp_path / "m.hea"))
    (tmp_path / "s2.dat").write_bytes((tmp_path / "s2.dat").read_bytes()[:-2])
    with pytest.raises(RecordError, match="truncated"):
        read_signal(read_header(tmp_path / "m.hea"))


def test_checksums(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(500, 500))
    header = read_header(write_challenge_record(tmp_path, "A0001", codes))
    lines = select_leads(header, LEAD_NAMES)
    assert checksums_agree(codes, lines)
    codes[4, 100] += 1
    assert not checksums_agree(codes, lines)


SIGNAL = "r.dat 16 1000/mV 16 0 0 0 0 I"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only a comment",
        "r",
        "r 1 500 99999999999999\n" + SIGNAL,
        "r 100000000 500 10\n" + SIGNAL,
        "r 0 500 10",
        "r 2 500 10\n" + SIGNAL,
        "r 1 500 10\n" + SIGNAL + "\n" + SIGNAL,
        "r 1 nan 10\n" + SIGNAL,
        "r 1 1e9 10\n" + SIGNAL,
        "r 1 0 10\n" + SIGNAL,
        "r 1 500 -10\n" + SIGNAL,
        "r 1 500 10\n../r.dat 16 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\n/etc/passwd 16 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\n..\\r.dat 16 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\nhttp://example.org/r.dat 16 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\n.. 16 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\n- 16 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\nr.dat sixteen 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\nr.dat 16x100000 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\nr.dat 16 1000/mV 16 zero 0 0 0 I",
        "r/1 1 500 10\n../s 10",
        "r/1 1 500 10\ns ten",
        "r/1 1 500 10\nr 10",
        "r/0 1 500 10",
        "r/1 1 500 10\ns 99999999999999",
        "r 1 500 10\nr.dat 16 1000(99999999999999999999)/mV 16 0 0 0 0 I",
        "r 1 500 60000000\nr.dat 516x1000 1000/mV 16 0 0 0 0 I",
        "r 1 500 10\n" + SIGNAL + "\n" + "#" * 70_000,
    ],
)
def test_hostile_headers_are_refused_before_anything_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.hea").write_text(text)
    with pytest.raises(RecordError) as caught:
        read_signal(read_header(tmp_path / "r.hea"), ["I"])
    assert caught.value.reason == "header"


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_gives_a_header_or_a_record_error(tmp_path: Path, data: st.DataObject) -> None:
    text = "r 2 500 10\nr.dat 16+24 1000(3)/mV 16 0 -5 7 0 I\nr.dat 16+24 1000/mV 16 0 -5 7 0 II\n# Dx: 1\n"
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(text)))
        inserted = data.draw(st.text(alphabet="0123456789./-+x:()~# \n\0eNµ²", max_size=25))
        text = text[:at] + inserted + text[at + data.draw(st.integers(0, 6)) :]
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(b"\0" * 64)
    reason = "flat"
    try:
        read_signal(read_header(tmp_path / "r.hea"), None)
    except RecordError as error:
        reason = error.reason
    assert reason in REASONS


@pytest.mark.parametrize("scale", ["0/mV", "", "nan/mV", "inf/mV", "-5/mV", "1000/mmHg"])
def test_a_gain_that_is_no_positive_number_is_never_used(tmp_path: Path, scale: str) -> None:
    codes = as_codes(synthetic_millivolts(20, 500))
    codes[:1].T.tofile(tmp_path / "r.dat")
    (tmp_path / "r.hea").write_text(
        f"r 1 500 20\nr.dat 16 {scale}\n" if not scale else f"r 1 500 20\nr.dat 16 {scale} 16 0 0 0 0 I\n"
    )
    with pytest.raises(RecordError) as caught:
        read_signal(read_header(tmp_path / "r.hea"), None)
    assert caught.value.reason == "gain"


@pytest.mark.parametrize("change", [-1, -2, 2, 24])
def test_a_file_of_another_size_is_refused(tmp_path: Path, change: int) -> None:
    header = write_challenge_record(tmp_path, "A0001", as_codes(synthetic_millivolts(500, 500)))
    raw = (tmp_path / "A0001.mat").read_bytes()
    (tmp_path / "A0001.mat").write_bytes(raw[:change] if change < 0 else raw + b"\0" * change)
    with pytest.raises(RecordError, match="truncated"):
        read_signal(read_header(header))


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_not(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(50, 500))
    header = write_challenge_record(tmp_path / "in", "A0001", codes)
    (tmp_path / "in" / "A0001.mat").rename(tmp_path / "in" / "other.mat")
    (tmp_path / "in" / "A0001.mat").symlink_to("other.mat")
    np.testing.assert_allclose(read_signal(read_header(header)), codes / 1000, atol=1e-6)
    (tmp_path / "in" / "other.mat").rename(tmp_path / "other.mat")
    (tmp_path / "in" / "A0001.mat").unlink()
    (tmp_path / "in" / "A0001.mat").symlink_to(tmp_path / "other.mat")
    with pytest.raises(RecordError, match="link out of its folder"):
        read_signal(read_header(header))


def test_missing_and_repeated_leads(tmp_path: Path) -> None:
    header = write_challenge_record(tmp_path, "A0001", as_codes(synthetic_millivolts(50, 500)))
    text = header.read_text()
    header.write_text(text.replace(" V6\n", " V7\n"))
    with pytest.raises(RecordError, match="has no V6"):
        read_signal(read_header(header))
    header.write_text(text.replace(" V6\n", " v5\n"))
    with pytest.raises(RecordError, match="two signals"):
        read_signal(read_header(header))


@pytest.mark.real
@pytest.mark.parametrize(
    ("folder", "pattern", "step"),
    [
        ("ptbxl", "records100/*/*.hea", 200),
        ("ptbxl", "records500/*/*.hea", 1),
        ("cpsc2018", "g1/*.hea", 1),
        ("georgia", "g1/*.hea", 1),
        ("ptb", "*/*.hea", 1),
    ],
)
def test_real_records_equal_wfdb_and_scipy(tmp_path: Path, folder: str, pattern: str, step: int) -> None:
    paths = sorted(real_folder(folder).glob(pattern))[::step]
    assert paths
    for path in paths:
        header = read_header(path)
        found = read_signal(header)
        readable = path
        first_line = path.read_text().split("\n", 1)[0]
        if ".mat " in first_line:  # wfdb refuses it; give it a copy with the line mended
            readable = tmp_path / path.name
            readable.write_text(path.read_text().replace(".mat ", " ", 1))
            (tmp_path / path.with_suffix(".mat").name).write_bytes(path.with_suffix(".mat").read_bytes())
        names = [line.name for line in select_leads(header, LEAD_NAMES)]
        assert_same_bits(found, by_wfdb(readable, channel_names=names))
        lines = select_leads(header, LEAD_NAMES)
        codes = read_codes(header, lines)
        assert checksums_agree(codes, lines), path
        if path.with_suffix(".mat").exists():
            np.testing.assert_array_equal(scipy.io.loadmat(str(path.with_suffix(".mat")))["val"], codes)


HEADER_LINE = "A0001.mat 16+24 1000/mV 16 0 28 -1716 0 aVR"


def test_lines_read_in_one_pass_say_what_they_say_one_by_one() -> None:
    rng, num_plain = np.random.default_rng(0), 0
    for _ in range(4000):
        text = list(HEADER_LINE)
        for place in rng.integers(0, len(text), rng.integers(0, 3)):
            text[place] = str(rng.choice(list(HEADER_LINE + "()/.:+-xX\t\u00a0\u0661~e")))
        lines = [HEADER_LINE, "".join(text).strip()]
        if (found := wfdb_header._parse_plain_signals(lines)) is None:
            continue
        assert found == tuple(map(wfdb_header._parse_signal, lines))
        num_plain += 1
    assert num_plain > 1000
