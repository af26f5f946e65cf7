"""Where a corpus comes from: the user's disk, or a simulation in its place. The two never mix.

A published corpus lies in a folder of its name below the data root; an own one is described there by `<name>.yaml`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal, get_args

from data_modules.corpora import CORPORA
from data_modules.corpus import SIMULATION_MARKER, Corpus, CorpusNotFoundError, CorpusSpec
from data_modules.own.definition import definition_path, is_own_name, load_definition, own_names, resolve_path
from data_modules.simulation import SIMULATED_SIZES, simulate_corpus

Source = Literal["auto", "real", "simulated"]


def data_root(root: str | Path | None = None) -> Path:
    """The folder of all corpora: `root`, or else the environment's ECG_DATA_ROOT, or else `data`."""
    return Path(root or os.environ.get("ECG_DATA_ROOT") or "data").expanduser()


def will_simulate(name: str, root: str | Path | None, source: Source) -> bool:
    """Whether `open_corpus` would give a simulated corpus; costs no more than a look at the disk.

    An own corpus is never simulated in its place; it is a simulated one where its folder carries the marker.

    Raises:
        ValueError: No corpus has this name, or an unknown source.
    """
    _require_source(source)
    if is_own(name, root):
        return source != "real" and _own_is_simulated(name, root, source)
    return source == "simulated" or (source == "auto" and not has_real_copy(name, root))


def is_own(name: str, root: str | Path | None = None) -> bool:
    """Whether the user has added a corpus of this name. Published names always mean the published corpus."""
    return name not in CORPORA and is_own_name(name) and definition_path(data_root(root), name).is_file()


def is_corpus(name: str, root: str | Path | None = None) -> bool:
    """Whether a name is that of a corpus, published or own."""
    return name in CORPORA or is_own(name, root)


def own_corpora(root: str | Path | None = None) -> list[str]:
    """Names of the own corpora, sorted."""
    return [name for name in own_names(data_root(root)) if name not in CORPORA]


def spec_named(name: str, root: str | Path | None = None) -> CorpusSpec:
    """The datasheet of a corpus, published or own.

    Raises:
        ValueError: No corpus has this name.
        CorpusNotFoundError: An own corpus's records are gone.
    """
    return open_corpus(name, root=root).spec if is_own(name, root) else corpus_named(name, root).spec


def _require_source(source: str) -> None:
    if source not in get_args(Source):
        raise ValueError(f"source is {source!r}, expected one of {', '.join(get_args(Source))}")


def _own_is_simulated(name: str, root: str | Path | None, source: str) -> bool:
    home = data_root(root)
    path = resolve_path(load_definition(definition_path(home, name)).path, home)
    simulated = ((path if path.is_dir() else path.parent) / SIMULATION_MARKER).exists()
    if source == "simulated" and not simulated:
        raise ValueError(f"{name} is your own corpus: it is never simulated; leave out data.source=simulated")
    return simulated


def has_real_copy(name: str, root: str | Path | None) -> bool:
    """Whether `root/name` holds the published files, and not simulated ones that were put in their place."""
    folder = data_root(root) / name
    return corpus_named(name, root).is_present(folder) and not (folder / SIMULATION_MARKER).exists()


def open_corpus(
    name: str,
    *,
    root: str | Path | None = None,
    source: Source = "auto",
    num_simulated: int | None = None,
    label_set: str | None = None,
    sampling_rate: int | None = None,
    progress: bool | None = None,
) -> Corpus:
    """Open a corpus by name; simulate it where it is not there and that is allowed.

    Args:
        name: A key of `CORPORA`, or an own corpus.
        root: Folder of all corpora; see `data_root`. A real copy lies in `root/name`.
        source: `auto`: the copy on disk, or a simulated one; `real`: the copy on disk; `simulated`: never the disk.
        num_simulated: Records of a simulated corpus; None is its default size.
        label_set: One of the corpus's label sets; None is its default.
        sampling_rate: Hz at which to read it; None is its default.
        progress: Whether a simulation shows a bar; None shows one where there is a terminal.

    Raises:
        ValueError: No corpus has this name, or an unknown source.
        CorpusNotFoundError: `source` is `real` and there is no copy.
    """
    _require_source(source)
    if is_own(name, root):
        return _open_own(name, root, source, label_set, sampling_rate)
    corpus_class = corpus_named(name, root)
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


def _open_own(
    name: str, root: str | Path | None, source: str, label_set: str | None, sampling_rate: int | None
) -> Corpus:
    from data_modules.own.own_corpus import open_own

    path = definition_path(data_root(root), name)
    if _own_is_simulated(name, root, source) and source == "real":
        raise CorpusNotFoundError(f"{name} ({path}) holds simulated ECGs; data.source=real asks for others")
    return open_own(path, label_set=label_set, sampling_rate=sampling_rate)


def corpus_named(name: str, root: str | Path | None = None) -> type[Corpus]:
    """The class of a published corpus.

    Args:
        name: Its name.
        root: Folder of all corpora, whose own ones may be meant by another name; see `data_root`.

    Raises:
        ValueError: No corpus has this name; the message says what was probably meant.
    """
    if name in CORPORA:
        return CORPORA[name]
    from difflib import get_close_matches

    known = [*CORPORA, *own_corpora(root)]
    close = get_close_matches(name.lower(), known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"there is no corpus {name!r}: there are {', '.join(known)}{hint}. "
        "`ecg-transfer corpora add` makes one of your own files"
    )
