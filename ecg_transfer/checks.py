"""What `data_modules.corpus_check` finds, as a run says it: a warning at its start, and counts in its manifest."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_modules.config import DataConfig
from data_modules.corpus import CorpusNotFoundError
from data_modules.corpus_check import check_corpus
from data_modules.datamodule import ECGDataModule
from data_modules.findings import LEAKS, MEANINGS, Finding, summarise
from data_modules.sources import is_corpus
from ecg_transfer.config import Phase
from ecg_transfer.config_reading import Overrides, make_config
from ecg_transfer.lineage import lineage
from ecg_transfer.resolve import Resolved, pretrain_config
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, open_run
from ecg_transfer.trained_records import data_of
from ecg_transfer.upstream import COMPARED_BY, RecordsOverlapWarning, TrainingUnknownWarning

SHOWN = 3
"""Findings of a kind that a warning names."""


def checks(resolved: Resolved, data: ECGDataModule) -> dict[str, int]:
    """Look at a run's records before it is trained; warn of copies and patients on two sides, and what is not known.

    Args:
        resolved: Names the upstream; an upstream run's training records are compared where their cache is there.
        data: Set up.

    Returns:
        Number of findings by code, for the manifest.
    """
    upstream = resolved.upstream
    trained_on = upstream.training_data(data) if upstream is not None else {}
    there = [theirs for theirs in trained_on.values() if theirs is not None]
    findings = check_corpus(data, *there)
    leaks = [finding for finding in findings if finding.code in LEAKS]
    if leaks:
        against = f" --against {upstream.name}" if upstream is not None and there else ""
        warnings.warn(
            f"{data.corpus.spec.name}: {_sentence(leaks)}. `ecg-transfer data check {data.corpus.spec.name}{against}` "
            "names all of them",
            RecordsOverlapWarning,
            stacklevel=2,
        )
    unknown = [name for name, theirs in trained_on.items() if theirs is None]
    if unknown and not data.corpus.is_simulated:
        warnings.warn(
            f"whether evaluated records of {data.corpus.spec.name} are among those that {' and '.join(unknown)} was "
            "trained on cannot be told: these are not here any more as they were, or were prepared in another way",
            TrainingUnknownWarning,
            stacklevel=2,
        )
    return summarise(findings)


def data_to_check(
    name: str, against: str | None, *, recipe: str = "paper", overrides: Overrides = (), output: Path = DEFAULT_OUTPUT
) -> tuple[ECGDataModule, list[ECGDataModule]]:
    """A corpus as a run would have it, and what it is to be compared with; all set up, with the same preparation.

    Args:
        name: Of the corpus.
        against: A corpus, which is taken as a pre-training of the same recipe would have it; or a run, as whose records
            the corpus is prepared, with the runs that it goes back to; or None.
        recipe: A key of `ecg_transfer.recipes.RECIPES`.
        overrides: Fields to change.
        output: Where runs live.

    Raises:
        ValueError: There is no such corpus, an override asks for another preparation than the run's, or the run's
            records have changed.
        CorpusNotFoundError: The run's are not here.
        RunNotFoundError: There is no such run.
    """
    phase: Phase = "scratch" if against is None else "finetune"
    config = make_config(phase, name, recipe=recipe, upstream=against, overrides=overrides)
    upstreams: list[ECGDataModule] = []
    if against is not None and is_corpus(against, config.data.root):
        upstreams = [ECGDataModule(pretrain_config(config).data)]
        upstreams[0].setup()
    elif against is not None:
        plain = make_config(phase, name, recipe=recipe, upstream=against).data
        run, *before = lineage(open_run(against, output))
        _prepare_alike(config.data, run.config.data, plain, against)
        upstreams = [data_of(run), *_those_here(before, config.data)]
    data = ECGDataModule(config.data)
    data.setup()
    return data, upstreams


def _those_here(runs: Sequence[Run], prepared: DataConfig) -> Iterator[ECGDataModule]:
    """The data of earlier runs, set up; with a warning of each that cannot be compared."""
    for run in runs:
        try:
            data = data_of(run)
        except (CorpusNotFoundError, ValueError) as error:
            why = str(error)
        else:
            if all(getattr(data.config, name) == getattr(prepared, name) for name in COMPARED_BY):
                yield data
                continue
            why = "its records were prepared in another way"
        warnings.warn(f"not compared with {run.name}: {why}", TrainingUnknownWarning, stacklevel=3)


def _prepare_alike(ours: DataConfig, theirs: DataConfig, plain: DataConfig, run: str) -> None:
    """Take over how a run's records were prepared: copies are told from records prepared alike.

    Args:
        ours: Is changed.
        theirs: The run's.
        plain: As `ours` without the user's overrides.
        run: Its name.

    Raises:
        ValueError: An override asks for something else.
    """
    for name in COMPARED_BY:
        given, wanted = getattr(ours, name), getattr(theirs, name)
        if given not in (wanted, getattr(plain, name)):
            raise ValueError(f"data.{name}={given}: {run} was trained with data.{name}={wanted}, leave that out")
        setattr(ours, name, wanted)


def _sentence(leaks: Sequence[Finding]) -> str:
    parts = []
    for code, count in summarise(leaks).items():
        named = [finding for finding in leaks if finding.code == code][:SHOWN]
        examples = "; ".join(f"{', '.join(finding.records[:3])} {finding.detail}" for finding in named)
        parts.append(f"{count} x {MEANINGS[code]} ({examples}{'; ...' if count > SHOWN else ''})")
    return "; ".join(parts)
