"""Files made to harm: each attack is built here, and refused in a sentence before it costs time, memory or a secret."""

from __future__ import annotations

import io
import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import wfdb as wfdb_library
import yaml

from data_modules.corpora.ptbxl import parse_scp_codes
from data_modules.corpus import LEAD_NAMES, CorpusFormatError, RecordError
from data_modules.formats import FORMATS
from data_modules.own.definition import load_definition
from data_modules.own.labels import read_table
from data_modules.own.listing import LinksLeftOutWarning, record_files
from data_modules.plain_yaml import PlainYamlError, read_plain_yaml
from data_modules.reading import ReadingOptions, to_record
from data_modules.unzip import ArchiveError, unzip
from data_modules.wfdb_record import read_header, read_signal
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts, write_challenge_record

MEGABYTES = 2**20


@contextmanager
def within_limits(seconds: float = 1.0, megabytes: float = 200) -> Iterator[None]:
    started = time.process_time()
    tracemalloc.start()
    try:
        yield
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTES
    assert time.process_time() - started < seconds * 2  # tracing takes as long again


def read(path: Path, dataset: str | None = None) -> np.ndarray:
    kind = next(entry for entry in FORMATS.values() if path.name.endswith(entry.suffixes))
    kind.record_names(path, dataset)
    return kind.read(path, 0, dataset).signal


@pytest.mark.parametrize("suffix", [".hea", ".csv", ".npy", ".npz", ".h5", ".edf", ".dcm"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(RecordError, match="no regular file"):
        read(tmp_path / f"a{suffix}")


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


def npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (12, 4611686018427387904), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-12, -1000), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1000), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 10), }",
        "{'descr': '<U100000000', 'fortran_order': False, 'shape': (2, 10), }",
        "(" * 9000,
        "{'descr': [('a', '<f4', (10**9,))], 'fortran_order': False, 'shape': (2, 10), }",
        "__import__('os').abort()",
    ],
)
def test_hostile_headers_of_arrays(tmp_path: Path, header: str) -> None:
    content = npy(header)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("signal.npy", content)
    for name in ("a.npy", "a.npz"):
        with within_limits(megabytes=20), pytest.raises(RecordError):
            read(tmp_path / name)


def test_an_npz_that_grows_a_thousandfold_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", signal=np.zeros((12, 2 * MEGABYTES), np.float32))
    assert (tmp_path / "a.npz").stat().st_size < MEGABYTES
    with within_limits(megabytes=20), pytest.raises(RecordError, match="grows from"):
        read(tmp_path / "a.npz")


def hdf5_chunk_bomb(file: h5py.File) -> None:
    shape = (4, 5000, 12)
    array = file.create_dataset("x", shape=(600, 5000, 12), chunks=(300, 5000, 12), dtype="f4", compression="gzip")
    array[:1] = np.ones((1, *shape[1:]))


def hdf5_link(file: h5py.File) -> None:
    file["x"] = h5py.SoftLink("/y")
    file["z"] = h5py.ExternalLink("/dev/zero", "x")


def hdf5_virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(shape=(2, 100, 12), dtype="f4")
    layout[0] = h5py.VirtualSource("/etc/passwd", "x", shape=(100, 12))
    file.create_virtual_dataset("x", layout)


def hdf5_objects(file: h5py.File) -> None:
    file.create_dataset("x", shape=(2, 100, 12), dtype=h5py.ref_dtype)


