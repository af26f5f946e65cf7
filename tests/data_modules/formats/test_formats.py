"""Every format gives the signals that were written, within its quantisation; and refuses what is broken or hostile."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pydicom
import pyedflib
import pytest
import wfdb
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, Record, RecordError
from data_modules.formats import FORMATS
from data_modules.quality import identity_residual, typical_amplitude
from data_modules.reading import ReadingOptions, to_record
from tests.data_modules.ecg_files import (
    LEADS,
    as_codes,
    real_folder,
    synthetic_millivolts,
    write_challenge_record,
)
from tests.data_modules.formats.ecg_writers import write_csv, write_dicom, write_edf, write_hdf5

RATE = 500
PLAIN = ReadingOptions(unit="mV", sampling_rate=RATE, leads=LEAD_NAMES)


def read(path: Path, options: ReadingOptions | None = None, row: int = 0) -> Record:
    kind = next(entry for entry in FORMATS.values() if path.name.endswith(entry.suffixes))
    given = options or ReadingOptions()
    return to_record(kind.read(path, row, given.dataset), given, path.stem)


def write_all(folder: Path, codes: NDArray[np.int16]) -> dict[Path, ReadingOptions]:
    """A recording of microvolts in every format: its files, and what they do not say themselves."""
    millivolts = codes / 1000
    rate = ReadingOptions(sampling_rate=RATE)
    write_challenge_record(folder, "a", codes)
    write_csv(folder / "a.csv", millivolts)
    write_csv(folder / "u.csv", millivolts, unit="uV")
    np.savetxt(folder / "bare.txt", codes.T, delimiter="\t", fmt="%d")
    np.save(folder / "a.npy", millivolts)
    np.save(folder / "b.npy", codes.T)
    named = {"lead_names": np.array(LEADS), "fs": np.array(RATE), "units": np.array("mV")}
    np.savez_compressed(folder / "a.npz", ecg=millivolts.T, **named)
    write_hdf5(folder / "a.h5", np.stack([millivolts, 2 * millivolts]), leads_last=True, compression="gzip")
    write_hdf5(folder / "b.hdf5", np.stack([millivolts, 2 * millivolts]), leads_last=False)
    write_edf(folder / "a.edf", codes, RATE)
    write_dicom(folder / "a.dcm", codes, RATE)
    return {
        folder / "a.hea": ReadingOptions(),
        folder / "a.csv": rate,
        folder / "u.csv": rate,
        folder / "bare.txt": ReadingOptions(gain=1000, sampling_rate=RATE, leads=LEAD_NAMES),
        folder / "a.npy": PLAIN,
        folder / "b.npy": ReadingOptions(unit="uV", sampling_rate=RATE, leads=LEAD_NAMES),
        folder / "a.npz": ReadingOptions(),
        folder / "a.h5": PLAIN,
        folder / "b.hdf5": PLAIN,
        folder / "a.edf": ReadingOptions(),
        folder / "a.dcm": ReadingOptions(),
    }


def test_every_format_gives_what_was_written(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(10 * RATE, RATE))
    files = write_all(tmp_path, codes)
    assert {entry.name for entry in FORMATS.values()} == {
        entry.name for entry in FORMATS.values() if any(path.name.endswith(entry.suffixes) for path in files)
    }
    for path, options in files.items():
        record = read(path, options)
        assert record.sampling_rate == RATE, path.name
        np.testing.assert_allclose(record.signal, codes / 1000, atol=2e-6, err_msg=path.name)


@pytest.mark.slow
@pytest.mark.real
def test_real_recordings_are_the_same_in_every_format(tmp_path: Path) -> None:
    headers = sorted(real_folder("cpsc2018").rglob("*.hea"))[:20]
    assert len(headers) == 20
    for header in headers:
        truth = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
        seconds = truth.sig_len // RATE
        codes = truth.d_signal.T[:, : seconds * RATE].astype(np.int16)
        assert (truth.sig_name, set(truth.adc_gain)) == (list(LEADS), {1000.0})
        folder = tmp_path / header.stem
        folder.mkdir()
        for path, options in write_all(folder, codes).items():
            np.testing.assert_allclose(
                read(path, options).signal, codes / 1000, atol=5e-6, err_msg=f"{header.stem} {path.name}"
            )


def test_a_dicom_of_another_maker_is_read() -> None:
    path = Path(pydicom.__file__).parent / "data" / "test_files" / "waveform_ecg.dcm"
    record = read(path)
    expected = pydicom.dcmread(path).waveform_array(0).T / 1000
    assert (record.sampling_rate, record.absent_leads) == (1000, ())
    np.testing.assert_allclose(record.signal, expected, atol=1e-6)
    assert identity_residual(record.signal) < 0.02
    assert 0.3 < typical_amplitude(record.signal[1:2], 1000) < 3


def test_dicom_padding_is_no_sample(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(2 * RATE, RATE))
    codes[3, 100:110] = -32768
    write_dicom(tmp_path / "a.dcm", codes, RATE, padding=-32768)
    signal = read(tmp_path / "a.dcm").signal
    assert np.isnan(signal).sum() == 10
    assert np.isnan(signal[3, 100:110]).all()


def test_stacks_are_read_without_their_padding(tmp_path: Path) -> None:
    millivolts = synthetic_millivolts(2000, RATE)
    padded = np.pad(millivolts, ((0, 0), (300, 700)))
    write_hdf5(tmp_path / "a.h5", padded[None], leads_last=True)
    np.save(tmp_path / "a.npy", padded[None])
    for name in ("a.h5", "a.npy"):
        np.testing.assert_allclose(read(tmp_path / name, PLAIN).signal, millivolts, atol=1e-6)


def test_rows_of_a_stack_have_names(tmp_path: Path) -> None:
    stack = np.stack([synthetic_millivolts(1000, RATE, seed) for seed in range(12)])
    write_hdf5(tmp_path / "a.h5", stack, leads_last=True)
    assert FORMATS["hdf5"].record_names(tmp_path / "a.h5", None) == tuple(f"{row:02d}" for row in range(12))
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["exam_id"] = np.arange(700, 712)
    assert FORMATS["hdf5"].record_names(tmp_path / "a.h5", None) == tuple(map(str, range(700, 712)))
    np.testing.assert_allclose(read(tmp_path / "a.h5", PLAIN, row=11).signal, stack[11], atol=1e-6)


def test_what_a_file_does_not_say_is_asked_for_not_guessed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", synthetic_millivolts(1000, RATE))
    for options, reason, option in (
        (ReadingOptions(sampling_rate=RATE, leads=LEAD_NAMES), "unit", "--unit"),
        (ReadingOptions(unit="mV", leads=LEAD_NAMES), "sampling_rate", "--rate"),
        (ReadingOptions(unit="mV", sampling_rate=RATE), "missing_leads", "--leads"),
    ):
        with pytest.raises(RecordError, match=option) as error:
            read(tmp_path / "a.npy", options)
        assert error.value.reason == reason


def test_what_a_file_says_may_not_be_contradicted(tmp_path: Path) -> None:
    write_edf(tmp_path / "a.edf", as_codes(synthetic_millivolts(1000, RATE)), RATE)
    for options, reason in ((ReadingOptions(unit="mV"), "unit"), (ReadingOptions(sampling_rate=100), "sampling_rate")):
        with pytest.raises(RecordError, match="leave the option out") as error:
            read(tmp_path / "a.edf", options)
        assert error.value.reason == reason


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    hostile = np.array([["x", object()]], dtype=object)
    np.save(tmp_path / "a.npy", hostile, allow_pickle=True)
    np.savez(tmp_path / "a.npz", signal=hostile, allow_pickle=True)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(RecordError):
            read(tmp_path / name, PLAIN)


def test_declared_sizes_are_checked_before_memory_is_taken(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (12, 99999999999), }".ljust(117) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("signal.npy", content)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", shape=(10**9, 5000, 12), chunks=(1, 5000, 12), dtype="f4")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", shape=(10**9, 5000, 12), chunks=(1, 5000, 12), dtype="f4", compression="gzip")[0] = 1
    for name in ("a.npy", "a.npz", "a.h5", "b.h5"):
        with pytest.raises(RecordError):
            read(tmp_path / name, PLAIN)


def test_an_hdf5_file_shows_nothing_but_itself(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "secret.h5", synthetic_millivolts(1000, RATE)[None], leads_last=True)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["tracings"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "tracings")
    (tmp_path / "secret.bin").write_bytes(bytes(12 * 1000 * 4))
    with h5py.File(tmp_path / "b.h5", "w") as file:
        external = [(str(tmp_path / "secret.bin"), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset("tracings", shape=(1, 1000, 12), dtype="f4", external=external)
    for name in ("a.h5", "b.h5"):
        with pytest.raises(RecordError, match=r"the file itself|no dataset"):
            read(tmp_path / name, ReadingOptions(unit="mV", sampling_rate=RATE, leads=LEAD_NAMES, dataset="tracings"))


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".h5", ".edf", ".dcm", ".hea"])
@pytest.mark.parametrize("content", [b"", b"\0\xff" * 500, b"I,II\nx,y\n"])
def test_files_that_are_none_are_record_errors(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(RecordError):
        read(path, PLAIN)


@pytest.mark.parametrize("suffix", ["csv", "npy", "npz", "h5", "edf", "dcm", "mat"])
def test_files_cut_short_are_record_errors(tmp_path: Path, suffix: str) -> None:
    files = write_all(tmp_path, as_codes(synthetic_millivolts(10 * RATE, RATE)))
    path = tmp_path / f"a.{suffix}"
    whole = path.read_bytes()
    read(path.with_suffix(".hea") if suffix == "mat" else path, files.get(path))
    path.write_bytes(whole[: len(whole) // 2 - 3])
    with pytest.raises(RecordError):
        read(path.with_suffix(".hea") if suffix == "mat" else path, files.get(path))


def test_chest_leads_may_be_called_by_their_electrodes(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(10 * RATE, RATE))
    header = write_challenge_record(tmp_path, "a", codes)
    write_csv(tmp_path / "a.csv", codes / 1000)
    write_edf(tmp_path / "a.edf", codes, RATE)
    np.savez(tmp_path / "a.npz", ecg=codes / 1000, leads=[*LEADS[:6], *(f"C{n}" for n in range(1, 7))])
    for path in (header, tmp_path / "a.csv", tmp_path / "a.edf"):
        content = path.read_bytes()
        for number in range(1, 7):
            content = content.replace(b"V%d" % number, b"C%d" % number, 1)
        path.write_bytes(content)
    options = {".csv": ReadingOptions(sampling_rate=RATE), ".npz": ReadingOptions(unit="mV", sampling_rate=RATE)}
    for suffix in (".hea", ".csv", ".edf", ".npz"):
        record = read(tmp_path / f"a{suffix}", options.get(suffix))
        np.testing.assert_allclose(record.signal, codes / 1000, atol=2e-6, err_msg=suffix)


def test_a_name_in_the_option_that_is_no_lead_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", synthetic_millivolts(1000, RATE))
    names = (*LEAD_NAMES[:11], "V 6")
    with pytest.raises(RecordError, match="--leads names 'V 6', which is none of I, II") as error:
        read(tmp_path / "a.npy", ReadingOptions(unit="mV", sampling_rate=RATE, leads=names))
    assert error.value.reason == "missing_leads"
    zero = ReadingOptions(unit="mV", sampling_rate=RATE, leads=(*names[:11], "-"), missing_leads="zero")
    assert read(tmp_path / "a.npy", zero).absent_leads == ("V6",)


def test_microvolts_of_an_edf_may_have_been_written_with_their_sign(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(2 * RATE, RATE))
    limits = {"physical_min": -32768, "physical_max": 32767, "digital_min": -32768, "digital_max": 32767}
    with pyedflib.EdfWriter(str(tmp_path / "a.edf"), 12, pyedflib.FILETYPE_EDF) as writer:
        for index, lead in enumerate(LEADS):
            header = {"label": lead, "dimension": "µV", "sample_frequency": RATE, "transducer": "", "prefilter": ""}
            writer.setSignalHeader(index, header | limits)
        writer.writeSamples(list(codes.astype(np.float64)))
    assert b"AuV" in (tmp_path / "a.edf").read_bytes()
    np.testing.assert_allclose(read(tmp_path / "a.edf").signal, codes / 1000, atol=2e-6)


def test_a_dicom_channel_that_is_no_lead_and_no_voltage_is_left_out(tmp_path: Path) -> None:
    codes = as_codes(synthetic_millivolts(2 * RATE, RATE))
    write_dicom(tmp_path / "a.dcm", codes, RATE)
    content = pydicom.dcmread(tmp_path / "a.dcm")
    channel = content.WaveformSequence[1].ChannelDefinitionSequence[11]
    channel.ChannelSourceSequence[0].CodeMeaning = "Heart rate"
    channel.ChannelSensitivityUnitsSequence[0].CodeValue = "/min"
    content.save_as(tmp_path / "a.dcm")
    record = read(tmp_path / "a.dcm", ReadingOptions(missing_leads="zero"))
    np.testing.assert_allclose(record.signal[:11], codes[:11] / 1000, atol=2e-6)
    assert record.absent_leads == ("V6",)


@pytest.mark.parametrize(("given", "unit"), [("uv", "uV"), ("MV", "mV"), ("V", "V")])
def test_units_of_the_options_are_taken_in_any_case(given: str, unit: str) -> None:
    assert ReadingOptions(unit=given).unit == unit  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the unit is 'kV', expected mV, uV, V"):
        ReadingOptions(unit="kV")  # type: ignore[arg-type]
