"""The tables of a report that show the study itself: corpora, verdicts, optimism, cost, provenance."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ecg_transfer.study.arrangement import DOWNSTREAMS, UPSTREAMS, backbone_name, corpus_name, in_order, metric_name
from ecg_transfer.study.evidence import ClaimResult
from ecg_transfer.study.page import MISSING, Entry, Table, limits, number, p_text, plain, signed, with_interval

Manifest = Mapping[str, Any]
"""The content of a run's `manifest.json`."""

PHASE_NAMES = {"pretrain": "pre-training", "finetune": "fine-tuning", "scratch": "from scratch"}
"""How phases are written."""


def corpora_table(manifests: Iterable[Manifest]) -> Table:
    """Table 1: the corpora, as the runs with the largest training set of each saw them."""
    largest: dict[tuple[str, bool], Manifest] = {}
    for manifest in manifests:
        data = manifest["data"]
        key = (data["corpus"], bool(data["simulated"]))
        known = largest.get(key)
        if known is None or _num_train(data) > _num_train(known):
            largest[key] = data
    names = in_order({name for name, _ in largest}, (*UPSTREAMS, *DOWNSTREAMS))
    rows = []
    for name in names:
        for simulated in (False, True):
            data = largest.get((name, simulated))
            if data is not None:
                rows.append(_corpus_row(name, data))
    return Table(
        id="table-1",
        title="Table 1",
        caption="Corpora, as split for the runs with the largest training set of each. Records that were set aside "
        "have a reason. Where a corpus does not publish its patients, distinct recordings stand in for them, here and "
        "in every interval over patients.",
        headers=["corpus", "version", "ECGs", "train", "validation", "test", "patients", "labels", "set aside",
                 "licence"],
        rows=rows,
    )  # fmt: skip


def claims_table(claims: Sequence[ClaimResult]) -> Table:
    """Every verdict of every setting."""
    rows = [
        [
            Entry(claim.id),
            Entry(claim.setting),
            Entry("SIMULATED", kind="simulated") if claim.simulated else Entry("real"),
            Entry(claim.verdict, kind=f"verdict {claim.verdict.replace(' ', '-')}"),
            Entry(estimate_text(claim), kind="number"),
            Entry(p_text(claim.p_holm), kind="number"),
            number(claim.num_cells, 0),
            number(claim.num_seeds, 0),
            Entry(", ".join(map(corpus_name, claim.corpora)) or MISSING),
            Entry(claim.reason, kind="wide"),
        ]
        for claim in claims
    ]
    return Table(
        id="claims-table",
        title="Verdicts",
        caption="Every claim under every setting. The verdict follows from the 95 % interval by a rule declared before "
        "any result; p is adjusted by Holm over the four claims of a setting.",
        headers=[
            "claim",
            "setting",
            "ECGs",
            "verdict",
            "estimate",
            "p (Holm)",
            "cells",
            "seeds",
            "downstream",
            "reason",
        ],
        rows=rows,
        is_folded=True,
        file="claims.csv",
    )


def claims_frame(claims: Sequence[ClaimResult]) -> pd.DataFrame:
    """The same as a table for a program."""
    rows = [{**vars(claim), "corpora": " ".join(claim.corpora), "notes": "; ".join(claim.notes)} for claim in claims]
    return pd.DataFrame(rows)


def estimate_text(claim: ClaimResult) -> str:
    """The estimate with its interval: a ratio plainly, a difference with its sign."""
    is_ratio = claim.quantity.startswith("ratio")
    return with_interval(claim.estimate, claim.low, claim.high, 2 if is_ratio else 3, sign=not is_ratio)


def optimism_table(summary: pd.DataFrame) -> Table:
    """What choosing the epoch on the test set would add.

    Args:
        summary: As `optimism_summary` gives it.
    """
    rows = [
        [
            Entry(corpus_name(str(row["downstream"]))),
            Entry(backbone_name(str(row["backbone"]))),
            Entry(PHASE_NAMES.get(str(row["phase"]), str(row["phase"]))),
            Entry(str(row["recipe"])),
            Entry(metric_name(str(row["monitor"]))),
            Entry("SIMULATED", kind="simulated") if row["simulated"] else Entry("real"),
            number(float(row["num_runs"]), 0),
            Entry(signed(float(row["mean"])), kind="number"),
            Entry(limits(float(row["low"]), float(row["high"])) or MISSING, kind="number"),
            Entry(signed(float(row["largest"])), kind="number"),
        ]
        for row in summary.to_dict("records")
    ]
    return Table(
        id="optimism-table",
        title="Optimism",
        caption="Test score of the best epoch on the test set, as the paper reports it, minus that of the epoch chosen "
        "on validation: mean over runs with its 95 % interval over runs, and the largest.",
        headers=["corpus", "model", "start", "recipe", "score", "ECGs", "runs", "optimism", "95 % interval", "largest"],
        rows=rows,
        num_heading_columns=3,
        is_folded=True,
        file="optimism.csv",
    )


