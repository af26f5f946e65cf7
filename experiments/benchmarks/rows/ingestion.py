"""Building a cache against a plain loop over wfdb on the same records and cores; and how much memory it takes.

The loop is what everybody writes: read a record's millivolts with wfdb, keep every fifth sample or call
`resample_poly`, cut 10 s, save an array. Ours does more in its time: it lists the folder, reads labels and checks every
header, compares sizes, checksums and initial values, looks for missing samples, flat and saturated leads, impossible
amplitudes and broken lead identities, takes a digest and a checksum of each row, and writes to the disk (fsync).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import wfdb
from numpy.typing import NDArray
from scipy.signal import resample_poly

from data_modules.cache import Cache, open_cache
from data_modules.config import Preprocessing
from data_modules.corpora.cpsc2018 import CPSC2018
from data_modules.corpora.ptbxl import PTBXL
from data_modules.corpus import Corpus
from data_modules.forked import forked_map
from data_modules.simulation.simulated_corpus import simulate_corpus
from experiments.benchmarks.options import Options
from experiments.benchmarks.row import Row, ratios

Method = Literal["stride", "polyphase"]

GOALS: dict[Method, float] = {"stride": 15.0, "polyphase": 6.0}
MAX_DIFFERENCE = 1e-6
"""Of the anti-aliased signals from `scipy.signal.resample_poly`: mV, or a share of the largest value above 1 mV."""
MENDED = {"gain_replaced", "gap_filled", "padded"}
"""Notes of records that are meant to differ from what wfdb reads."""
MEMORY_GOAL = 2000.0
"""MB, of a corpus of ten times PTB-XL's size."""
TEN_TIMES_PTBXL = 218_370
CHUNK = 50
"""Records that a worker of the wfdb loop takes at a time."""


class ManyCPSC2018(CPSC2018):
    """CPSC2018 with room for more than 9,999 records."""

    record_pattern = re.compile(r"A\d+")


def measure(block: str, options: Options) -> list[Row]:
    """The rows of one block.

    Args:
        block: `stride`, `polyphase`, `memory`, `whole PTB-XL` or `ten times PTB-XL`.
        options: See there.
    """
    folder = Path(options.scratch)
    if block == "memory":
        return _memory(folder, [2_000, 8_000] if not options.quick else [1_000, 2_000])
    if block == "ten times PTB-XL":
        return _memory(folder, [TEN_TIMES_PTBXL])
    if block == "whole PTB-XL":
        ptbxl = _real_root(PTBXL)
        return _against_wfdb(partial(PTBXL, ptbxl), "real PTB-XL, 100 Hz", "stride", folder, 3) if ptbxl else []
    method: Method = "stride" if block == "stride" else "polyphase"
    num_simulated, num_repeats = (600, 2) if options.quick else (2_000, 3)
    roots = {"simulated CPSC2018": simulated_cpsc2018(folder, num_simulated)}
    if real := _real_root(CPSC2018):
        roots["real CPSC2018"] = real
        many = _multiplied(real, folder / "many-real", num_simulated)  # 310 take little longer than workers to start
        roots["real CPSC2018, each under several names"] = many
    return [
        row
        for kind, root in roots.items()
        for row in _against_wfdb(partial(ManyCPSC2018, root), kind, method, folder, num_repeats)
    ]


def _real_root(corpus: type[Corpus]) -> Path | None:
    """Where a corpus's real recordings lie, if the user said so."""
    root = Path(os.environ.get("ECG_REAL_DATA") or os.devnull) / corpus.spec.name
    return root if corpus.is_present(root) else None


def simulated_cpsc2018(folder: Path, num_records: int) -> Path:
    """Simulated records in CPSC2018's layout, written by our own writer."""
    return simulate_corpus("cpsc2018", folder / f"cpsc2018-{num_records}", num_records=num_records)


def _against_wfdb(corpus: Callable[[], Corpus], kind: str, method: Method, folder: Path, num_repeats: int) -> list[Row]:
    preprocessing = Preprocessing(resample=method)
    known = corpus()
    paths = [str((known.root / file).with_suffix("")) for file in known.table.files]
    ours, theirs = [], []
    for number in range(num_repeats):
        saved = folder / "saved"
        saved.mkdir()
        theirs.append(_seconds(partial(_wfdb_loop, paths, method, saved)))
        shutil.rmtree(saved)
        building = partial(_build, corpus, preprocessing, folder / f"cache-{kind}-{method}-{number}")
        ours.append(_seconds(building))
    cache = _build(corpus, preprocessing, folder / f"cache-{kind}-{method}-0")
    checked = _check(cache, paths, method)
    return [
        Row(
            group="ingestion",
            name=f"{len(paths):,} records of {kind}, {method}: cache building against a wfdb loop",
            unit="x",
            repeats=ratios(theirs, ours),
            goal=GOALS[method],
            note=f"{len(paths) / sorted(ours)[num_repeats // 2]:,.0f} records/s on all cores; {checked}",
        )
    ]


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _build(corpus: Callable[[], Corpus], preprocessing: Preprocessing, folder: Path) -> Cache:
    """The table, the decoding and the file: all that a user waits for."""
    return open_cache(corpus(), preprocessing, folder, progress=False)


