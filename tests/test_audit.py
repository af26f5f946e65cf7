"""The lock file holds what pyproject.toml asks for, with hashes; and the audit sees what is not so."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from experiments.audit import (
    BAD,
    FOUND,
    UNREACHABLE,
    ask_database,
    differences,
    installed,
    known_bad,
    local_builds,
    read_lock,
)

ROOT = Path(__file__).parents[1]
LOCK = read_lock((ROOT / ".requirements.lock").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def direct() -> list[Requirement]:
    texts = list(PROJECT["project"]["dependencies"])
    for extra in PROJECT["project"]["optional-dependencies"].values():
        texts += extra
    texts += PROJECT["dependency-groups"]["dev"] + PROJECT["dependency-groups"]["fuzz"]
    return list(map(Requirement, texts))


def test_every_dependency_is_locked_within_its_bounds() -> None:
    for requirement in direct():
        entry = LOCK[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(entry.version), requirement
        assert entry.num_hashes > 0


def test_the_lock_file_holds_the_measured_versions() -> None:
    lines = (ROOT / ".constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert {name: LOCK[canonicalize_name(name)].version for name in pins} == pins


def test_no_locked_version_is_known_to_be_bad() -> None:
    assert known_bad({name: entry.version for name, entry in LOCK.items()}) == []
    assert set(BAD) & set(LOCK) == {"pytorch-lightning", "torch", "ray"}


@pytest.mark.parametrize(
    ("name", "version", "is_bad"),
    [
        ("pytorch-lightning", "2.6.2", True),
        ("pytorch-lightning", "2.6.3", True),
        ("pytorch-lightning", "2.6.5", True),
        ("pytorch-lightning", "2.6.6", False),
        ("torch", "2.9.1+cpu", True),
        ("torch", "2.13.0+cpu", False),
        ("ray", "2.53.0", True),
        ("ray", "2.54.0", False),
    ],
)
def test_bad_versions_are_named(name: str, version: str, is_bad: bool) -> None:
    assert bool(known_bad({name: version})) == is_bad


def test_what_differs_from_the_lock_file_is_named() -> None:
    locked = {name: entry.version for name, entry in LOCK.items()}
    assert differences(locked, LOCK) == []
    other = locked | {"torch": f"{locked['torch']}+cpu", "numpy": "1.0", "stranger": "3"}
    found = differences(other, LOCK)
    assert [text.split()[0] for text in found] == ["numpy", "stranger"]
    assert local_builds(other) == [f"torch {locked['torch']}+cpu"]
    assert installed()["pytest"]


@pytest.mark.parametrize("text", ["numpy>=2\n", "numpy==2.4.6\n", "numpy==2.4.6 \\\n    --hash=md5:00\n"])
def test_a_lock_file_without_hashes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not pinned with hashes"):
        read_lock(text)


def fake_tool(folder: Path, answer: str, code: int) -> Path:
    tool = folder / "pip-audit"
    tool.write_text(f"#!{sys.executable}\nimport sys\nsys.stdout.write({answer!r})\nsys.exit({code})\n")
    tool.chmod(0o755)
    return tool


def test_a_database_that_does_not_answer_is_said_to(tmp_path: Path) -> None:
    skipped = json.dumps({"dependencies": [{"name": "numpy", "skip_reason": "not found"}]})
    flawed = {"name": "numpy", "version": "2.4.6", "vulns": [{"id": "CVE-1", "fix_versions": ["2.4.7"]}]}
    for answer, expected in (
        ("", ([], 0)),
        ("<html>", ([], 0)),
        (skipped, ([], 0)),
        (json.dumps({"dependencies": [flawed]}), (["numpy 2.4.6: CVE-1, mended in 2.4.7"], 1)),
    ):
        assert ask_database(ROOT / ".requirements.lock", fake_tool(tmp_path, answer, 1)) == expected


def test_exit_codes(tmp_path: Path) -> None:
    pins = [f"{name}=={version.split('+')[0]}" for name, version in installed().items()]
    (tmp_path / "lock").write_text("".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in pins))
    whole = json.dumps({"dependencies": [{"name": "numpy", "version": "2.4.6", "vulns": []}]})
    for answer, code in (("", UNREACHABLE), (whole, 0)):
        fake_tool(tmp_path, answer, 0)
        command = [sys.executable, str(ROOT / "experiments" / "audit.py"), "--lock", str(tmp_path / "lock")]
        process = subprocess.run([*command, "--tools", str(tmp_path)], capture_output=True, text=True, check=False)
        assert process.returncode == code, process.stdout + process.stderr
        assert ("COULD NOT BE ASKED" in process.stdout) == (code == UNREACHABLE)
    (tmp_path / "lock").write_text(f"numpy==0.1 \\\n    --hash=sha256:{'0' * 64}\n")
    process = subprocess.run([*command, "--tools", str(tmp_path)], capture_output=True, text=True, check=False)
    assert process.returncode == FOUND
