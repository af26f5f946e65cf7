"""`ecg-transfer labels`: which labels of two corpora mean the same, and what a model makes of them untrained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from data_modules.config import DataConfig
    from data_modules.label_map import LabelMatch
    from ecg_transfer.upstream import Upstream


def labels(
    upstream: Annotated[str, typer.Argument(help="A corpus, or a run or exported model, whose head is then scored.")],
    downstream: Annotated[str, typer.Argument(help="A corpus.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Fields of its data: data.label_set=all", metavar="[FIELD=VALUE]...")
    ] = None,
    part: Annotated[
        str, typer.Option(help="Records that the head is scored on: val, or test when nothing is chosen by it.")
    ] = "val",
    trust: Annotated[bool, typer.Option("--trust", help="Run the code of a model's own backbone.")] = False,
    output: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("checkpoints"),
) -> None:
    """Which labels mean the same; of a run or a model also its head's scores on them, without any training."""
    from data_modules.label_map import match_labels
    from data_modules.sources import is_corpus, spec_named
    from ecg_transfer.config_reading import data_config

    if part not in ("train", "val", "test"):
        raise ValueError(f"--part is {part!r}, expected val, test or train")
    data = data_config(downstream, overrides or ())
    sets = spec_named(downstream, data.root).label_sets
    if data.label_set is not None and data.label_set not in sets:
        raise ValueError(f"{downstream} has no label set {data.label_set!r}; it has: {', '.join(sets)}")
    ours = sets[data.label_set or next(iter(sets))]
    if is_corpus(upstream, data.root):
        if trust or part != "val":
            raise ValueError(f"{upstream} is a corpus, no model: --part and --trust are for a run or an exported model")
        for name, theirs in spec_named(upstream, data.root).label_sets.items():
            _print(
                match_labels(upstream, theirs, downstream, ours, data.root), f"{upstream} ({name})", downstream, ours
            )
        return
    from ecg_transfer.runs import Run
    from ecg_transfer.upstream_choice.transferability import find_upstreams

    (model,) = find_upstreams([upstream], data, output, simulated=False)
    if isinstance(model.origin, Run):
        model.origin.require_labels()
    matches = model.matches(downstream, ours, data.root)
    _print(matches, model.name, downstream, ours)
    _print_scores(model, data, matches, part, trust)


def _print(matches: list[LabelMatch], upstream: str, downstream: str, ours: tuple[str, ...]) -> None:
    from rich.table import Table

    from ecg_transfer.tables import terminal

    console = terminal()
    alone = [label for label in ours if label not in {match.downstream for match in matches}]
    console.print(f"\n{upstream} -> {downstream}", markup=False, style="bold")
    if matches:
        table = Table(downstream, "upstream", "the upstream's label is", "by", box=None, padding=(0, 2, 0, 0))
        for match in matches:
            table.add_row(match.downstream, match.upstream, match.relation, _basis(match.basis))
        console.print(table)
    if alone:
        console.print(f"without a counterpart: {', '.join(alone)}", markup=False)


def _basis(basis: str) -> str:
    return f"SNOMED CT {basis}" if basis.isdecimal() else "its name" if basis == "name" else basis


def _print_scores(model: Upstream, data: DataConfig, matches: list[LabelMatch], part: str, trust: bool) -> None:
    from rich.table import Table

    from ecg_transfer.tables import _number, terminal
    from ecg_transfer.upstream_choice.transferability import Prepared
    from ecg_transfer.upstream_choice.zero_shot import zero_shot

    console = terminal()
    prepared = Prepared(data)[model.inputs]
    found = zero_shot(model, prepared, matches, part=part, trust=trust)
    if not found:
        console.print("no label means the same: its head cannot be scored", markup=False)
        return
    kinds = [f"{kind} ECGs" for kind in sorted({_kind(model.simulated), _kind(prepared.corpus.is_simulated)})]
    table = Table(
        "label", "upstream", "positives", "AUROC", "95 %", "F1 at 0.5", "95 %", box=None, padding=(0, 2, 0, 0)
    )
    for one in found:
        texts = [_limits(one.auroc_limits), _number(one.f1), _limits(one.f1_limits)]
        table.add_row(one.downstream, one.upstream, str(one.num_positives), _number(one.auroc), *texts)
    console.print(
        f"\nits head as it is, on {len(prepared.rows[part])} {part} records, {' and '.join(kinds)}; intervals over "
        "patients:",
        markup=False,
    )
    console.print(table)
    if copies := model.seen_records(prepared)[prepared.rows[part]].sum():
        console.print(
            f"{copies} of the {part} records are copies of ones that it was trained on: scores on them are no scores "
            "on new patients",
            markup=False,
        )


def _kind(simulated: bool) -> str:
    return "SIMULATED" if simulated else "real"


def _limits(limits: tuple[float, float]) -> str:
    return f"[{limits[0]:.3f}, {limits[1]:.3f}]"