def _wfdb_loop(paths: list[str], method: Method, folder: Path) -> int:
    """Read, resample and save every record with wfdb, SciPy and NumPy, on all cores; give their number."""

    def some(start: int) -> int:
        chunk = paths[start : start + CHUNK]
        for path in chunk:
            np.save(folder / f"{Path(path).name}.npy", _read_with_wfdb(path, method))
        return len(chunk)

    return sum(forked_map(some, range(0, len(paths), CHUNK)))


def _read_with_wfdb(path: str, method: Method) -> NDArray[np.float32]:
    """(samples, 12), millivolts at 100 Hz, at most 10 s; records are sampled at 500 Hz, or, to be strided, at 100."""
    if method == "stride":
        signal, fields = wfdb.rdsamp(path, return_res=32)
        return np.asarray(signal[:: fields["fs"] // 100][:1000])
    signal, _ = wfdb.rdsamp(path)  # float64, or the difference from ours would be half its own
    return np.asarray(resample_poly(signal[:6000], 1, 5, axis=0, padtype="edge")[:1000], np.float32)


def _check(cache: Cache, paths: list[str], method: Method) -> str:
    """Compare every kept record with what wfdb and SciPy make of it.

    Raises:
        ValueError: A record differs.
    """
    worst, num_compared = 0.0, 0
    for row in np.flatnonzero(cache.kept):
        if MENDED & set(cache.notes.get(cache.record_ids[row], ())):
            continue
        expected = _read_with_wfdb(paths[row], method)
        difference = float(np.abs(cache.signals[row] - expected).max())
        worst, num_compared = max(worst, difference), num_compared + 1
        if difference > (0.0 if method == "stride" else MAX_DIFFERENCE * max(1.0, float(np.abs(expected).max()))):
            raise ValueError(f"{paths[row]} differs by {difference:g} mV from wfdb's")
    compared = f"{num_compared:,} of {len(paths):,} records compared with wfdb"
    return f"{compared}: " + ("bit-identical" if method == "stride" else f"{worst:.1g} mV apart at most")


def _memory(folder: Path, counts: list[int]) -> list[Row]:
    """Peak memory of building caches of several sizes, each in a process of its own."""
    origin = simulated_cpsc2018(folder, 600)
    peaks = []
    for count in counts:
        code = "from experiments.benchmarks.rows.ingestion import report_peak as report; report()"
        root = _multiplied(origin, folder / f"many-{count}", count)
        found = subprocess.run(
            [sys.executable, "-c", code, str(root), str(folder)], capture_output=True, text=True, check=True
        )
        peaks.append(float(found.stdout))
        for path in (folder / "cache-peak").glob("*.h5"):
            path.unlink()
    rows = [
        Row(
            group="ingestion",
            name=f"{count:,} records: peak memory of building the cache",
            unit="MB",
            repeats=(peak,),
            goal=MEMORY_GOAL,
            better="lower",
            note="the largest process, plus the largest worker for every core",
        )
        for count, peak in zip(counts, peaks, strict=True)
    ]
    if len(counts) > 1:
        a_record = (peaks[-1] - peaks[0]) / (counts[-1] - counts[0])
        rows.append(
            Row(
                group="ingestion",
                name=f"{TEN_TIMES_PTBXL:,} records: peak memory, extrapolated",
                unit="MB",
                repeats=(peaks[-1] + a_record * (TEN_TIMES_PTBXL - counts[-1]),),
                goal=MEMORY_GOAL,
                better="lower",
                note=f"{1e3 * a_record:.2f} kB a record; --full builds it",
            )
        )
    return rows


def report_peak() -> None:
    """Build a cache in this process and print the peak of its memory and of its workers', in MB."""
    import multiprocessing
    import resource

    root, folder = map(Path, sys.argv[1:])
    _build(partial(ManyCPSC2018, root), Preprocessing(), folder / "cache-peak")
    for process in multiprocessing.active_children():  # counted when they have ended
        process.join()
    unit = 1e6 if sys.platform == "darwin" else 1e3
    own, worker = (resource.getrusage(who).ru_maxrss / unit for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(own + worker * (os.cpu_count() or 1))  # noqa: T201


def _multiplied(origin: Path, root: Path, count: int) -> Path:
    """The records of one folder under many names, without their bytes: hard links of a copy."""
    headers = sorted(origin.glob("g*/*.hea"))
    copies, folder = root / "copies", root / "g1"
    copies.mkdir(parents=True)
    folder.mkdir()
    for header in headers:
        shutil.copyfile(header, copies / header.name)
        shutil.copyfile(header.with_suffix(".mat"), folder / f"{header.stem}.mat")
    for number in range(count):
        header = headers[number % len(headers)]
        name = f"A{10_000 + number}"
        os.link(copies / header.name, folder / f"{name}.hea")
        os.link(folder / f"{header.stem}.mat", folder / f"{name}.mat")
    return root
