"""The `study` verbs of the command line. What they need is imported when they run."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from ecg_transfer.study.plan import Plan
    from ecg_transfer.study.schedule import Pool, Summary

study_app = typer.Typer(
    help="Plan, run, watch and judge a whole study: a YAML file of grids.", no_args_is_help=True, rich_markup_mode=None
)

StudyFile = Annotated[Path, typer.Argument(metavar="FILE", help="experiments/quick.yaml, ...")]
Output = Annotated[Path, typer.Option(help="Folder of the runs.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Runs at the same time; by default what is quickest here.")]
Grids = Annotated[list[str] | None, typer.Option("--grid", help="Only this grid of the study; may be repeated.")]

DEFAULT_OUTPUT = Path("checkpoints")


@study_app.command("plan")
def plan_command(
    file: StudyFile,
    output: Output = DEFAULT_OUTPUT,
    grid: Grids = None,
    workers: Workers = None,
    brief: Annotated[bool, typer.Option("--brief", help="Only the sums.")] = False,
    probe: Annotated[bool, typer.Option(help="Measure speeds that are not known yet.")] = True,
) -> None:
    """Print a study's runs, what is done, and how long the rest takes."""
    from ecg_transfer.study.estimate import estimate
    from ecg_transfer.study.plan_table import print_plan

    plan = _plan(file, output, grid)
    print_plan(plan, estimate(plan, workers, measure=probe, report=_say), brief=brief, probed=probe)


@study_app.command("run")
def run_command(
    file: StudyFile,
    output: Output = DEFAULT_OUTPUT,
    grid: Grids = None,
    workers: Workers = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Processes here, or a Ray cluster.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster; else one is started here.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Cores of each run.")] = None,
    gpus_per_run: Annotated[float, typer.Option(min=0, help="Ray: GPUs of each run, a fraction shares one.")] = 0.0,
    timeout: Annotated[float | None, typer.Option(min=0, help="Hours after which a run is killed.")] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again also what would fail in the same way.")
    ] = False,
) -> None:
    """Do the runs that are not done. Stop it any way, start it again: it goes on."""
    from ecg_transfer.study.estimate import require_room
    from ecg_transfer.study.local import LocalPool
    from ecg_transfer.study.schedule import execute

    _refuse_options_of_the_other(engine, address, gpus_per_run, timeout)
    signal.signal(signal.SIGTERM, _terminated)
    plan = _plan(file, output, grid)
    _say_notices(plan)
    _require_runs(plan)
    if all(planned.run.is_done for planned in plan.runs):
        _finish(execute(plan, LocalPool(num_workers=1), report=_say))  # looked through: no worker is started
    require_room(plan, workers or 1)
    if engine == "ray":
        pool = _ray_pool(address, workers, threads, gpus_per_run)
    else:
        pool = _local_pool(plan, workers, threads, timeout)
    try:
        summary = execute(plan, pool, retry_failed=retry_failed, report=_say)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pool.close()
    _finish(summary)


@study_app.command("status")
def status_command(
    file: StudyFile,
    output: Output = DEFAULT_OUTPUT,
    grid: Grids = None,
    workers: Annotated[int | None, typer.Option(min=1, help="For the time left; else those at work now.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once.")] = False,
) -> None:
    """Show what is done, what runs, how far it is and how long it still takes."""
    from rich.console import Console

    from ecg_transfer.study.estimate import estimate
    from ecg_transfer.study.status import render, watch

    plan = _plan(file, output, grid, absent=True)
    _say_notices(plan)
    costs = estimate(plan, workers, measure=False)[0].costs
    if once or not sys.stdout.isatty():
        Console(soft_wrap=True, highlight=False).print(render(plan, costs, workers))
    else:
        watch(plan, costs, num_workers=workers)