def cost_table(results: pd.DataFrame, hardware: Mapping[str, str]) -> Table:
    """What the runs cost: hours, and records a second.

    Args:
        results: As `results_table` gives it.
        hardware: By run name.
    """
    columns = ["phase", "pretext", "downstream", "backbone", "precision", "simulated"]
    rows = []
    table = results if results.empty else results.assign(hardware=results["run"].map(hardware))
    for values, group in () if results.empty else table.groupby([*columns, "hardware"], sort=True, dropna=False):
        phase, pretext, corpus, backbone, precision, simulated, machine = values
        rows.append(
            [
                Entry(PHASE_NAMES.get(str(phase), str(phase)) + (f", {pretext}" if pretext != "none" else "")),
                Entry(corpus_name(str(corpus))),
                Entry(backbone_name(str(backbone))),
                Entry(f"{machine}, {precision}"),
                Entry("SIMULATED", kind="simulated") if simulated else Entry("real"),
                number(len(group), 0),
                number(float(group["seconds"].sum()) / 3600, 2),
                number(float(group["seconds"].median()) / 60, 1),
                number(float(group["records_per_second"].median()), 0),
            ]
        )
    return Table(
        id="cost-table",
        title="Cost",
        caption="Time that trainings took, with validation and testing of every epoch, and training records a second "
        "(median of the runs). The clock of a machine that does other work at the same time runs up more.",
        headers=["start", "corpus", "model", "on", "ECGs", "runs", "hours in all", "minutes a run", "records a second"],
        rows=rows,
        num_heading_columns=3,
        is_folded=len(rows) > 12,
        file="results.csv",
    )


def provenance_table(manifests: Sequence[Manifest], results: pd.DataFrame) -> Table:
    """With what the runs were made: versions, code, machines, seeds; each with the number of runs."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for manifest in manifests:
        for package, version in (manifest.get("versions") or {}).items():
            counts[package][str(version or "not installed")] += 1
        code = manifest.get("code")
        counts["code"][f"{code['commit'][:12]}{' (changed)' * bool(code['changed'])}" if code else "no checkout"] += 1
        counts["machine"][hardware_name(manifest)] += 1
        counts["attempts a run"][str(len(manifest.get("attempts") or [0]))] += 1
    for column, name in (("seed", "seed"), ("subset_seed", "subset seed"), ("monitor", "epoch chosen by")):
        counts[name].update(map(str, [] if results.empty else results[column]))
    rows = [
        [Entry(name), Entry(", ".join(f"{value} ({number_of:,})" for value, number_of in sorted(found.items())))]
        for name, found in counts.items()
        if found
    ]
    return Table(
        id="provenance-table",
        title="Provenance",
        caption="In brackets the number of runs. Each run's directory has its whole manifest and configuration.",
        headers=["what", "values (runs)"],
        rows=rows,
    )


def hardware_name(manifest: Manifest) -> str:
    """The accelerator, or the processor with its threads."""
    hardware = manifest.get("hardware") or {}
    if hardware.get("gpus"):
        return " + ".join(f"{count} × {name}" for name, count in sorted(Counter(hardware["gpus"]).items()))
    if hardware.get("processor"):
        return f"{hardware['processor']}, {hardware.get('threads', '?')} threads"
    return "unknown machine"


def _num_train(data: Mapping[str, Any]) -> int:
    return int(data["parts"]["train"]["records"])


def _corpus_row(name: str, data: Mapping[str, Any]) -> list[Entry]:
    aside = data.get("set_aside") or {}
    listed = ", ".join(f"{reason} {plain(count, 0)}" for reason, count in sorted(aside.items()))
    simulated, labels = bool(data["simulated"]), data["label_names"]
    return [
        Entry(corpus_name(name), detail=str(data.get("title") or "")),
        Entry(str(data.get("version") or MISSING)),
        Entry("SIMULATED", kind="simulated") if simulated else Entry("real", detail=_incomplete(data)),
        *(number(data["parts"][part]["records"], 0) for part in ("train", "val", "test")),
        number(data.get("num_groups"), 0),
        Entry(f"{len(labels)}: {', '.join(labels[:12])}{'…' * (len(labels) > 12)}", kind="wide"),
        Entry(listed or "none", kind="wide"),
        Entry(str(data.get("licence") or MISSING)),
    ]


def _incomplete(data: Mapping[str, Any]) -> str:
    """`310 of 6,877 records` where a copy is not whole."""
    _, separator, rest = str(data.get("completeness") or "").partition("incomplete copy, ")
    return rest.rstrip(".") if separator else ""
