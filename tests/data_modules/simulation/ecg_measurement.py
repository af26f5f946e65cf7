"""Measures an ECG as a cardiologist does, from the signal alone: it knows nothing of the simulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import find_peaks

RATE = 500
LEAD_ORDER = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LEAD = {name: index for index, name in enumerate(LEAD_ORDER)}
BEFORE, AFTER = 200, 350
"""Samples of an average beat before and after the steepest point of QRS: 400 and 700 ms."""


@dataclass
class Measured:
    beat: NDArray[np.float64]
    """Median beat, baseline (just before QRS) taken off, (12, samples)."""
    rr: NDArray[np.float64]
    """Seconds."""
    onset: int
    offset: int

    @property
    def rate(self) -> float:
        return float(60 / np.median(self.rr))

    @property
    def qrs_ms(self) -> float:
        return (self.offset - self.onset) * 1000 / RATE

    @property
    def axis(self) -> float:
        area = self.beat[:, self.onset : self.offset].sum(axis=1)
        return float(np.degrees(np.arctan2(area[LEAD["aVF"]] * 2 / np.sqrt(3), area[LEAD["I"]])))

    def st(self, lead: str) -> float:
        """Millivolts at J + 60 ms."""
        return float(self.beat[LEAD[lead], self.offset + 30])

    def t(self, lead: str) -> float:
        """The largest deflection, signed, between J + 100 ms and J + 400 ms."""
        part = self.beat[LEAD[lead], self.offset + 50 : min(self.offset + 200, self.next_p)]
        return float(part[np.argmax(np.abs(part))])

    @property
    def next_p(self) -> int:
        """Before the P of the next beat."""
        return int(self.onset + (np.median(self.rr) - 0.22) * RATE)

    def qrs(self, lead: str) -> NDArray[np.float64]:
        return self.beat[LEAD[lead], self.onset : self.offset]

    @property
    def sokolow_lyon(self) -> float:
        return float(max(self.qrs("V5").max(), self.qrs("V6").max()) - self.qrs("V1").min())

    @property
    def pr_ms(self) -> float:
        """From where P leaves the baseline by a tenth of its height, in II, to the QRS onset."""
        lead = self.beat[LEAD["II"]]
        first = max(0, int(self.onset - 0.37 * RATE))
        window = lead[first : self.onset - 10]
        peak = int(np.argmax(window))
        start = window[: peak + 1]
        floor = start.min()
        above = np.flatnonzero(start < floor + 0.1 * (window[peak] - floor))
        return (self.onset - first - above[-1]) * 1000 / RATE

    def qt_ms(self, lead: str = "V5") -> float:
        """To where the steepest tangent of T's descent meets the baseline."""
        start, stop = self.offset + 50, min(self.next_p, self.beat.shape[1])
        wave = self.beat[LEAD[lead], start:stop] * np.sign(self.t(lead))
        peak = int(np.argmax(wave))
        slope = np.diff(wave[peak:])
        steepest = int(np.argmin(slope))
        end = peak + steepest + wave[peak + steepest] / -slope[steepest]
        return (start + end - self.onset) * 1000 / RATE

    @property
    def qtc_ms(self) -> float:
        """After Fridericia."""
        return self.qt_ms() / float(np.cbrt(np.median(self.rr)))


def activity(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """How fast the independent leads change together, mV a sample."""
    independent = signal[[0, 1, 6, 7, 8, 9, 10, 11]]
    return np.sqrt((np.gradient(independent, axis=1) ** 2).sum(axis=0))


def steps_until_quiet(is_fast: NDArray[np.bool_]) -> int:
    """The last fast sample before 20 ms without one: P and T may be as fast as the end of QRS."""
    fast = np.flatnonzero(is_fast)
    gaps = np.flatnonzero(np.diff(fast) > 10)
    return int(fast[gaps[0]] if len(gaps) else fast[-1])


def r_peaks(signal: NDArray[np.float64]) -> NDArray[np.int64]:
    """Samples of the QRS complexes."""
    smooth = np.convolve(activity(signal), np.ones(41) / 41, mode="same")
    peaks, _ = find_peaks(smooth, height=0.3 * smooth[200:-200].max(), distance=130)
    return peaks


def measure(signal: NDArray[np.float32]) -> Measured:
    """Measure a recording without noise at 500 Hz."""
    array = signal.astype(np.float64)
    peaks = r_peaks(array)
    inner = peaks[(peaks > BEFORE) & (peaks < array.shape[1] - AFTER)]
    beat = np.median([array[:, peak - BEFORE : peak + AFTER] for peak in inner], axis=0)
    moving = activity(beat)
    threshold = 0.07 * moving[BEFORE - 60 : BEFORE + 75].max()
    onset = BEFORE - steps_until_quiet(moving[: BEFORE + 1][::-1] > threshold)
    offset = BEFORE + 1 + steps_until_quiet(moving[BEFORE:] > threshold)
    beat = beat - beat[:, onset - 4 : onset - 1].mean(axis=1, keepdims=True)
    return Measured(beat, np.diff(peaks) / RATE, onset, offset)
