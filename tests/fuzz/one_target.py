"""One target under atheris for a bounded time: `python -m tests.fuzz.one_target NAME SECONDS FOLDER SEED`.

A target is a module of `tests.fuzz.targets` with `seeds(folder)`, files that our own writers made; `check(data,
folder)`, which reads one input and asserts what must hold of what came out; and `REFUSALS`, the documented exceptions.
Any other exception, more than a second of processor time and more than 200 MB of memory are findings: written down and
gone past, so that one does not hide the next. A crash or a hang in C ends this process; `tests.fuzz.run` sees that.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType

import atheris

MAX_SECONDS = 1.0
"""Processor time of one input; by the clock a busy machine would be found guilty."""

MAX_GROWTH = 200 * 2**20
"""Bytes of address space that one input may take."""

MAX_INPUT = 2**16
"""Bytes of one input."""

HANG_SECONDS = 60
"""By the clock, after which an input that does not come back ends the process."""

PACKAGES = ["data_modules", "ecg_transfer"]


@dataclass(kw_only=True)
class Record:
    """What became of the inputs so far; written every second, since libFuzzer ends the process without a word."""

    target: str
    inputs: int = 0
    accepted: int = 0
    """Inputs that were read, and whose result was right."""
    seconds: float = 0.0
    """Of the processor, the fuzzer's own included."""
    slowest: float = 0.0
    """Processor seconds."""
    growth: int = 0
    """Bytes by which the process became larger than it was before the first input."""
    findings: dict[str, str] = field(default_factory=dict)
    """Where it was raised -> the file with the input."""


class Runner:
    """Feeds inputs to a target's `check` and keeps the record."""

    def __init__(self, name: str, target: ModuleType, folder: Path, scratch: Path) -> None:
        self._target, self._folder, self._scratch = target, folder, scratch
        self.record = Record(target=name)
        self._written = time.monotonic()
        self._before = _peak()

    def one_input(self, data: bytes) -> None:
        """Read one input within its limits."""
        record, started = self.record, time.process_time()
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MAX_GROWTH, hard))
        problem: BaseException | None = None
        try:
            self._target.check(data, self._scratch)
            record.accepted += 1
        except self._target.REFUSALS:
            pass
        except Exception as error:
            problem = error
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        seconds = time.process_time() - started
        record.inputs += 1
        record.slowest = max(record.slowest, seconds)
        record.growth = max(record.growth, _peak() - self._before)
        if problem is not None:
            self._found(_place(problem), data, "".join(traceback.format_exception(problem)))
        elif seconds > MAX_SECONDS:
            self._found("slow", data, f"{seconds:.1f} s of processor time")
        if (now := time.monotonic()) - self._written > 1:
            self._written, record.seconds = now, time.process_time()
            self.write()

    def write(self) -> None:
        """Write the record beside its place and rename it."""
        unfinished = self._folder / f".{self.record.target}.tmp"
        unfinished.write_text(json.dumps(asdict(self.record)))
        unfinished.replace(self._folder / f"{self.record.target}.json")

    def _found(self, place: str, data: bytes, text: str) -> None:
        if place in self.record.findings:
            return
        file = self._folder / f"{self.record.target}-{hashlib.sha256(data).hexdigest()[:12]}"
        file.write_bytes(data)
        file.with_suffix(".txt").write_text(text)
        self.record.findings[place] = file.name
        self.write()


def _place(error: BaseException) -> str:
    """Exception and the last line of ours that it came through: one finding for each."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
    last = frames[-1] if frames else None
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}" if last else type(error).__name__


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Fuzz one target; the process ends when the time is over."""
    name, seconds, folder, seed = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    warnings.simplefilter("ignore")
    with atheris.instrument_imports(include=PACKAGES, enable_loader_override=False):
        target = import_module(f"tests.fuzz.targets.{name}")
    memory = Path("/dev/shm")
    scratch = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-", dir=memory if memory.is_dir() else None))
    corpus = folder / "inputs" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(list(target.seeds(scratch))):
        assert len(content) <= MAX_INPUT, f"seed {number} of {name} has {len(content)} bytes"
        (corpus / f"seed{number}").write_bytes(content)
        with suppress(*target.REFUSALS):
            target.check(content, scratch)  # so that what is imported late is there before the clock starts
    runner = Runner(name, target, folder, scratch)
    options = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT}", f"-timeout={HANG_SECONDS}", "-rss_limit_mb=0"]
    options += [f"-seed={seed}", f"-artifact_prefix={folder}/{name}-", "-print_final_stats=0", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, "-close_fd_mask=1", str(corpus)], runner.one_input)
    try:
        atheris.Fuzz()
    finally:
        runner.write()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
