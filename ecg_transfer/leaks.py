"""What makes a finished run's test scores too good, said wherever they are shown.

A run looks for it before it is trained (`ecg_transfer.checks`, `ecg_transfer.manifest`), warns, and counts it in its
manifest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from data_modules.findings import LEAKS, MEANINGS


def leaks_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Number of findings by code, a key of `data_modules.findings.LEAKS`.

    Args:
        manifest: Of a run.
    """
    found = dict(manifest.get("checks") or {})
    copies = (manifest.get("upstream") or {}).get("evaluated_records_in_its_training") or {}
    found.setdefault("copy_in_upstream", sum(copies.values()))  # an exported upstream is known by its digests alone
    return {code: found[code] for code in LEAKS if found.get(code)}


def leak_sentences(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """A sentence for each corpus and kind of leak, the most frequent first; none where nothing was found.

    Args:
        manifests: Of the runs that are shown, each once.
    """
    num_runs: Counter[str] = Counter()
    counts: dict[tuple[str, str], list[int]] = defaultdict(list)
    commands: dict[tuple[str, str], str] = {}
    for manifest in manifests:
        corpus = manifest["data"].get("corpus", "")
        num_runs[corpus] += 1
        for code, count in leaks_of(manifest).items():
            counts[corpus, code].append(count)
            commands.setdefault((corpus, code), _command(corpus, code, manifest))
    return [
        f"Test scores on {corpus} may be too good: {leak_text(code, min(found), max(found))} (in {len(found):,} of "
        f"{num_runs[corpus]:,} runs on it).{commands[corpus, code]}"
        for (corpus, code), found in sorted(counts.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def leak_text(code: str, fewest: int, most: int | None = None) -> str:
    """How often a leak was found, and what it means: `2 x a patient on two sides`."""
    several = f"{fewest:,}" if most in (None, fewest) else f"{fewest:,} to {most:,}"
    return f"{several} x {MEANINGS[code]}"


def _command(corpus: str, code: str, manifest: Mapping[str, Any]) -> str:
    """What names them; nothing does of an exported model, whose records are not here."""
    if not code.endswith("_in_upstream"):
        return f" `ecg-transfer data check {corpus}` names them."
    upstream = manifest["upstream"]
    if upstream.get("record_sets") is not None:
        return ""
    return f" `ecg-transfer data check {corpus} --against {upstream['run']}` names them."
