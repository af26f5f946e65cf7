"""The tables of a report that show comparisons: Table 2, convergence, learning curves, labels, and the runs behind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ecg_transfer.study.arrangement import Setting, backbone_name, corpus_name, is_same_corpus, metric_name, size_text
from ecg_transfer.study.bootstrap import interval, mean_over_seeds
from ecg_transfer.study.effects import ARMS, CellEffect
from ecg_transfer.study.equivalence import crossover, data_equivalence
from ecg_transfer.study.learning_curve import LearningCurve
from ecg_transfer.study.page import (
    MISSING,
    Anchors,
    Entry,
    RunLink,
    Table,
    direction,
    limits,
    number,
    p_text,
    plain,
    run_link,
    signed,
    with_interval,
)
from ecg_transfer.study.pairs import Cell
from ecg_transfer.study.speed import Speed
from ecg_transfer.way_names import WAY_NAMES

ZERO_SHOT = ("zero_shot/f1", "zero_shot/auroc")
"""Columns of the labels' table that a fine-tuning has and a training from scratch has not."""

MAX_EQUIVALENCES = 6
"""Learning curves whose data-equivalence is told; each costs thousands of interpolations."""


def score_table(setting: Setting, anchors: Anchors, metric: str, name: str = "table-2") -> Table:
    """Table 2: the score of every upstream, model and downstream in both arms, and the difference."""
    downstreams = setting.downstreams
    shown = {name: [effect for place, effect in setting.places.items() if place[1] == name] for name in downstreams}
    sizes = {name: size_text(effects) for name, effects in shown.items()}
    headers = ["upstream", "model", *(f"{corpus_name(name)} ({sizes[name]})" for name in downstreams)]
    rows: list[list[Entry]] = []
    for upstream in setting.upstreams:
        for backbone in setting.backbones:
            found = [setting.places.get((upstream, downstream, backbone)) for downstream in downstreams]
            if any(found):
                cells = [
                    Entry("same corpus", kind="missing")
                    if is_same_corpus(upstream, downstream)
                    else _score_entry(effect, sizes[downstream], anchors)
                    for downstream, effect in zip(downstreams, found, strict=True)
                ]
                repeats = bool(rows) and rows[-1][0].text == corpus_name(upstream)
                first = Entry(corpus_name(upstream), kind="repeat" if repeats else "")
                rows.append([first, Entry(backbone_name(backbone)), *cells])
    duplicates = setting.num_not_placed
    more = [f"{duplicates} more comparisons stand at places shown here: see the CSV file."] if duplicates else []
    return Table(
        id=name,
        title="Table 2",
        caption=f"Test {metric_name(metric)}, fine-tuned / from scratch, mean over seeds; below it the difference with "
        "its 95 % interval over test patients and seeds. ▲ or ▼: the interval excludes 0. A number leads to its runs.",
        headers=headers,
        rows=rows,
        num_heading_columns=2,
        file="effects.csv",
        notes=more,
    )


def effect_table(settings: Sequence[Setting], anchors: Anchors, metric: str, limit: int) -> Table:
    """Every comparison of every setting and size, one a row, the first `limit` of them."""
    effects = [effect for setting in settings for effect in setting.effects]
    names = [setting.name for setting in settings for _ in setting.effects]
    rows = [_effect_row(effect, name, anchors) for effect, name in zip(effects[:limit], names, strict=False)]
    notes = [f"{len(effects) - limit:,} more are in the CSV file."] if len(effects) > limit else []
    return Table(
        id="effects",
        title="All comparisons",
        caption=f"Fine-tune minus scratch, test {metric_name(metric)}, every setting and every size of the training "
        "set. p: exact sign-flip test over seeds, adjusted by Holm over all rows; a dash where seeds are too few.",
        headers=["upstream", "downstream", "model", "setting", "n", "ECGs", "seeds", "fine-tuned", "scratch",
                 "difference", "95 % interval", "p (Holm)"],
        rows=rows,
        num_heading_columns=3,
        is_folded=True,
        file="effects.csv",
        notes=notes,
    )  # fmt: skip


def runs_table(
    cells: Sequence[Cell], anchors: Anchors, column: str, folder: Path, condition_of: Mapping[int, str]
) -> Table:
    """The runs behind each comparison, linked to their directories; by the cells' ids what tells their settings."""
    rows = [
        [
            Entry(f"{corpus_name(cell.upstream)} → {corpus_name(cell.downstream_name)}"),
            Entry(backbone_name(cell.backbone)),
            Entry(
                ", ".join(
                    [
                        cell.recipe,
                        *_unusual(cell.way),
                        f"lr {cell.lr:g}",
                        f"n={cell.num_train:,}",
                        *filter(None, [condition_of.get(id(cell))]),
                    ]
                )
            ),
            _kind(cell.simulated),
            *(_runs_entry(cell, arm, column, folder) for arm in ARMS),
        ]
        for cell in cells
    ]
    return Table(
        id="runs",
        title="Runs",
        caption="The runs of each comparison, by seed, with their test score; each leads to its directory.",
        headers=["corpora", "model", "setting", "ECGs", "fine-tuned", "from scratch"],
        rows=rows,
        anchors=[anchors[cell] for cell in cells],
        num_heading_columns=2,
        file="results.csv",
    )


