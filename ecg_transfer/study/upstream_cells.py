"""Which pre-trained model a fine-tuning started from, as far as a table of runs tells."""

from __future__ import annotations

from typing import Any

import pandas as pd


def with_upstream_cells(results: pd.DataFrame) -> pd.DataFrame:
    """Add `upstream_cell` and its like, and tell in `upstream` how it was trained where that is not as usual."""
    if results.empty:
        return results
    told: dict[str, pd.Series[Any]] = {}
    # a model whose pre-training is not among the runs is told by its name, or models of one corpus would be averaged
    for column, unknown in (
        ("cell", "upstream_run"),
        ("kin", "upstream"),
        ("rivals", "upstream"),
        ("recipe", "recipe"),
    ):
        of_run = dict(zip(results["run"], results[column], strict=True))
        told[f"upstream_{column}"] = results["upstream_run"].map(of_run).fillna(results[unknown])
    labels = results["upstream_run"].map(dict(zip(results["run"], results["label_set"], strict=True)))
    named = results["upstream"].copy()
    named[labels.notna()] += ", labels " + labels[labels.notna()].astype(str)
    has_own = named.notna() & (told["upstream_recipe"] != results["recipe"])
    named[has_own] += ", " + told["upstream_recipe"][has_own] + " recipe"
    told["upstream_kind"] = named.str.partition(", ")[2] if named.notna().any() else named
    named_alike = [named, results["backbone"], results["recipe"]]
    is_ambiguous = told["upstream_cell"].groupby(named_alike).transform("nunique") > 1
    told["upstream_mark"] = (" (" + told["upstream_cell"].astype(str).str[-8:] + ")").where(is_ambiguous, "")
    return results.assign(upstream=named, **told).drop(columns=["kin", "rivals"])
