"""What is wrong with a record: codes for setting it aside, codes for what is kept but named, and the check itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_modules.corpus import LEAD_NAMES, Record, RecordError

REASONS = {
    "unreadable": "a file of the record cannot be read",
    "truncated": "a signal file is not as long as its header says",
    "header": "the header breaks the format or its numbers are out of bounds",
    "gain": "the gain is wrong, and the amplitudes do not tell the right one",
    "amplitude": "the amplitudes are not those of an ECG in millivolts",
    "missing_leads": "one of the twelve leads is not there",
    "unit": "the unit of the numbers is not known",
    "sampling_rate": "the sampling rate is not known, or no whole number",
    "missing_samples": "more samples in a row are missing than can be interpolated",
    "non_finite": "the signal holds infinite values",
    "flat": "too many leads are flat",
    "short": "the recording is too short",
    "no_signal": "there is a label row, but no signal file",
    "no_labels": "there is a signal file, but no labels",
    "label_unknown": "the labels are written in a way that would have to be guessed",
    "no_diagnosis": "the header names no diagnosis",
    "duplicate": "its samples are exactly those of another record",
}
"""Codes of `RecordError`: why a record is set aside."""

NOTES = {
    "gain_replaced": "the header's gain was wrong; the published one was used",
    "checksum_mismatch": "the samples do not have the checksum or initial value that the header gives",
    "gap_filled": "missing samples were interpolated",
    "lead_identity": "the limb leads do not satisfy Einthoven's and Goldberger's identities",
    "flat_lead": "some leads are flat",
    "absent_lead": "some leads were not recorded; zeros stand in their place, as the user chose",
    "saturated": "a lead stays at its extreme value for long",
    "padded": "the recording was shorter than the model's input; zeros were appended",
}
"""Codes of `Record.notes`: what was mended or seen in a record that is kept."""

MAX_GAP_SECONDS = 0.04
"""Longest gap that is interpolated: half a normal QRS complex."""

FLAT_MILLIVOLTS = 0.002
"""A lead that in half of its seconds moves by no more than this (two steps of the usual converter) is flat."""

MAX_FLAT_LEADS = 6
"""A record with more flat leads than this is set aside."""

AMPLITUDE_RANGE = (0.05, 20.0)
"""Millivolts that `typical_amplitude` may have; a gain wrong by a power of ten or a unit mistake falls outside."""

MAX_MILLIVOLTS = 1000.0
"""No sample of an ECG is larger: amplifiers must bear electrode offsets of 300 mV and no more (IEC 60601-2-25)."""

MAX_IDENTITY_RESIDUAL = 0.2
"""Of `identity_residual`; rounding to the A/D converter's steps gives below 0.02."""

SATURATED_SECONDS = 0.2
"""Time at one extreme value after which a lead counts as saturated: longer than any wave's peak."""


