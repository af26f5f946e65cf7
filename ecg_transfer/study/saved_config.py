"""A run's configuration as it was saved, read quickly."""

from __future__ import annotations

from dataclasses import is_dataclass
from typing import Any, get_type_hints

from data_modules.plain_yaml import read_plain_yaml
from ecg_transfer.config import RunConfig
from ecg_transfer.runs import Run

SECTIONS: dict[str, Any] = {name: kind for name, kind in get_type_hints(RunConfig).items() if is_dataclass(kind)}
"""Name -> dataclass of every section of a configuration."""


def saved_config(run: Run) -> RunConfig:
    """The configuration of a run, read without OmegaConf's checks: it was checked when it was saved.

    About 50 times as fast as `Run.config`. A file with fields that this version does not know goes the checked way,
    which says what is wrong with it.
    """
    tree = read_plain_yaml(run.checked("config.yaml"))
    try:
        sections = {name: kind(**tree.get(name, {})) for name, kind in SECTIONS.items()}
        return RunConfig(**{**tree, **sections})
    except (TypeError, AttributeError):
        return run.config
