"""Why a plan leaves out a corpus, or a fine-tuning from one corpus on another."""

from __future__ import annotations

from data_modules.config import DataConfig
from data_modules.corpus import CorpusNotFoundError
from data_modules.sources import has_real_copy, is_own, open_corpus, will_simulate
from ecg_transfer.config import RunConfig


def is_absent(data: DataConfig) -> bool:
    """Whether a published corpus must be real and is not on this disk."""
    is_published = data.source == "real" and not is_own(data.corpus, data.root)
    return is_published and not has_real_copy(data.corpus, data.root)


def missing(config: RunConfig) -> str | None:
    """Why a corpus cannot be used at all: it must be real and is not there."""
    data = config.data
    if data.source != "real":
        return None
    try:
        open_corpus(data.corpus, root=data.root, source="real")
    except CorpusNotFoundError as error:
        return f"{data.corpus} is left out: {error}"
    return None


def mixed(upstream: RunConfig, downstream: RunConfig) -> str | None:
    """Why a fine-tuning would be refused: real ECGs may not start from simulated ones unless that is allowed."""
    theirs, ours = upstream.data, downstream.data
    simulated = will_simulate(theirs.corpus, theirs.root, theirs.source)
    if downstream.transfer.allow_simulated or not simulated or will_simulate(ours.corpus, ours.root, ours.source):
        return None
    return (
        f"{ours.corpus} from {theirs.corpus} is left out: {ours.corpus} is real, {theirs.corpus} would be simulated; "
        "data.source: simulated simulates both, transfer.allow_simulated: true mixes them"
    )
