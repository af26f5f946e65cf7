"""One recording written in each format by something else than what reads it, mostly from the format's description."""

from __future__ import annotations

import csv
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tests.data_modules.ecg_files import LEADS


def write_csv(path: Path, millivolts: NDArray[np.float64], *, unit: str = "mV") -> None:
    """A column a lead, named on top with its unit, a column of times in front."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["time", *(f"{lead} ({unit})" for lead in LEADS)])
        factor = {"mV": 1.0, "uV": 1e3}[unit]
        writer.writerows(
            [row / 500, *(f"{value:.3f}" for value in column)] for row, column in enumerate(millivolts.T * factor)
        )


def write_hdf5(path: Path, stack: NDArray[np.float64], *, leads_last: bool, **options: object) -> None:
    """(records, leads, samples) as one dataset, in either order."""
    with h5py.File(path, "w") as file:
        file.create_dataset("tracings", data=(stack.swapaxes(1, 2) if leads_last else stack).astype("f4"), **options)


def write_edf(path: Path, codes: NDArray[np.int16], sampling_rate: int, *, unit: str = "uV") -> None:
    """EDF by its specification (Kemp et al. 1992, edfplus.info/specs/edf.html): one step of the code is 1 of the unit.

    Args:
        path: The file.
        codes: (leads, samples), whole seconds.
        sampling_rate: Hz.
        unit: Physical dimension.
    """
    num_leads, num_samples = codes.shape
    seconds = num_samples // sampling_rate

    def fields(width: int, values: list[object]) -> bytes:
        return b"".join(str(value).encode().ljust(width) for value in values)

    def each(value: object) -> list[object]:
        return [value] * num_leads

    header = (
        fields(8, [0]) + fields(80, ["X X X X", "Startdate 01-JAN-2020 X X X"]) + fields(8, ["01.01.20", "00.00.00"])
    )
    header += fields(8, [256 * (num_leads + 1)]) + fields(44, [""]) + fields(8, [seconds, 1]) + fields(4, [num_leads])
    header += fields(16, [f"ECG {lead}" for lead in LEADS]) + fields(80, each("")) + fields(8, each(unit))
    for limit in (-32768, 32767, -32768, 32767):
        header += fields(8, each(limit))
    header += fields(80, each("")) + fields(8, each(sampling_rate)) + fields(32, each(""))
    blocks = codes.reshape(num_leads, seconds, sampling_rate).transpose(1, 0, 2)
    path.write_bytes(header + blocks.astype("<i2").tobytes())


def write_dicom(
    path: Path, codes: NDArray[np.int16], sampling_rate: int, *, unit: str = "uV", padding: int | None = None
) -> None:
    """A 12-lead ECG Waveform Storage object by DICOM PS3.3 C.10.9, a short median beat before the rhythm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.9.1.1"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    content = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    content.SOPClassUID, content.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    content.Modality = "ECG"
    content.WaveformSequence = [
        _group(part, sampling_rate, unit, padding) for part in (codes[:, :sampling_rate], codes)
    ]
    content.save_as(path, enforce_file_format=True)


def _group(codes: NDArray[np.int16], sampling_rate: int, unit: str, padding: int | None) -> Dataset:
    group = Dataset()
    group.WaveformOriginality = "ORIGINAL"
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = codes.shape
    group.SamplingFrequency = sampling_rate
    group.ChannelDefinitionSequence = [_channel(lead, unit) for lead in LEADS]
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    if padding is not None:
        group.add_new(0x5400100A, "OW", np.int16(padding).tobytes())
    group.add_new(0x54001010, "OW", codes.T.astype("<i2").tobytes())
    return group


def _channel(lead: str, unit: str) -> Dataset:
    channel, source, units = Dataset(), Dataset(), Dataset()
    source.CodeValue, source.CodingSchemeDesignator, source.CodeMeaning = "2:1", "MDC", f"Lead {lead}"
    units.CodeValue, units.CodingSchemeDesignator, units.CodeMeaning = unit, "UCUM", unit
    channel.ChannelSourceSequence, channel.ChannelSensitivityUnitsSequence = [source], [units]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor, channel.ChannelBaseline = 1.0, 1.0, 0.0
    channel.WaveformBitsStored = 16
    return channel
