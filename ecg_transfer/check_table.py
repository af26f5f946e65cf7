"""What `ecg-transfer data check` found, for a terminal and as CSV."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from data_modules.datamodule import ECGDataModule
from data_modules.findings import MEANINGS, Finding, summarise
from ecg_transfer.tables import terminal

SHOWN = 4
"""Findings of a kind that the terminal names."""


def print_findings(data: ECGDataModule, findings: Sequence[Finding], upstreams: Sequence[ECGDataModule]) -> None:
    """What `data check` found: a line a kind, with some of its records."""
    console = terminal()
    summary, spec = data.summary(), data.corpus.spec
    console.print(str(summary["completeness"]), markup=False, style="bold")
    parts = ", ".join(f"{part} {len(rows):,}" for part, rows in data.rows.items())
    trained = [f"the {len(one.rows['train']):,} training records of {one.corpus.spec.name}" for one in upstreams]
    console.print(f"{parts}{'; compared with ' if trained else ''}{' and '.join(trained)}", markup=False)
    set_aside = summary["set_aside"]
    if isinstance(set_aside, dict) and set_aside:
        console.print(f"set aside: {', '.join(f'{code} {count}' for code, count in set_aside.items())}", markup=False)
    for notice in data.corpus.table.notices:
        console.print(f"note: {notice}", markup=False)
    table = Table("found", "", "which", box=None, padding=(0, 2, 0, 0))
    for code, count in summarise(findings).items():
        named = [finding for finding in findings if finding.code == code]
        examples = [f"{' = '.join(f.records[:3])} {f.detail}".strip() for f in named[:SHOWN]]
        table.add_row(
            code, str(count), Text("\n".join([MEANINGS[code], *examples, *(["..."] if count > SHOWN else [])]))
        )
    console.print(table if findings else f"nothing suspicious was found in {spec.name}", markup=False)


def write_findings(path: Path, findings: Sequence[Finding]) -> None:
    """All findings as CSV: code, records with `;` between them, detail."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["finding", "records", "detail"])
        writer.writerows([finding.code, ";".join(finding.records), finding.detail] for finding in findings)