@pytest.mark.parametrize("make", [hdf5_chunk_bomb, hdf5_link, hdf5_virtual, hdf5_objects])
def test_hostile_hdf5(tmp_path: Path, make: Callable[[h5py.File], None]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(file)
    with within_limits(megabytes=20), pytest.raises(RecordError):
        read(tmp_path / "a.h5")


def test_names_of_records_of_variable_length(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((3, 20, 2), np.float32)
        file["ids"] = ["a", "bé", "c d"]
    assert FORMATS["hdf5"].record_names(tmp_path / "a.h5", None) == ("a", "bé", "c d")


def test_names_of_records_that_are_one_long_text_a_hundred_times(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((30, 20, 2), np.float32)
        ids = file.create_dataset("ids", shape=(30,), dtype=h5py.string_dtype())
        ids[:] = "x" * 100_000
        ids[:10] = "short"
    with pytest.raises(RecordError, match="longer than 1000 characters"):
        FORMATS["hdf5"].record_names(tmp_path / "a.h5", None)


def test_names_of_records_do_not_open_other_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would hang
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.ones((3, 20, 2), np.float32)
        file["ids"] = h5py.ExternalLink(str(tmp_path / "pipe"), "ids")
    assert FORMATS["hdf5"].record_names(tmp_path / "a.h5", None) == ("0", "1", "2")


def test_edf_that_promises_more_than_it_has(tmp_path: Path) -> None:
    pytest.importorskip("pyedflib")
    from tests.data_modules.formats.ecg_writers import write_edf

    write_edf(tmp_path / "a.edf", as_codes(synthetic_millivolts(500, 500)), 500)
    whole = (tmp_path / "a.edf").read_bytes()
    for place, text in ((236, b"99999999"), (252, b"9999"), (252, b"-1  "), (184, b"99999999"), (236, b"-1      ")):
        (tmp_path / "a.edf").write_bytes(whole[:place] + text + whole[place + len(text) :])
        with within_limits(megabytes=20), pytest.raises(RecordError):
            read(tmp_path / "a.edf")


def test_hostile_dicom(tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    from tests.data_modules.formats.ecg_writers import write_dicom

    path = tmp_path / "a.dcm"
    write_dicom(path, as_codes(synthetic_millivolts(1000, 500)), 500)
    read(path)

    def refused(match: str, change: Callable[[object], None]) -> None:
        content = pydicom.dcmread(tmp_path / "a.dcm")
        change(content)
        content.save_as(tmp_path / "b.dcm")
        with pytest.raises(RecordError, match=match):
            read(tmp_path / "b.dcm")

    def set_of(name: str, value: object) -> Callable[[object], None]:
        return lambda content: setattr(content.WaveformSequence[1], name, value)  # type: ignore[attr-defined]

    def channel(name: str, value: object) -> Callable[[object], None]:
        return lambda content: setattr(content.WaveformSequence[1].ChannelDefinitionSequence[3], name, value)  # type: ignore[attr-defined]

    refused("promises", set_of("NumberOfWaveformSamples", 100_000))
    refused("more than", set_of("NumberOfWaveformSamples", 2**32 - 1))
    refused("12 channels", set_of("NumberOfWaveformChannels", 11))
    refused("sensitivities", channel("ChannelSensitivity", 0.0))
    refused("are in mV, uV", lambda content: setattr(
        content.WaveformSequence[1].ChannelDefinitionSequence[3].ChannelSensitivityUnitsSequence[0], "CodeValue", "mV"))  # type: ignore[attr-defined]  # fmt: skip
    content = pydicom.dcmread(path)
    content.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    content.PatientComments = "0" * 30 * MEGABYTES
    content.save_as(tmp_path / "b.dcm")
    assert (tmp_path / "b.dcm").stat().st_size < MEGABYTES
    with within_limits(megabytes=5), pytest.raises(RecordError, match="deflated"):
        read(tmp_path / "b.dcm")


def test_units_that_are_no_voltage_cannot_be_talked_into_one(tmp_path: Path) -> None:
    pytest.importorskip("pyedflib")
    from tests.data_modules.formats.ecg_writers import write_edf

    write_edf(tmp_path / "a.edf", as_codes(synthetic_millivolts(500, 500)), 500, unit="mmHg")
    with pytest.raises(RecordError, match="no voltage"):
        to_record(FORMATS["edf"].read(tmp_path / "a.edf", 0, None), ReadingOptions(unit="mV"), "a")


@pytest.mark.parametrize("gain", [0.0, -1.0, float("nan"), float("inf")])
def test_a_gain_of_nothing_is_refused(tmp_path: Path, gain: float) -> None:
    np.save(tmp_path / "a.npy", synthetic_millivolts(500, 500))
    options = ReadingOptions(gain=gain, sampling_rate=500, leads=LEAD_NAMES)
    with pytest.raises(RecordError, match="gain"):
        to_record(FORMATS["npy"].read(tmp_path / "a.npy", 0, None), options, "a")


HEADER = ",".join(f"c{number}" for number in range(10**5))


@pytest.mark.parametrize("text", [f"{HEADER}\n1\n", "x" * 2_000_000, "I,II\n" * 100_000, "1\n" * 20_000 + "x"])
def test_recordings_of_a_million_columns_and_endless_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with within_limits(seconds=3), pytest.raises(RecordError):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("text", [f"{HEADER}\n1\n", "x" * 2_000_000, "1," * 500_000, f"a,b\n1,{'x' * 500_000}\n"])
def test_tables_of_a_million_columns_and_endless_lines(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with within_limits(seconds=3), pytest.raises(CorpusFormatError):
        read_table(tmp_path / "a.csv")


def test_an_open_quote_does_not_swallow_the_rest_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text('record,AF\na,"1\nb,0\nc,0\n')
    with pytest.raises(CorpusFormatError, match="no CSV file"):
        read_table(tmp_path / "l.csv")


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [LAUGHS, MERGES, "[" * 10_000, "a: " + "{b: " * 500, "- " * 5000 + "x", "a: " + "9" * 5000, "a: 2001-99-99",
     "!!python/object/apply:os.abort []", "a: !!python/name:os.abort", "x" * 2**20, "\0", "a: b: c"],
)  # fmt: skip
def test_yaml_that_explodes(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with within_limits(megabytes=20):
        with pytest.raises(PlainYamlError):
            read_plain_yaml(tmp_path / "x.yaml")
        with pytest.raises(CorpusFormatError):
            load_definition(tmp_path / "x.yaml")


def test_plain_yaml_is_what_yaml_reads(tmp_path: Path) -> None:
    text = "a: [1, 2.5, x, null, true]\nb: {c: {d: 'e: f'}}\n"
    (tmp_path / "x.yaml").write_text(text)
    assert read_plain_yaml(tmp_path / "x.yaml") == yaml.safe_load(text)


def test_a_dictionary_that_keeps_a_pattern_busy_is_none() -> None:
    with within_limits():
        assert parse_scp_codes("{'NORM': 100.0" + " " * 100_000 + "x") is None
    assert parse_scp_codes("{'NORM': 100.0, 'SR': 0.0}") == ("NORM", "SR")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_archives_of_other_methods_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.csv", "1,0\n")
    with pytest.raises(ArchiveError, match="deflate is read"):
        unzip(tmp_path / "a.zip", tmp_path / "out", wanted=r".*", max_bytes=100)


def test_an_encrypted_or_damaged_member_is_an_archive_error(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"1,0\n" * 1000)
    whole = stream.getvalue()
    encrypted = bytearray(whole)
    for start in (whole.index(b"PK\x03\x04") + 6, whole.index(b"PK\x01\x02") + 8):
        encrypted[start] |= 1
    damaged = bytearray(whole)
    damaged[40:44] = b"\xff\xff\xff\xff"
    shifted = bytearray(whole)  # members then begin before the file does
    shifted[whole.rindex(b"PK\5\6") + 16] += 1
    for content in (encrypted, damaged, shifted):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ArchiveError):
            unzip(tmp_path / "a.zip", tmp_path / "out", wanted=r".*", max_bytes=10**6)
        assert not (tmp_path / "out" / "a.csv").exists()


def test_a_path_that_wfdb_would_take_for_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "zip::x"
    write_challenge_record(folder, "A0001", as_codes(synthetic_millivolts(50, 500)))
    text = (folder / "A0001.hea").read_text()
    assert read_signal(read_header(folder / "A0001.hea")).shape == (12, 50)
    (folder / "A0001.hea").write_text(text.replace(" 16+24 ", " 212 "))
    with pytest.raises(RecordError, match="rename that folder"):
        read_signal(read_header(folder / "A0001.hea"))