def heights(signal: NDArray[np.float32], sampling_rate: int) -> NDArray[np.float32]:
    """Peak-to-peak voltage of each lead within each whole second.

    Args:
        signal: Millivolts, (leads, samples) with samples > 0; NaN is left out.
        sampling_rate: Hz.

    Returns:
        (leads, seconds); one column for a signal shorter than a second; NaN where a second holds no sample.
    """
    num_leads, num_samples = signal.shape
    window = min(sampling_rate, num_samples)
    windows = signal[:, : num_samples // window * window].reshape(num_leads, -1, window)
    # fmax and fmin skip NaN, as np.nanmax does at a tenth of the speed
    result: NDArray[np.float32] = np.fmax.reduce(windows, axis=2) - np.fmin.reduce(windows, axis=2)
    return result


def median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """What `np.median(values, axis=-1)` gives of finite values, at a fifth of its time for some ten of them."""
    ordered, half = np.sort(values, axis=-1), values.shape[-1] // 2
    if values.shape[-1] % 2:
        return ordered[..., half]
    middle: NDArray[np.float32] = (ordered[..., half - 1] + ordered[..., half]) / np.float32(2)
    return middle


def typical_amplitude(signal: NDArray[np.float32], sampling_rate: int) -> float:
    """Median, over leads and whole seconds, of the peak-to-peak voltage within that second.

    Most seconds hold a heart beat, so that this is near the size of a QRS complex; spikes, drift and single bad
    leads hardly move it.

    Args:
        signal: Millivolts, (leads, samples) with samples > 0; NaN is left out.
        sampling_rate: Hz.

    Returns:
        Millivolts; NaN where every sample is missing.
    """
    measured = heights(signal, sampling_rate)
    measured = measured[np.isfinite(measured)]
    return float(np.median(measured)) if measured.size else float("nan")


IDENTITIES = np.array([[1, -1, 1, 0, 0, 0], [0.5, 0.5, 0, 1, 0, 0], [-0.5, 0, 0.5, 0, 1, 0], [0, -0.5, -0.5, 0, 0, 1]])
"""Sums of I, II, III, aVR, aVL, aVF that are zero."""


def identity_residual(signal: NDArray[np.float32]) -> float:
    """How far the limb leads are from III = II - I, aVR = -(I + II)/2, aVL = (I - III)/2, aVF = (II + III)/2.

    Args:
        signal: Canonical leads, (12, samples), finite.

    Returns:
        Root mean square of the residual of the worst identity, its mean taken off, relative to the root mean square
        of the limb leads about their means; 0 where they are flat.
    """
    centred = signal[:6] - signal[:6].mean(axis=1, keepdims=True)
    products = centred @ centred.T  # of the leads suffice: the signal is passed over once, not a dozen times
    scale = float(products.trace()) / 6
    worst = float(np.einsum("ri,ij,rj->r", IDENTITIES, products, IDENTITIES).max())
    return float(np.sqrt(max(worst, 0.0) / scale)) if scale > 0 else 0.0


def screen(record: Record, min_seconds: float | None = None) -> Record:
    """Set a record aside, or give it back finite and with notes on what was seen and mended.

    Args:
        record: As its reader gave it.
        min_seconds: Shortest recording that is accepted; any with samples where None.

    Returns:
        The record, its signal finite: gaps of at most `MAX_GAP_SECONDS` are linearly interpolated (held at the ends).

    Raises:
        RecordError: `short`, `non_finite`, `missing_samples`, `flat` or `amplitude`.
    """
    num_samples = record.signal.shape[1]
    seconds = num_samples / record.sampling_rate
    if num_samples == 0:
        raise RecordError("short", f"{record.record_id} holds no sample")
    if min_seconds is not None and seconds < min_seconds:
        raise RecordError("short", f"{record.record_id} is {seconds:g} s long, {min_seconds:g} s are needed")
    signal, notes = _fill_gaps(record)
    recorded = [name not in record.absent_leads for name in LEAD_NAMES]
    judged = signal[recorded] if record.absent_leads else signal
    is_flat = require_amplitudes(judged, record.sampling_rate, record.record_id)
    if is_flat.any():
        notes.append("flat_lead")
    if all(recorded[:6]) and identity_residual(signal) > MAX_IDENTITY_RESIDUAL:
        notes.append("lead_identity")
    if _is_saturated(judged[~is_flat] if is_flat.any() else judged, round(SATURATED_SECONDS * record.sampling_rate)):
        notes.append("saturated")
    return replace(record, signal=signal, notes=record.notes + tuple(notes))


def require_amplitudes(signal: NDArray[np.float32], sampling_rate: int, name: str) -> NDArray[np.bool_]:
    """Refuse amplitudes that no ECG in millivolts has.

    Args:
        signal: Millivolts, (leads, samples) with samples > 0, finite.
        sampling_rate: Hz.
        name: Of the record, for the message.

    Returns:
        Whether each lead is flat, (leads,).

    Raises:
        RecordError: `flat` or `amplitude`.
    """
    if (highest := float(max(signal.max(), -signal.min()))) > MAX_MILLIVOLTS:
        raise RecordError("amplitude", f"{name} holds {highest:.3g} mV, no ECG more than {MAX_MILLIVOLTS:g}")
    height = heights(signal, sampling_rate)
    is_flat: NDArray[np.bool_] = median(height) <= FLAT_MILLIVOLTS
    if (num_flat := int(is_flat.sum())) > MAX_FLAT_LEADS:
        raise RecordError("flat", f"{num_flat} leads of {name} are flat, at most {MAX_FLAT_LEADS} may be")
    amplitude = float(median(height.ravel()))
    low, high = AMPLITUDE_RANGE
    if not low <= amplitude <= high:
        raise RecordError("amplitude", f"{name} is {amplitude:.3g} mV high, expected {low} to {high} mV")
    return is_flat


def _fill_gaps(record: Record) -> tuple[NDArray[np.float32], list[str]]:
    if np.isfinite(record.signal.sum()):
        return record.signal, []
    finite = np.isfinite(record.signal)
    if finite.all():  # numbers so large that their sum is none
        return record.signal, []
    if np.isinf(record.signal).any():
        raise RecordError("non_finite", f"{record.record_id} holds infinite values")
    signal = record.signal.copy()
    for lead in np.flatnonzero(~finite.all(axis=1)):
        seconds = longest_run(~finite[lead]) / record.sampling_rate
        if seconds > MAX_GAP_SECONDS or not finite[lead].any():
            found = f"{record.record_id} lacks {seconds:g} s in a row of lead {LEAD_NAMES[lead]}"
            raise RecordError("missing_samples", f"{found}, at most {MAX_GAP_SECONDS} s are filled")
        (present,) = np.nonzero(finite[lead])
        (absent,) = np.nonzero(~finite[lead])
        signal[lead, absent] = np.interp(absent, present, signal[lead, present])
    return signal, ["gap_filled"]


def longest_run(mask: NDArray[np.bool_]) -> int:
    """Length of the longest run of True in a vector."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _is_saturated(signal: NDArray[np.float32], run: int) -> bool:
    """Whether a lead stays at its highest or lowest value for `run` samples on end."""
    highest, lowest = signal.max(axis=1), signal.min(axis=1)
    for extreme in (highest, lowest):
        suspects = (signal[:, :: max(run, 1)] == extreme[:, None]).any(
            axis=1
        )  # so many on end miss none of every run-th
        if any(longest_run(signal[lead] == extreme[lead]) >= run for lead in np.flatnonzero(suspects)):
            return True
    return False
