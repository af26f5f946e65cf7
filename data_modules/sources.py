"""Where a corpus comes from: the user's disk, or a simulation in its place. The two never mix."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

from data_modules.corpora import CORPORA
from data_modules.corpus import SIMULATION_MARKER, Corpus, CorpusNotFoundError
from data_modules.simulation import SIMULATED_SIZES, simulate_corpus


def data_root(root: str | Path | None = None) -> Path:
    """The folder of all corpora: `root`, or else the environment's ECG_DATA_ROOT, or else `data`."""
    return Path(root or os.environ.get("ECG_DATA_ROOT") or "data").expanduser()


def will_simulate(name: str, root: str | Path | None, source: Literal["auto", "real", "simulated"]) -> bool:
    """Whether `open_corpus` would give a simulated corpus; costs no more than a look at the disk."""
    return source == "simulated" or (source == "auto" and not has_real_copy(name, root))


def has_real_copy(name: str, root: str | Path | None) -> bool:
    """Whether `root/name` holds the published files, and not simulated ones that were put in their place."""
    folder = data_root(root) / name
    return corpus_named(name).is_present(folder) and not (folder / SIMULATION_MARKER).exists()


def open_corpus(
    name: str,
    *,
    root: str | Path | None = None,
    source: Literal["auto", "real", "simulated"] = "auto",
    num_simulated: int | None = None,
    label_set: str | None = None,
    sampling_rate: int | None = None,
    progress: bool | None = None,
) -> Corpus:
    """Open a corpus by name; simulate it where it is not there and that is allowed.

    Args:
        name: A key of `CORPORA`.
        root: Folder of all corpora; see `data_root`. A real copy lies in `root/name`.
        source: `auto`: the copy on disk, or a simulated one; `real`: the copy on disk; `simulated`: never the disk.
        num_simulated: Records of a simulated corpus; None is its default size.
        label_set: One of the corpus's label sets; None is its default.
        sampling_rate: Hz at which to read it; None is its default.
        progress: Whether a simulation shows a bar; None shows one where there is a terminal.

    Raises:
        ValueError: No corpus has this name.
        CorpusNotFoundError: `source` is `real` and there is no copy.
    """
    corpus_class = corpus_named(name)
    folder = data_root(root) / name
    if source != "simulated" and has_real_copy(name, root):
        return corpus_class(folder, label_set=label_set, sampling_rate=sampling_rate)
    if source == "real":
        spec = corpus_class.spec
        found = "what lies there is simulated" if corpus_class.is_present(folder) else corpus_class.expected_layout()
        raise CorpusNotFoundError(
            f"no {spec.title} in {folder.resolve()}: {found}. "
            f"Get it from {spec.url} and put it there, or name the folder that holds `{name}` with ECG_DATA_ROOT or "
            "data.root; data.source=simulated runs on simulated ECGs instead"
        )
    size = num_simulated or SIMULATED_SIZES[name]
    folder = data_root(root) / "simulated" / f"{name}-{size}"
    show_bar = sys.stderr.isatty() if progress is None else progress
    simulate_corpus(name, folder, num_records=size, progress=show_bar)
    return corpus_class(folder, label_set=label_set, sampling_rate=sampling_rate)


def corpus_named(name: str) -> type[Corpus]:
    """The class of a corpus.

    Raises:
        ValueError: No corpus has this name; the message says what was probably meant.
    """
    if name in CORPORA:
        return CORPORA[name]
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), CORPORA, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"there is no corpus {name!r}: there are {', '.join(CORPORA)}{hint}")
