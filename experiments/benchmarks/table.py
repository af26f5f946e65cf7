"""A result as a table in a terminal and as Markdown on the page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.result import Result
from experiments.benchmarks.row import Row, change, number

PAGE = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- table: begin (make bench writes it) -->", "<!-- table: end -->"

Before = Mapping[tuple[str, str], tuple[Row, Result]]


def print_result(result: Result, before: Before) -> None:
    """All rows, with what changed since the last saved result, and what the machine was doing."""
    console = Console(highlight=False)
    console = console if console.is_terminal else Console(highlight=False, width=200)
    table = Table("", "median", "lowest-highest", "n", "goal", "since the last", "", box=None, padding=(0, 2, 0, 0))
    group = ""
    for row in result.rows:
        if row.group != group:
            group = row.group
            table.add_row(f"\n{group}", style="bold")
        old = before.get((row.group, row.name))
        changed = "" if old is None else change(row, old[0]) or "same"
        table.add_row(row.name, number(row), spread(row), str(len(row.repeats)), goal(row), changed, row.note)
    console.print(table)
    for block, reason in result.failed.items():
        console.print(f"could not be measured: {block}: {reason}", markup=False)
    compared = sorted({(old.date, old.quiet) for _, old in before.values()})
    for date, quiet in compared:
        console.print(f"compared with {date}{'' if quiet else ', when the machine was NOT quiet'}", markup=False)
    console.print(f"\n{verdict(result)}", markup=False)
    for sentence in result.seen:
        console.print(f"  {sentence}", markup=False)


def verdict(result: Result) -> str:
    """Whether the machine was quiet, a sentence."""
    if result.quiet:
        return "The machine was quiet."
    return "The machine was NOT quiet: absolute times are worth nothing, ratios less than their spread says."


def goal(row: Row) -> str:
    """The goal, and whether it is met."""
    if row.goal is None:
        return ""
    sign = "at least" if row.better == "higher" else "at most"
    return f"{sign} {row.goal:g}: {'met' if row.meets_goal else 'MISSED'}"


def spread(row: Row) -> str:
    """Lowest and highest repeat."""
    return "-".join(f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" for value in row.spread)


def markdown(result: Result) -> str:
    """The table of the page, with the machine and the command above it."""
    machine = result.machine
    lines = [
        f"{result.date[:10]}, commit {machine['commit']}, `{result.command}`: {machine['processor']}, "
        f"{machine['cores']} cores, {machine['threads']} threads, {machine['memory_gib']} GiB, "
        f"{machine['system']} {machine['kernel']}, torch {machine['versions']['torch']}; "
        f"settings: {', '.join(f'{name}={value}' for name, value in machine['settings'].items()) or 'none'}.",
        "",
        verdict(result),
        *(f"- {sentence}" for sentence in result.seen),
        "",
        "| | median | lowest-highest | n | goal | |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.group}: {row.name} | {number(row)} | {spread(row)} | {len(row.repeats)} | {goal(row)} | {row.note} |"
        for row in result.rows
    ]
    lines += [f"\nCould not be measured: {block}: {reason}" for block, reason in result.failed.items()]
    return "\n".join(lines)


def write_page(result: Result, page: Path = PAGE) -> None:
    """Replace what stands between the page's two markers.

    Raises:
        ValueError: The page has no markers.
    """
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r}; put them where the table belongs")
    head, rest = text.split(BEGIN, 1)
    page.write_text(f"{head}{BEGIN}\n\n{markdown(result)}\n\n{END}{rest.split(END, 1)[1]}")
