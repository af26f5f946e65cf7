"""The command: measure block after block, judge the machine, print, compare, save."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from experiments.benchmarks.authors_loop import CheckoutError, check_reference
from experiments.benchmarks.block import BlockError, measure_apart
from experiments.benchmarks.machine import describe
from experiments.benchmarks.options import GROUPS, Options, all_blocks, chosen_blocks
from experiments.benchmarks.quiet import Watch, judge
from experiments.benchmarks.result import RESULTS, STOPPED, Result, rows_before, saved_results
from experiments.benchmarks.row import Row, number
from experiments.benchmarks.table import print_result, write_page

UNWATCHED = "scaling processes"
"""A block whose processes are not all waited for, so that they would pass for somebody else's."""


def bench(
    only: Annotated[
        str | None, typer.Option(help=f"Some of {','.join(GROUPS)}, or parts: 'step lstm 64,start help'.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rows and repeats: about two minutes.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Also all of PTB-XL, and ten times its size: 12 GB of disk.")
    ] = False,
    reference: Annotated[Path | None, typer.Option(help="The authors' checkout, run side by side.")] = None,
    scratch: Annotated[Path | None, typer.Option(help="Where to put up to 3 GB; else the system's folder.")] = None,
    to: Annotated[Path, typer.Option(help="Folder of the results.")] = RESULTS,
    page: Annotated[bool, typer.Option("--page", help="Only write the newest whole result into README.md.")] = False,
) -> None:
    """Measure how fast this machine trains, reads and starts, against plain PyTorch and wfdb. Never fails on a time."""
    if page:
        if not (saved := [result for result in saved_results(to) if result.whole]):
            sys.exit(f"there is no result of a whole `make bench` in {to}: make one first, without --only and --quick")
        write_page(saved[-1])
        return
    if reference is not None:
        try:
            check_reference(reference)
        except CheckoutError as error:
            sys.exit(str(error))
    for name in ("ECG_REAL_DATA", "ECG_DATA_ROOT"):  # blocks work in folders of their own
        if name in os.environ:
            os.environ[name] = str(Path(os.environ[name]).absolute())
    options = Options(quick=quick, full=full, reference=str(reference.absolute()) if reference else None)
    try:
        result = run(options, only, scratch)
    except ValueError as error:
        sys.exit(str(error))
    print_result(result, rows_before(result.machine, saved_results(to)))
    typer.echo(f"\nsaved: {result.save(to)}")
    sys.exit(1 if result.failed else 0)


def run(options: Options, only: str | None = None, scratch: Path | None = None) -> Result:
    """Measure block after block, each in a process of its own.

    Args:
        options: See there; the scratch folder is chosen here, one a block.
        only: See `chosen_blocks`.
        scratch: Where blocks' folders are made; None is the system's folder for such things.

    Raises:
        ValueError: `only` names something that there is not.
    """
    threads, gpus = _torch()
    chosen = chosen_blocks(all_blocks(options, has_gpu=bool(gpus)), only)
    date = datetime.now(UTC).isoformat(timespec="seconds").removesuffix("+00:00")
    watch = Watch()
    rows: list[Row] = []
    failed: dict[str, str] = {}
    for block in chosen:
        started = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory(prefix="ecg-bench-", dir=scratch) as folder:
                found = measure_apart(block, replace(options, scratch=folder))
            said = ", ".join(map(number, found))
        except BlockError as error:
            found, said = [], f"FAILED: {error}"
            failed[block.title] = str(error)
        except KeyboardInterrupt:
            failed[block.title] = STOPPED
            break
        rows += found
        watch.note(f"during {block.title}", others_known=block.title != UNWATCHED)
        typer.echo(f"{block.title}: {time.perf_counter() - started:.0f} s: {said}", err=True)
    machine = describe(threads, gpus)
    return Result(
        date=date,
        command=_command(only, options),
        machine=machine,
        seen=tuple(judge(watch.readings, int(machine["cores"]))),
        readings=tuple(reading.as_dict() for reading in watch.readings),
        rows=tuple(rows),
        failed=failed,
    )


def _command(only: str | None, options: Options) -> str:
    words = ["python experiments/benchmarks/bench.py", *([f"--only {quote(only)}"] if only else [])]
    words += [f"--{name}" for name in ("quick", "full") if getattr(options, name)]
    return " ".join([*words, *(["--reference DIR"] if options.reference else [])])


def _torch() -> tuple[int, list[str]]:
    """Threads that torch uses and the GPUs it sees, found out in a process of its own: torch stays out of this one."""
    code = (
        "import json, torch; print(json.dumps([torch.get_num_threads(), "
        "[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]]))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    threads, gpus = json.loads(found.stdout)
    return threads, gpus


def main() -> None:
    """Run the command line. Ctrl-C and SIGTERM end it with what was measured until then."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    typer.run(bench)
