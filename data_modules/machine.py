"""Which machine this is, and which of its processes live: what claims and unfinished files are judged by."""

from __future__ import annotations

import socket
import subprocess
import sys
from functools import cache
from pathlib import Path


@cache
def this_machine() -> str:
    """This boot of this machine and this process namespace; containers of one machine do not see each other's."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {sys.platform}"


def start_time(pid: int) -> str | None:
    """When a process started; None when there is no such process, or only its corpse."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() or None
