"""Tables of text as other programs write them, and units and rates as files state them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_modules.corpus import RecordError
from data_modules.formats import FORMATS
from data_modules.formats.raw_record import unit_in_names
from data_modules.leads import canonical_lead
from data_modules.reading import ReadingOptions, to_record
from tests.data_modules.ecg_files import LEADS, as_codes, synthetic_millivolts, write_challenge_record
from tests.data_modules.formats.test_formats import PLAIN, RATE, read


def test_an_empty_cell_is_no_sample(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("I;II;note\n" + "0.1;0.2;1\n" * 20 + "0.3;;2\n" + "0.1;0.2;3\n" * 20)
    signal = FORMATS["csv"].read(tmp_path / "a.csv", 0, None).signal
    assert signal.shape == (2, 41)
    assert np.flatnonzero(np.isnan(signal[1])).tolist() == [20]


@pytest.mark.parametrize("further", [[f"V{number}" for number in range(7, 13)], [f"V{n}R" for n in range(1, 7)]])
def test_columns_of_further_chest_leads_may_be_said_to_be_others(tmp_path: Path, further: list[str]) -> None:
    numbers = np.round(np.random.default_rng(0).standard_normal((60, 12)), 3)
    names = [*LEADS[:6], *further]
    table = pd.DataFrame(numbers, columns=names).assign(note=1)
    table.to_csv(tmp_path / "a.csv", index_label="time")
    raw = FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    with pytest.raises(RecordError, match="a has no V1, V2, V3, V4, V5, V6"):
        to_record(raw, replace(PLAIN, leads=None), "a")
    said = to_record(raw, PLAIN, "a")
    np.testing.assert_array_equal(said.signal, numbers.T.astype(np.float32))
    with pytest.raises(RecordError, match=rf"12 signals \(I, II, .*{further[-1]}\), but --leads names 11"):
        to_record(raw, replace(PLAIN, leads=LEADS[:11]), "a")


def test_further_chest_leads_beside_the_twelve_change_nothing(tmp_path: Path) -> None:
    numbers = np.round(np.random.default_rng(0).standard_normal((60, 14)), 3)
    names = [*(f"{lead} (mV)" for lead in LEADS), "V7", "V4R"]
    pd.DataFrame(numbers, columns=names).to_csv(tmp_path / "a.csv", index=False)
    raw = FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    found = to_record(raw, ReadingOptions(sampling_rate=RATE), "a")
    np.testing.assert_array_equal(found.signal, numbers[:, :12].T.astype(np.float32))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_are_read_as_pandas_reads_them(tmp_path: Path, header: bool, delimiter: str) -> None:
    numbers = np.round(np.random.default_rng(0).standard_normal((60, 12)), 3)
    table = pd.DataFrame(numbers, columns=[f"{lead} (mV, 0.05-40 Hz)" for lead in LEADS])
    table.to_csv(tmp_path / "a.csv", sep=delimiter, decimal=",", index=False, header=header)
    assert "," in (tmp_path / "a.csv").read_text().split("\n")[1]
    theirs = pd.read_csv(tmp_path / "a.csv", sep=delimiter, decimal=",", header=0 if header else None)
    found = FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    np.testing.assert_array_equal(found.signal, theirs.to_numpy().T.astype(np.float32))
    np.testing.assert_array_equal(found.signal, numbers.T.astype(np.float32))


@pytest.mark.parametrize("said", ["sep=;", '"sep=;"', "SEP=;\r"])
def test_a_line_that_says_the_delimiter_is_passed_over(tmp_path: Path, said: str) -> None:
    rows = "\n".join(f"0,{number};{number},5" for number in range(10, 40))
    (tmp_path / "a.csv").write_text(f"\ufeff{said}\nI;II\n{rows}\n", newline="")
    record = FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    assert record.lead_names == ("I", "II")
    np.testing.assert_allclose(record.signal, [np.arange(10, 40) / 100, np.arange(10, 40) + 0.5], rtol=1e-6)


def test_commas_that_may_stand_between_thousands_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("I;II\n" + "-1,250;1,125\n" * 20)
    with pytest.raises(RecordError, match=r"a.csv has numbers such as -1,250, whose comma may be a decimal one or"):
        FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    (tmp_path / "a.csv").write_text("I;II\n" + "-1,250;1,125\n" * 20 + "0,003;1,125\n")
    assert FORMATS["csv"].read(tmp_path / "a.csv", 0, None).signal[:, 0].tolist() == [-1.25, 1.125]


def test_commas_of_a_text_beside_the_leads_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("I;II;note\n" + "0.25;1.5;paced, at rest\n" * 20)
    assert FORMATS["csv"].read(tmp_path / "a.csv", 0, None).signal[:, 0].tolist() == [0.25, 1.5]


@pytest.mark.parametrize("name", ["Lead {}", "{} (mV)", "Lead {} (mV)", "{}"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_names_of_csv_columns_may_hold_blanks(tmp_path: Path, name: str, delimiter: str) -> None:
    numbers = np.round(np.random.default_rng(0).standard_normal((30, 12)), 3)
    lines = [delimiter.join(map(name.format, LEADS)), *(delimiter.join(map(str, row)) for row in numbers)]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    found = FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    np.testing.assert_array_equal(found.signal, numbers.T.astype(np.float32))
    assert [canonical_lead(lead) for lead in found.lead_names or ()] == list(LEADS)
    assert found.unit == ("mV" if "mV" in name else None)


@pytest.mark.parametrize(
    "lines",
    [
        ['"I" "II"', '"1" 0.1 0.2', '"2" 0.1 0.2'],  # R's write.table
        ["time (s) I II", "0.0 0.1 0.2", "0.1 0.1 0.2"],
        ["I,II", "0,0.1,0.2", "1,0.1,0.2"],
        ["time,I,II,note", "0.1,0.2,x"],
    ],
)
def test_csv_rows_of_more_cells_than_the_first_line_are_refused(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "a.csv").write_text("\n".join(lines + lines[-1:] * 20) + "\n")
    with pytest.raises(RecordError, match="names in its first line") as error:
        FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    assert error.value.reason == "header"


@pytest.mark.parametrize(
    ("first", "row"),
    [
        ("I,II", "0.1,0.2,"),
        ("I,II,", "0.1,0.2"),
        ("I\tII", "0.1\t0.2"),
        ("\tI\tII", "7\t0.1\t0.2"),
        ("I  II", "0.1 0.2"),
    ],
)
def test_csv_lines_may_end_with_an_empty_cell(tmp_path: Path, first: str, row: str) -> None:
    (tmp_path / "a.csv").write_text("\n".join([first, "", *[row] * 20]) + "\n")
    found = FORMATS["csv"].read(tmp_path / "a.csv", 0, None)
    assert found.lead_names == ("I", "II")
    np.testing.assert_array_equal(found.signal, np.tile(np.float32([[0.1], [0.2]]), 20))


@pytest.mark.parametrize("index", [False, True])
@pytest.mark.parametrize("separator", [",", "\t"])
def test_numbers_that_pandas_writes_on_top_are_no_sample(tmp_path: Path, index: bool, separator: str) -> None:
    millivolts = synthetic_millivolts(1000, RATE)
    pd.DataFrame(millivolts.T).to_csv(tmp_path / "a.csv", index=index, sep=separator)
    np.testing.assert_allclose(read(tmp_path / "a.csv", PLAIN).signal, millivolts, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("mV", "mV"), ("μV", "uV"), (" v ", "V"), ("microvolts", "uV"),
        ("Einthoven", None), ("1", None), ("left arm", None), ("", None),
        ("counts", "counts"), ("ADC units", "counts"), ("adu", "counts"), ("LSB", "counts"),
        ("a.u.", "refused"), ("nV", "refused"), ("0.1 mV", "refused"), ("2.44uV/bit", "refused"),
        ("normalized", "refused"),
    ],
)  # fmt: skip
def test_units_in_names_of_leads(text: str, unit: str | None) -> None:
    names = tuple(f"{lead} ({text})" for lead in LEADS)
    if unit != "refused":
        assert unit_in_names(names) == unit
        assert unit_in_names(("I", *names[1:])) is None
        return
    for some in (names, ("I", *names[1:])):
        with pytest.raises(RecordError, match="no voltage") as error:
            unit_in_names(some)
        assert error.value.reason == "unit"


def test_raw_codes_are_read_with_a_gain_alone(tmp_path: Path) -> None:
    millivolts = synthetic_millivolts(1000, RATE)
    header = ",".join(f"{lead} (counts)" for lead in LEADS)
    np.savetxt(tmp_path / "a.csv", 200 * millivolts.T, delimiter=",", header=header, comments="")
    gain = ReadingOptions(gain=200, sampling_rate=RATE)
    np.testing.assert_allclose(read(tmp_path / "a.csv", gain).signal, millivolts, atol=1e-5)
    for options in (ReadingOptions(sampling_rate=RATE), ReadingOptions(unit="mV", sampling_rate=RATE)):
        with pytest.raises(RecordError, match=r"the file says that its numbers are raw codes.*; say --gain"):
            read(tmp_path / "a.csv", options)


def test_uncalibrated_wfdb_is_read_with_a_gain_alone(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(1000, RATE), gain=200)
    codes[3, 17] = -(2**15)  # "no sample"
    path = write_challenge_record(tmp_path, "r", codes, scale="0(5)/mV", sampling_rate=RATE)
    found = read(path, ReadingOptions(gain=200)).signal
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 17]]
    expected = (codes.astype(float) - 5) / 200
    np.testing.assert_allclose(np.delete(found, 17, 1), np.delete(expected, 17, 1), atol=1e-6)
    for options in (ReadingOptions(), ReadingOptions(unit="mV")):
        with pytest.raises(RecordError, match=r"the file says that its numbers are raw codes.*; say --gain"):
            read(path, options)
    text = path.read_text()
    path.write_text(text.replace("0(5)/mV", "200(5)/mV", 1))  # one lead is calibrated, the others are not
    with pytest.raises(RecordError, match="no positive number") as error:
        read(path, ReadingOptions(gain=200))
    assert error.value.reason == "gain"


def test_names_of_leads_with_different_units_are_refused() -> None:
    with pytest.raises(RecordError, match="the leads are in mV, uV") as error:
        unit_in_names(("I (mV)", "II (uV)", "V1 (mV)"))
    assert error.value.reason == "unit"


@pytest.mark.parametrize(
    ("described", "unit", "rate"),
    [
        ({"Units": np.array(["uV"] * 12), "FS": np.array("500")}, "uV", 500),
        ({"unit": np.array(["µV".encode()] * 12), "Sampling_Rate": np.array([b"250.0"])}, "uV", 250),
        ({"units": np.array(0.001), "fs": np.full(12, 500)}, None, 500),
        ({"unit": np.array(""), "fs": np.array("")}, None, None),
    ],
)
def test_an_npz_says_its_unit_and_rate_in_many_ways(
    tmp_path: Path, described: dict[str, NDArray[np.generic]], unit: str | None, rate: float | None
) -> None:
    names = {"Leads": np.array([lead.encode() for lead in LEADS])}
    np.savez(tmp_path / "a.npz", ECG=synthetic_millivolts(1000, RATE), **names, **described)
    found = FORMATS["npz"].read(tmp_path / "a.npz", 0, None)
    assert (found.lead_names, found.unit, found.sampling_rate) == (LEADS, unit, rate)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({"units": np.array(["uV", "mV"])}, "unit"),
        ({"units": np.array(b"counts")}, "unit"),
        ({"fs": np.array([500, 250])}, "sampling_rate"),
        ({"fs": np.array("fast")}, "sampling_rate"),
    ],
)
def test_an_npz_that_contradicts_itself_or_says_no_voltage_is_refused(
    tmp_path: Path, described: dict[str, NDArray[np.generic]], reason: str
) -> None:
    np.savez(tmp_path / "a.npz", ecg=synthetic_millivolts(1000, RATE), **described)
    with pytest.raises(RecordError) as error:
        read(tmp_path / "a.npz", PLAIN)
    assert error.value.reason == reason
