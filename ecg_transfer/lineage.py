"""The runs that a fine-tuned run goes back to."""

from __future__ import annotations

from collections.abc import Iterator

from ecg_transfer.runs import Run, find_runs


def lineage(run: Run) -> Iterator[Run]:
    """The run, the one that it started from, the one that this started from, ..., as far as they lie beside it."""
    found: Run | None = run
    while found is not None:
        yield found
        found = _upstream_run(found)


def _upstream_run(run: Run) -> Run | None:
    """The run that a fine-tuning started from, where it lies beside it with the same weights."""
    about = run.manifest["upstream"]
    if about is None or about.get("record_sets") is not None:
        return None
    weights = about.get("weights_sha256")
    others = (other for other in find_runs(run.path.parents[1]) if other.name == about["run"])
    return next((other for other in others if weights in (None, other.weights_sha256)), None)
