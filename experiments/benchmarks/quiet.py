"""Was the machine quiet? Read between the blocks, judged once, never assumed.

Three witnesses: the load average at the start, the CPU time that other processes took (from /proc/stat, less our own),
and a matrix product repeated for a moment, whose times scatter when somebody else computes, also on another virtual
machine of the same host.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_LOAD = 0.15
"""Runnable processes a core, mean of the minute before the start."""
MAX_OTHERS = 0.05
"""Share of all cores' time. One busy process on 2 cores takes 0.5, and slows a two-thread step several times."""
MAX_STOLEN = 0.02
"""Share of the time that the host gave to other virtual machines."""
MAX_SCATTER = 1.25
"""90th over 10th percentile of the calibration's times."""
MAX_DRIFT = 1.15
"""Highest over lowest median of the calibrations."""

PRODUCT_SIZE = 1024
NUM_PRODUCTS = 25


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was seen at the end of a block, or before the first one."""

    when: str
    load: float
    """Load average of the last minute, of all cores together; our own work is in it, so only the first one counts."""
    others: float | None
    """Share of all cores' time that other processes took since the last reading; None where that is not known."""
    stolen: float | None
    """Share that the host took."""
    calibration: tuple[float, ...]
    """Seconds of equal matrix products, one after the other."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        return asdict(self) | {"calibration": [round(seconds, 6) for seconds in self.calibration]}


@dataclass(frozen=True)
class _Clock:
    """Seconds so far, of all cores together but for `wall`."""

    wall: float
    busy: float | None
    stolen: float | None
    ours: float


class Watch:
    """Takes readings.

    Child processes' CPU time is known once they have been waited for, so read when none is left.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._last = _clock()
        time.sleep(seconds)
        calibrate(3)
        self.readings = [self.read("before")]

    def read(self, when: str, *, others_known: bool = True) -> Reading:
        """Look back to the last reading.

        Args:
            when: After what.
            others_known: False where processes of ours were not waited for and would pass for others.
        """
        last, now = self._last, _clock()
        cores_seconds = (now.wall - last.wall) * (os.cpu_count() or 1)
        others = stolen = None
        if now.busy is not None and last.busy is not None and others_known:
            others = max(0.0, now.busy - last.busy - (now.ours - last.ours)) / cores_seconds
        if now.stolen is not None and last.stolen is not None:
            stolen = (now.stolen - last.stolen) / cores_seconds
        calibration = calibrate()
        self._last = _clock()
        return Reading(
            when=when,
            load=round(os.getloadavg()[0], 2),
            others=None if others is None else round(others, 3),
            stolen=None if stolen is None else round(stolen, 3),
            calibration=calibration,
        )

    def note(self, when: str, *, others_known: bool = True) -> Reading:
        """Read, and keep what was read."""
        self.readings.append(self.read(when, others_known=others_known))
        return self.readings[-1]


def calibrate(num_products: int = NUM_PRODUCTS) -> tuple[float, ...]:
    """Seconds of some equal matrix products on all cores."""
    left = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
    out = np.empty_like(left)
    seconds = []
    for _ in range(num_products):
        started = time.perf_counter()
        np.matmul(left, left, out=out)
        seconds.append(time.perf_counter() - started)
    return tuple(seconds)


def judge(readings: Sequence[Reading], cores: int) -> list[str]:
    """What speaks against a quiet machine, a clause each; nothing does where the list is empty.

    Args:
        readings: The first one from before the first block.
        cores: Of the machine.
    """
    first = readings[0]
    seen = []
    if first.load / cores > MAX_LOAD:
        seen.append(f"load average {first.load:g} on {cores} cores before the start")
    if first.others is None:
        seen.append("what other processes take is not known on this system")
    for reading in readings:
        if reading.others is not None and reading.others > MAX_OTHERS:
            seen.append(f"{reading.when}: other processes took {reading.others:.0%} of the cores")
        if reading.stolen is not None and reading.stolen > MAX_STOLEN:
            seen.append(f"{reading.when}: the host took {reading.stolen:.0%} of the cores")
        low, high = np.percentile(reading.calibration, [10, 90])
        if high / low > MAX_SCATTER:
            seen.append(f"{reading.when}: equal matrix products took {1e3 * low:.1f} to {1e3 * high:.1f} ms")
    medians = [float(np.median(reading.calibration)) for reading in readings]
    if max(medians) / min(medians) > MAX_DRIFT:
        seen.append(
            f"between blocks equal matrix products took {1e3 * min(medians):.1f} to {1e3 * max(medians):.1f} ms"
        )
    return seen


def _clock() -> _Clock:
    mine = os.times()
    ours = mine.user + mine.system + mine.children_user + mine.children_system
    busy = stolen = None
    try:
        # user nice system idle iowait irq softirq steal, in ticks (proc_stat(5)); guests are part of user
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
        ticks = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields]
        busy, stolen = sum(ticks[:3]) + sum(ticks[5:7]), ticks[7]
    except (OSError, IndexError):
        pass
    return _Clock(wall=time.monotonic(), busy=busy, stolen=stolen, ours=ours)
