"""A plan in a terminal: its runs, what each needs, what is done, how long and how much it will take."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

from ecg_transfer.study.estimate import Estimate, num_epochs, room
from ecg_transfer.study.plan import Plan
from ecg_transfer.study.probe import threads_for
from ecg_transfer.study.quantities import duration, file_size

PHASES = {"pretrain": "pre-trainings", "finetune": "fine-tunings", "scratch": "trainings from scratch"}


def print_plan(plan: Plan, estimates: list[Estimate], *, brief: bool = False, probed: bool = False) -> None:
    """Print a plan.

    Args:
        plan: What to print.
        estimates: The best first, as `estimate` gives them.
        brief: Only the sums, not the runs.
        probed: Whether speeds that were not known were to be measured: what is not known then cannot be.
    """
    console = Console(soft_wrap=True, highlight=False)
    if not brief and plan.runs:
        wide = max((len(planned.name) for planned in plan.runs), default=0) + 60  # a cut name could not be searched for
        Console(width=max(wide, console.width), soft_wrap=True, highlight=False).print(_runs(plan, estimates[0]))
        console.print()
    title = f": {plan.study.title}" if plan.study.title else ""
    console.print(f"{plan.study.name}{title}", markup=False, style="bold")
    console.print(_sentence(plan), markup=False)
    for sentence in _estimates(plan, estimates, probed=probed):
        console.print(sentence, markup=False)
    for notice in plan.notices:
        console.print(f"note: {notice}", markup=False)


def _runs(plan: Plan, best: Estimate) -> Table:
    columns = ("run", "needs", "records", "epochs", "takes", "status")
    table = Table(*(Column(name, no_wrap=True) for name in columns), box=None, padding=(0, 2, 0, 0))
    for planned in plan.runs:
        expected = best.costs.get(planned.name)
        table.add_row(
            planned.name,
            "" if planned.upstream is None else planned.upstream.name.rpartition("-")[2],
            f"{planned.sizes.train:,}",
            str(num_epochs(planned)),
            "" if expected is None else duration(expected.seconds),
            {"absent": "", "unfinished": "begun"}.get(planned.run.status, planned.run.status),
        )
    return table


def _sentence(plan: Plan) -> str:
    counts = ", ".join(f"{len(plan.by_phase(phase))} {words}" for phase, words in PHASES.items())  # type: ignore[arg-type]
    num_done = sum(planned.run.is_done for planned in plan.runs)
    simulated = sum(planned.simulated for planned in plan.runs)
    if not plan.runs:
        return "There is nothing to run."
    kind = {0: "real ECGs", len(plan.runs): "SIMULATED ECGs"}.get(simulated, f"{simulated} of them on SIMULATED ECGs")
    return f"{len(plan.runs)} runs ({counts}) on {kind}; {num_done} are done."


def _estimates(plan: Plan, estimates: list[Estimate], *, probed: bool) -> list[str]:
    best = estimates[0]
    num_waiting = sum(not planned.run.is_done for planned in plan.runs)
    if not num_waiting:
        return ["Nothing is left to do."] if plan.runs else []
    if len(best.costs) < num_waiting:
        remedy = "the lines above say why" if probed else "leave out --no-probe to measure it"
        return [f"The speed of {num_waiting - len(best.costs)} runs is not measured: {remedy}."]
    sentences = [
        f"The rest takes about {duration(best.seconds)} with {_workers(best)}, and {file_size(best.num_bytes)} of disk "
        f"({file_size(room(plan.output))} are free)."
    ]
    if best.num_bytes > room(plan.output):
        sentences.append("note: that is more than there is room for.")
    others = [f"{duration(other.seconds)} with {_workers(other)}" for other in estimates[1:] if other.costs]
    return sentences + ([f"It would take {', '.join(others)}."] if others else [])


def _workers(one: Estimate) -> str:
    threads = threads_for(one.num_workers)
    return f"{one.num_workers} {_many('worker', one.num_workers)} of {threads} {_many('thread', threads)}"


def _many(word: str, number: int) -> str:
    return word if number == 1 else f"{word}s"