def _unusual(way: str) -> list[str]:
    return [] if way == WAY_NAMES["full"] else [way]


def speed_table(setting: Setting, speeds: Iterable[Speed], anchors: Anchors) -> Table:
    """Convergence: how soon each arm reaches scratch's level."""
    rows = []
    for speed in speeds:
        cell = speed.cell
        low, high = speed.ratio_interval
        faster = "up" if high < 1 else "down" if low > 1 else ""
        medians = [plain(speed.medians[arm], 0) if np.isfinite(speed.medians[arm]) else "never" for arm in ARMS]
        rows.append(
            [
                Entry(f"{corpus_name(cell.upstream)} → {corpus_name(cell.downstream_name)}"),
                Entry(backbone_name(cell.backbone)),
                number(cell.num_train, 0),
                Entry(with_interval(speed.ratio, low, high, 2, sign=False), anchors.link(cell), "", f"number {faster}"),
                *(Entry(text, kind="number") for text in medians),
                *(Entry(f"{speed.num_censored[arm]} of {speed.num_runs[arm]}", kind="number") for arm in ARMS),
                Entry(signed(speed.jump_start), kind="number"),
            ]
        )
    return Table(
        id=f"convergence-{anchors.link(setting.effects[0].cell)[1:]}",
        title="Convergence",
        caption="Updates to 95 % of scratch's final validation score: fine-tuning over scratch (below 1 is faster; "
        "geometric mean with its 95 % interval over seeds), Kaplan–Meier medians, runs that never get there, of those "
        "whose training from scratch ends above 0 and so sets a target, and the difference in test score after the "
        "first evaluated epoch (jump-start).",
        headers=["corpora", "model", "n", "ratio of updates", "median fine-tuned", "median scratch",
                 "never, fine-tuned", "never, scratch", "jump-start"],
        rows=rows,
        num_heading_columns=2,
        file="speeds.csv",
    )  # fmt: skip


def equivalence_table(curves: Sequence[LearningCurve], anchors: Anchors) -> Table:
    """How many records training from scratch needs for what fine-tuning scores, and where it catches up."""
    rows = []
    for curve in curves[:MAX_EQUIVALENCES]:
        caught_up = crossover(curve).text()
        for place, (point, found) in enumerate(zip(curve.points, data_equivalence(curve), strict=True)):
            cell, effect = point.cell, point.effect
            rows.append(
                [
                    Entry(f"{corpus_name(cell.upstream)} → {corpus_name(cell.downstream_name)}"),
                    Entry(backbone_name(cell.backbone)),
                    number(cell.num_train, 0),
                    _difference(point, anchors),
                    Entry(found.text(), kind="number"),
                    Entry(caught_up if place == 0 else "", kind="number"),
                    number(effect.num_seeds, 0),
                ]
            )
    hidden = len(curves) - MAX_EQUIVALENCES
    return Table(
        id="equivalence",
        title="How many records fine-tuning is worth",
        caption="Records on which training from scratch scores what fine-tuning scores on n, and the size from which "
        "scratch is as good, with 95 % intervals; interpolated between measured sizes, never extrapolated.",
        headers=["corpora", "model", "n", "difference", "equals scratch on", "scratch catches up at", "seeds"],
        rows=rows,
        num_heading_columns=2,
        notes=[f"{hidden} more learning curves are not told here."] if hidden > 0 else [],
    )


def label_tables(setting: Setting, labels: pd.DataFrame, anchors: Anchors) -> list[Table]:
    """Per-label results with positives, a table a downstream corpus: F1 of both arms and the difference."""
    if labels.empty:
        return []
    by_run = {str(name): group for name, group in labels.groupby("run", sort=False)}
    tables = []
    for downstream in setting.downstreams:
        rows = []
        for upstream in setting.upstreams:
            for backbone in setting.backbones:
                effect = setting.places.get((upstream, downstream, backbone))
                if effect is not None:
                    rows += _label_rows(effect.cell, by_run, anchors)
        tables.append(
            Table(
                id=f"labels-{downstream.replace(', ', '-').replace(' ', '-')}",
                title=f"{corpus_name(downstream)}, label by label",
                caption="Test F1 and AUROC at the epoch chosen on validation, threshold 0.5, mean over seeds; the 95 % "
                "interval of the difference in F1 is over seeds alone. A label with few positives has a rough score. "
                "Zero-shot: the upstream's own head before any training, where it knows the label.",
                headers=[
                    "upstream",
                    "model",
                    "label",
                    "positives in test",
                    "in training",
                    "F1 fine-tuned",
                    "F1 scratch",
                    "difference in F1",
                    "AUROC fine-tuned",
                    "AUROC scratch",
                    "F1 zero-shot",
                    "AUROC zero-shot",
                ],
                rows=rows,
                num_heading_columns=3,
                is_folded=True,
                file="labels.csv",
            )
        )
    return tables