@study_app.command("report")
def report_command(
    file: StudyFile,
    output: Output = DEFAULT_OUTPUT,
    grid: Grids = None,
    to: Annotated[
        Path | None, typer.Option("--to", "-o", help="Folder of the report; else reports/NAME among the runs.")
    ] = None,
    metric: Annotated[
        str, typer.Option(help="The test score it is about: f1_weighted, f1_macro, auroc_macro or ap_macro.")
    ] = "f1_weighted",
) -> None:
    """Judge and draw what is done: one HTML page, its figures, its tables, a TensorBoard log."""
    from ecg_transfer.corpora_cli import one_of
    from ecg_transfer.study.results import METRICS

    one_of("--metric", metric, METRICS)
    from ecg_transfer.study.report_command import report

    plan = _plan(file, output, grid, absent=True)
    _say_notices(plan)
    _require_runs(plan)
    lines = report(
        to or output / "reports" / plan.study.name,
        output=output,
        planned=[planned.run for planned in plan.runs],
        title=plan.study.title or plan.study.name,
        notes=plan.notices,
        metric=metric,
    )
    for line in lines:
        typer.echo(line)


def _plan(file: Path, output: Path, grids: list[str] | None, *, absent: bool = False) -> Plan:
    from ecg_transfer.study.definition import read_study
    from ecg_transfer.study.plan import make_plan

    return make_plan(read_study(file, grids), output, absent=absent)


def _require_runs(plan: Plan) -> None:
    """Refuse a plan without runs: there is nothing to do, and a report of it would replace one of runs."""
    if not plan.runs:
        raise ValueError(f"{plan.study.name}: nothing is left that could be run; the notes above say why")


def _refuse_options_of_the_other(
    engine: Literal["local", "ray"], address: str | None, gpus_per_run: float, timeout: float | None
) -> None:
    """Refuse what an engine would not look at."""
    of_ray: dict[str, object] = {"--address": address, "--gpus-per-run": gpus_per_run or None}
    unread = of_ray if engine == "local" else {"--timeout": timeout}
    if given := [option for option, value in unread.items() if value is not None]:
        other = "ray" if engine == "local" else "local"
        found = " and ".join(given)
        raise ValueError(f"the engine {engine} does not look at {found}: add --engine {other}, or leave that out")


def _say_notices(plan: Plan) -> None:
    """What a plan leaves out, and why: a study of a corpus that is not there looks as if it had no runs."""
    for notice in plan.notices:
        _say(f"note: {notice}")


def _local_pool(plan: Plan, workers: int | None, threads: int | None, timeout: float | None) -> Pool:
    from ecg_transfer.devices import require_devices
    from ecg_transfer.precision import require_precision
    from ecg_transfer.study.estimate import estimate
    from ecg_transfer.study.local import LocalPool, visible_gpus
    from ecg_transfer.study.probe import threads_for
    from ecg_transfer.study.quantities import duration

    for planned in plan.runs:  # before any is begun: all of them would fail
        if not planned.run.is_done:
            require_devices(planned.config)
            require_precision(planned.config)
    best = estimate(plan, workers, measure=workers is None, report=_say)[0]
    num_threads = threads or threads_for(best.num_workers)
    left = f", about {duration(best.seconds)}" if best.costs else ""
    num_waiting = sum(not planned.run.is_done for planned in plan.runs)
    _say(f"{plan.study.name}: {num_waiting} runs to do with {best.num_workers} x {num_threads} threads{left}")
    return LocalPool(
        num_workers=best.num_workers,
        num_threads=num_threads,
        gpus=visible_gpus(),
        run_timeout=None if timeout is None else 3600 * timeout,
    )


def _ray_pool(address: str | None, workers: int | None, threads: int | None, gpus_per_run: float) -> Pool:
    try:
        from ecg_transfer.study.ray_engine import RayPool
    except ImportError as error:
        raise ValueError(f"the engine ray needs the extra: pip install 'ecg-transfer[ray]' ({error})") from error
    return RayPool(address=address, num_workers=workers, num_threads=threads or 1, num_gpus=gpus_per_run)


def _finish(summary: Summary) -> NoReturn:
    """Say how the study stands; exit with 1 if something failed."""
    _say(f"{len(summary.kept)} runs were done before, {len(summary.done)} now")
    for name, reason in summary.failed.items():
        _say(f"failed: {name}: {reason}")
    if summary.blocked:
        _say(f"blocked: {len(summary.blocked)} runs whose pre-training failed")
    raise SystemExit(1 if summary.failed else 0)


def _terminated(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _say(sentence: str) -> None:
    typer.echo(sentence, err=True)
