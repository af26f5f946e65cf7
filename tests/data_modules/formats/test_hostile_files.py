"""Files made to harm: each attack is built here, and refused in a sentence before it costs time, memory or a secret."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.formats import FORMATS
from data_modules.reading import ReadingOptions, to_record
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts
from tests.data_modules.formats.limits import MEGABYTES, read, within_limits


@pytest.mark.parametrize("suffix", [".hea", ".csv", ".npy", ".npz", ".h5", ".edf", ".dcm"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(RecordError, match="no regular file"):
        read(tmp_path / f"a{suffix}")


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
