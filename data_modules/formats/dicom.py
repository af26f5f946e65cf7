"""DICOM waveforms (12-lead, general and ambulatory ECG), through pydicom (MIT)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import CorpusFormatError, RecordError
from data_modules.formats.raw_record import Format, RawRecord, check_shape, leads_first, refuse_large, unit_stated
from data_modules.leads import canonical_leads


def read(path: Path, row: int = 0, dataset: str | None = None) -> RawRecord:
    """Read the longest multiplex group: the rhythm, where a median beat stands beside it.

    Raises:
        RecordError: `unreadable` or `header`.
        CorpusFormatError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise CorpusFormatError("DICOM is read with pydicom: pip install 'ecg-transfer[dicom]'") from error
    refuse_large(path)
    try:
        _refuse_deflated(path)
        content = pydicom.dcmread(path)
        groups = list(content.WaveformSequence)
        index = max(range(len(groups)), key=lambda number: int(groups[number].NumberOfWaveformSamples))
        group = groups[index]
        shape = (int(group.NumberOfWaveformSamples), int(group.NumberOfWaveformChannels))
        check_shape(shape)
        channels = list(group.ChannelDefinitionSequence)
        if len(channels) != shape[1] or int(group.WaveformBitsAllocated) not in (8, 16, 32, 64):
            raise RecordError("header", f"{path.name} describes {len(channels)} channels, expected {shape[1]}")
        needed = shape[0] * shape[1] * int(group.WaveformBitsAllocated) // 8
        if len(group.WaveformData) < needed:
            found = f"{path.name} has {len(group.WaveformData)} bytes of waveform, its header promises {needed}"
            raise RecordError("truncated", found)
        chosen = _ecg_channels(channels)
        units = {_unit(channels[number]) for number in chosen}
        if len(units) > 1:
            raise RecordError("unit", f"the channels of {path.name} are in {', '.join(sorted(units))}")
        scales = [_scale(channels[number]) for number in chosen]
        if not all(0 < abs(scale) < math.inf for scale in scales):
            raise RecordError(
                "gain", f"{path.name} has the sensitivities {', '.join(f'{scale:g}' for scale in scales)}"
            )
        signal = _samples(content, index)
        return RawRecord(
            signal=np.ascontiguousarray(leads_first(signal[:, chosen]), dtype=np.float32),
            lead_names=tuple(_lead(channels[number]) for number in chosen),
            sampling_rate=float(group.SamplingFrequency),
            unit=unit_stated(units.pop()),
        )
    except RecordError:
        raise
    except Exception as error:  # pydicom raises whatever a broken file makes it stumble over
        raise RecordError("unreadable", f"{path.name} is no DICOM waveform that can be read: {error}") from error


def _refuse_deflated(path: Path) -> None:
    """Refuse a file that is unpacked whole before a length in it can be looked at.

    Raises:
        RecordError: `unreadable`.
    """
    from pydicom.filereader import read_file_meta_info
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise RecordError("unreadable", f"{path.name} is deflated; `dcmconv +te` writes it plainly")


def _samples(content: Any, index: int) -> NDArray[np.floating[Any]]:  # noqa: ANN401 - pydicom's Dataset
    """Give a group's samples times their sensitivity, (samples, channels); padding becomes NaN."""
    from pydicom.waveforms.numpy_handler import multiplex_array

    signal: NDArray[np.floating[Any]] = multiplex_array(content, index, as_raw=False).astype(np.float64)
    padding = content.WaveformSequence[index].get("WaveformPaddingValue")
    if padding is not None:
        raw = multiplex_array(content, index, as_raw=True)
        value = padding if isinstance(padding, int) else int(np.frombuffer(padding, raw.dtype)[0])
        signal[raw == value] = np.nan
    return signal


def _ecg_channels(channels: list[Any]) -> list[int]:
    """Which channels to read: all but those that are no leads and in another unit than the leads, a heart rate say."""
    leads = canonical_leads([_lead(channel) for channel in channels])
    units = {_unit(channel) for channel, lead in zip(channels, leads, strict=True) if lead is not None}
    return [number for number, channel in enumerate(channels) if not units or leads[number] or _unit(channel) in units]


def _lead(channel: Any) -> str:  # noqa: ANN401 - pydicom's Dataset
    """Name a channel by its source's meaning, `Lead I (Einthoven)` or `MDC_ECG_LEAD_I`, or else its own label."""
    source = channel.get("ChannelSourceSequence")
    return str(source[0].get("CodeMeaning", "")) if source else str(channel.get("ChannelLabel", ""))


def _scale(channel: Any) -> float:  # noqa: ANN401 - pydicom's Dataset
    """Units of one step of the code, as `multiplex_array` takes them."""
    if "ChannelSensitivity" not in channel:
        return 1.0
    return float(channel.ChannelSensitivity) * float(channel.get("ChannelSensitivityCorrectionFactor", 1.0))


def _unit(channel: Any) -> str:  # noqa: ANN401 - pydicom's Dataset
    units = channel.get("ChannelSensitivityUnitsSequence")
    return str(units[0].get("CodeValue", "")) if units else ""


FORMAT = Format(name="dicom", suffixes=(".dcm", ".dicom"), read=read, takes_any_name=True)
