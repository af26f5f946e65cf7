"""On what was measured: what makes two results comparable, and what may explain why they differ."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "pytorch-lightning", "numpy", "scipy", "wfdb", "h5py")
SPEED_FLAGS = re.compile(r"avx\w*|amx\w*|fma|f16c|neon|asimd\w*|sve\w*|bf16|i8mm")
"""Of the processor's flags those that decide how fast it multiplies."""
SETTINGS = re.compile(r"(OMP|KMP|GOMP|MKL|OPENBLAS|DNNL|ONEDNN|MALLOC|TORCH|ATEN|CUDA)_\w+|GLIBC_TUNABLES|LD_PRELOAD|"
                      r"THP_MEM_ALLOC_ENABLE")  # fmt: skip
"""Variables of the environment that decide on threads and memory; no other one is recorded."""

COMPARED = ("processor", "flags", "cores", "memory_gib", "gpus", "threads", "system")
"""Results with equal values of these are of one machine."""


def describe(threads: int, gpus: list[str]) -> dict[str, Any]:
    """The machine as the result's file has it.

    Args:
        threads: That torch uses.
        gpus: Names of the GPUs that torch sees.
    """
    processor, flags = _processor()
    return {
        "processor": processor,
        "flags": flags,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(_memory_bytes() / 2**30),
        "gpus": gpus,
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "settings": {name: value for name, value in sorted(os.environ.items()) if SETTINGS.fullmatch(name)},
        "huge_pages": _line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "governor": _line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "commit": _commit(),
    }


def is_same(machine: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two descriptions are of one machine with one number of threads."""
    return all(machine.get(name) == other.get(name) for name in COMPARED)


def short_name(machine: dict[str, Any]) -> str:
    """For a file's name: processor and cores."""
    words = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", " ", str(machine["processor"]))
    gpus = f" {machine['gpus'][0]}" if machine["gpus"] else ""
    return re.sub(r"[^a-z0-9]+", "-", f"{words}{gpus} {machine['cores']} cores".lower()).strip("-")


def _processor() -> tuple[str, list[str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    entries: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        entries.setdefault(name.strip(), value.strip())
    flags = entries.get("flags", entries.get("Features", "")).split()
    return entries.get("model name", platform.machine()), sorted(filter(SPEED_FLAGS.fullmatch, flags))


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _commit() -> str | None:
    """Of the checkout, with `+` where it was changed since."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout else "")
