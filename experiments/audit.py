"""`make audit`: are the installed packages those of the lock file, and is none of them known to be bad?

Exit codes: 0 nothing was found; 1 something was; 4 nothing was found, but the database of vulnerabilities could not be
asked, so that only what is written down here was looked for.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

FOUND, UNREACHABLE = 1, 4
"""Exit codes."""

LOCK = Path(".requirements.lock")
TOOLS = Path(".venv-tools/bin")

UNLOCKED = frozenset({"ecg-transfer", "pip", "setuptools", "wheel", "uv"})
"""This project, and what every environment brings."""

BAD = {
    "pytorch-lightning": (
        "<2.6.6",
        "2.6.2 and 2.6.3 were malicious, older ones load unsafe checkpoints: CVE-2026-58659",
    ),
    "lightning": ("<2.6.6", "the same code under another name"),
    "torch": ("<2.10", "a hostile checkpoint corrupts memory: CVE-2026-24747"),
    "ray": ("<2.54", "anybody who reaches its port can run anything: CVE-2026-27482"),
}
"""Name -> versions that must not be installed, and why; the reasons of the bounds in pyproject.toml."""


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One entry of the lock file."""

    version: str
    num_hashes: int
    applies: bool
    """Whether its marker is true on this machine."""


def read_lock(text: str) -> dict[str, Locked]:
    """The entries of a lock file as `uv pip compile --generate-hashes` writes it; the one that applies here, by name.

    Raises:
        ValueError: An entry has no exact version or no hash.
    """
    found: dict[str, Locked] = {}
    for entry in re.split(r"\n(?=[A-Za-z0-9])", "\n" + text):
        lines = [line.strip(" \\") for line in entry.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if not lines:
            continue
        requirement = Requirement(lines[0])
        hashes = [line for line in lines[1:] if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)]
        pins = [pin for pin in requirement.specifier if pin.operator == "=="]
        if len(pins) != 1 or not hashes:
            raise ValueError(f"{requirement.name} is not pinned with hashes: `make lock` writes the lock file anew")
        applies = requirement.marker is None or requirement.marker.evaluate()
        name = canonicalize_name(requirement.name)
        if applies or name not in found:
            found[name] = Locked(version=pins[0].version, num_hashes=len(hashes), applies=applies)
    return found


def installed() -> dict[str, str]:
    """Name and version of every package of this environment."""
    return {canonicalize_name(found.metadata["Name"]): found.version for found in distributions()}


def known_bad(packages: Mapping[str, str]) -> list[str]:
    """A sentence for each installed package that must not be."""
    return [
        f"{name} {packages[name]} is bad: {reason}"
        for name, (versions, reason) in BAD.items()
        if name in packages and SpecifierSet(versions, prereleases=True).contains(packages[name])
    ]


def differences(packages: Mapping[str, str], lock: Mapping[str, Locked]) -> list[str]:
    """A sentence for each package that is not the locked one.

    A local build (`2.13.0+cpu`) counts as its version: its hash is another one than the public file's, and nobody has
    compared it.
    """
    told = []
    for name, version in sorted(packages.items()):
        if name in UNLOCKED:
            continue
        if name not in lock:
            told.append(f"{name} {version} is not in the lock file")
        elif Version(version).public != Version(lock[name].version).public:
            told.append(f"{name} is {version}, locked is {lock[name].version}")
    return told


def local_builds(packages: Mapping[str, str]) -> list[str]:
    """Packages whose file is no published one."""
    return [f"{name} {version}" for name, version in sorted(packages.items()) if Version(version).local]


def ask_database(lock: Path, tool: Path) -> tuple[list[str], int]:
    """Ask PyPI's advisories, through pip-audit, about every locked package.

    Returns:
        A sentence for each vulnerability, and how many packages the database knew.
    """
    command = [str(tool), "-r", str(lock), "--disable-pip", "--require-hashes", "--format", "json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    try:
        packages = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return [], 0
    told = [
        f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    return told, sum("skip_reason" not in package for package in packages)


def main() -> int:
    """Check this environment; see above for the exit codes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lock", type=Path, default=LOCK)
    parser.add_argument("--tools", type=Path, default=TOOLS, help="folder of pip-audit")
    options = parser.parse_args()
    packages, lock = installed(), read_lock(options.lock.read_text(encoding="utf-8"))
    bad, other = known_bad(packages), differences(packages, lock)
    say(f"{len(packages)} packages are installed; {len(BAD)} are looked at for versions known to be bad", bad)
    say(f"{options.lock} pins {len(lock)} packages with {sum(e.num_hashes for e in lock.values()):,} hashes", other)
    if local := local_builds(packages):
        say(f"no published file, so its hash is not in the lock file: {', '.join(local)}", [])
    flaws, num_known = ask_database(options.lock, options.tools / "pip-audit")
    if num_known:
        say(f"the database of advisories knows {num_known} of {len(lock)} locked packages", flaws)
    else:
        say("THE DATABASE OF ADVISORIES COULD NOT BE ASKED: no vulnerability that is not named here was looked for", [])
    if bad or other or flaws:
        return FOUND
    return 0 if num_known else UNREACHABLE


def say(sentence: str, found: Iterable[str]) -> None:
    """Print a line and what was found, indented."""
    sys.stdout.write("\n  ".join([sentence, *found]) + "\n")


if __name__ == "__main__":
    sys.exit(main())
