from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from data_modules.unfinished import ABANDONED, beside, sweep


def test_a_name_is_hidden_beside_its_place_and_this_processs_own(tmp_path: Path) -> None:
    name = beside(tmp_path / "last.ckpt").name
    assert beside(tmp_path / "last.ckpt").parent == tmp_path
    assert name.startswith(".last.ckpt.")
    assert name.endswith(f".{os.getpid()}.tmp")
    code = "from data_modules.unfinished import beside; from pathlib import Path; print(beside(Path('last.ckpt')))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other != name
    assert other.rsplit(".", 2)[0] == name.rsplit(".", 2)[0]


def test_only_what_nobody_works_on_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = beside(tmp_path / "cache.h5").name
    elsewhere = ".cache.h5.other-host-00c0ffee"
    long_ago = time.time() - ABANDONED - 60
    abandoned = tmp_path / mine.replace(f".{os.getpid()}.", f".{dead.pid}.")
    folder = tmp_path / abandoned.name.replace("cache.h5", "ptbxl-90")
    forgotten = tmp_path / f"{elsewhere}.7.tmp"
    kept = [tmp_path / name for name in (mine, f"{elsewhere}.8.tmp", ".notes.tmp", "notes.tmp", ".cache.h5.claim")]
    for path in (abandoned, forgotten, *kept):
        path.touch()
    (folder / "records").mkdir(parents=True)
    os.utime(forgotten, (long_ago, long_ago))
    os.utime(kept[0], (long_ago, long_ago))
    assert sorted(sweep(tmp_path)) == sorted([abandoned, folder, forgotten])
    assert sorted(tmp_path.iterdir()) == sorted(kept)
