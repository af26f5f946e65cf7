"""A recording as DICOM; its numbers are computed again from the waveform's bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom

from data_modules.corpus import RecordError
from data_modules.formats import dicom
from tests.data_modules.ecg_files import as_codes, synthetic_millivolts
from tests.data_modules.formats.ecg_writers import write_dicom

REFUSALS = (RecordError,)


def seeds(folder: Path) -> Iterator[bytes]:
    for unit, padding in (("uV", None), ("mV", -32768)):
        write_dicom(folder / "a.dcm", as_codes(synthetic_millivolts(80, 40)), 40, unit=unit, padding=padding)
        yield (folder / "a.dcm").read_bytes()


def check(data: bytes, folder: Path) -> None:
    (folder / "a.dcm").write_bytes(data)
    raw = dicom.read(folder / "a.dcm")
    assert raw.lead_names is not None
    assert len(raw.lead_names) == len(raw.signal)
    groups = pydicom.dcmread(folder / "a.dcm").WaveformSequence
    group = max(groups, key=lambda item: int(item.NumberOfWaveformSamples))
    if (group.WaveformBitsAllocated, group.WaveformSampleInterpretation) != (16, "SS"):
        return
    codes = np.frombuffer(group.WaveformData, "<i2")[: raw.signal.size].reshape(-1, len(raw.signal)).T
    plain = [
        (float(c.get("ChannelSensitivity", 1)), float(c.get("ChannelBaseline", 0))) == (1.0, 0.0)
        and float(c.get("ChannelSensitivityCorrectionFactor", 1)) == 1.0
        for c in group.ChannelDefinitionSequence
    ]
    for found, code, is_plain in zip(raw.signal, codes, plain, strict=True):
        if is_plain:
            np.testing.assert_array_equal(found[~np.isnan(found)], code[~np.isnan(found)])