def _label_rows(cell: Cell, by_run: dict[str, pd.DataFrame], anchors: Anchors) -> list[list[Entry]]:
    arms = {arm: [by_run.get(str(name)) for name in cell.pairs[f"run_{arm}"]] for arm in ARMS}
    if any(frame is None for frames in arms.values() for frame in frames):
        return []
    first = arms["finetune"][0]
    assert first is not None
    values = {
        (arm, score): np.stack([frame[score].to_numpy(np.float64) for frame in frames if frame is not None])
        for arm, frames in arms.items()
        for score in ("f1", "auroc", *ZERO_SHOT)
    }
    units = [*zip(cell.pairs["seed_finetune"], cell.pairs["subset_seed_finetune"], strict=True)]
    member = np.array([[unit == key for unit in units] for key in cell.repetitions], dtype=np.float64)
    member /= member.sum(axis=1, keepdims=True)
    by_unit = {key: member @ scores for key, scores in values.items()}
    differences = by_unit["finetune", "f1"] - by_unit["scratch", "f1"]
    rows = []
    for place, (label, test, train) in enumerate(
        zip(first["label"], first["positives_test"], first["positives_train"], strict=True)
    ):
        difference = differences[:, place]
        low, high = interval(mean_over_seeds(difference, cell.units)) if len(difference) > 1 else (np.nan, np.nan)
        rows.append(
            [
                Entry(corpus_name(cell.upstream)),
                Entry(backbone_name(cell.backbone)),
                Entry(str(label)),
                number(test, 0),
                number(train, 0),
                *(number(float(by_unit[arm, "f1"][:, place].mean()), link=anchors.link(cell)) for arm in ARMS),
                Entry(signed(difference.mean()), "", limits(low, high), f"number {direction(low, high)}"),
                *(number(float(by_unit[arm, "auroc"][:, place].mean())) for arm in ARMS),
                *(number(float(by_unit["finetune", score][:, place].mean())) for score in ZERO_SHOT),
            ]
        )
    return rows


def _score_entry(effect: CellEffect | None, sizes: str, anchors: Anchors) -> Entry:
    """A comparison; its own size where that is not the one of the whole column."""
    if effect is None:
        return Entry("not run", kind="missing")
    scores = " / ".join(plain(effect.scores[arm]) for arm in ARMS)
    found = effect.effect
    own = size_text([effect])
    detail = f"{own}: " * (own != sizes) + with_interval(found.estimate, found.low, found.high)
    return Entry(
        scores, anchors.link(effect.cell), detail, f"number {direction(found.low, found.high, found.num_seeds)}"
    )


def _difference(effect: CellEffect, anchors: Anchors) -> Entry:
    found = effect.effect
    kind = f"number {direction(found.low, found.high, found.num_seeds)}"
    return Entry(signed(found.estimate), anchors.link(effect.cell), limits(found.low, found.high), kind)


def _effect_row(result: CellEffect, setting: str, anchors: Anchors) -> list[Entry]:
    cell, effect = result.cell, result.effect
    return [
        Entry(corpus_name(cell.upstream)),
        Entry(corpus_name(cell.downstream_name)),
        Entry(backbone_name(cell.backbone)),
        Entry(setting),
        number(cell.num_train, 0),
        _kind(cell.simulated),
        number(effect.num_seeds, 0),
        *(number(result.scores[arm]) for arm in ARMS),
        Entry(signed(effect.estimate), anchors.link(cell), "",
              f"number {direction(effect.low, effect.high, effect.num_seeds)}"),
        Entry(limits(effect.low, effect.high) or MISSING, kind="number"),
        Entry(p_text(effect.p_holm), kind="number"),
    ]  # fmt: skip


def _kind(simulated: bool) -> Entry:
    return Entry("SIMULATED", kind="simulated") if simulated else Entry("real")


def _runs_entry(cell: Cell, arm: str, column: str, folder: Path) -> Entry:
    """The runs of one arm; one that several pairs share is listed once."""
    columns = [f"{key}_{arm}" for key in ("run", "path", "seed", column)]
    runs = cell.pairs.drop_duplicates(f"run_{arm}")[columns].itertuples(index=False)
    return Entry(
        "",
        runs=tuple(
            RunLink(name=str(name), seed=int(seed), score=plain(float(score)), link=run_link(path, folder))
            for name, path, seed, score in runs
        ),
    )
