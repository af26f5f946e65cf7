"""What makes a finished run's test scores too good, said wherever they are shown.

A run looks for it before it is trained (`ecg_transfer.checks`), warns, and counts it in its manifest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from data_modules.findings import LEAKS, MEANINGS


def leaks_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Number of findings by code, a key of `data_modules.findings.LEAKS`.

    Args:
        manifest: Of a run.
    """
    found = manifest.get("checks") or {}
    return {code: found[code] for code in LEAKS if found.get(code)}


def leak_sentences(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each corpus and kind of leak, the most frequent corpus first; none where nothing was found.

    Args:
        manifests: Of the runs that are shown, each once.
    """
    every = list(manifests)
    counts: dict[tuple[str, str], list[int]] = defaultdict(list)
    for manifest in every:
        for code, count in leaks_of(manifest).items():
            counts[manifest["data"]["corpus"], code].append(count)
    return [
        f"Test scores on {corpus} may be too good: {leak_text(code, min(found), max(found))} "
        f"(in {len(found):,} of {len(every):,} runs). `ecg-transfer data check {corpus}` names them."
        for (corpus, code), found in sorted(counts.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def leak_text(code: str, fewest: int, most: int | None = None) -> str:
    """How often a leak was found, and what it means: `2 x a patient on two sides`."""
    several = f"{fewest:,}" if most in (None, fewest) else f"{fewest:,} to {most:,}"
    return f"{several} x {MEANINGS[code]}"
