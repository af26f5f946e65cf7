"""Transfer learning for 12-lead ECGs: pre-train, fine-tune, train from scratch, compare.

    >>> import ecg_transfer as et
    >>> upstream = et.pretrain("cpsc2018")                    # doctest: +SKIP
    >>> run = et.finetune("ptb", upstream=upstream)           # doctest: +SKIP
    >>> run.scores["val_selected"].f1_weighted                # doctest: +SKIP

Names are imported when they are first used, so that importing this package does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_modules.config import DataConfig
    from data_modules.corpora import CORPORA
    from data_modules.corpus import Corpus, CorpusSpec, Record
    from data_modules.datamodule import ECGDataModule
    from data_modules.own.arrays import corpus_from_arrays
    from data_modules.plot import plot_ecg
    from data_modules.simulation import simulate_ecg
    from data_modules.sources import open_corpus
    from ecg_transfer.advice.advise import advise
    from ecg_transfer.classifier import ECGClassifier
    from ecg_transfer.comparison import find_pairs, plot_curves
    from ecg_transfer.config import RunConfig
    from ecg_transfer.config_reading import make_config
    from ecg_transfer.evaluation import evaluate
    from ecg_transfer.export import export_run
    from ecg_transfer.loaded_model import LoadedModel, load_model
    from ecg_transfer.metrics import Scores, score
    from ecg_transfer.models import BACKBONES, Backbone, create_backbone
    from ecg_transfer.runs import Run, find_runs, open_run
    from ecg_transfer.training import datamodule, finetune, pretrain, train, train_from_scratch
    from ecg_transfer.upstream_choice.transferability import transferability

_HOMES = {
    "data_modules.config": ("DataConfig",),
    "data_modules.corpora": ("CORPORA",),
    "data_modules.corpus": ("Corpus", "CorpusSpec", "Record"),
    "data_modules.datamodule": ("ECGDataModule",),
    "data_modules.own.arrays": ("corpus_from_arrays",),
    "data_modules.plot": ("plot_ecg",),
    "data_modules.simulation": ("simulate_ecg",),
    "data_modules.sources": ("open_corpus",),
    "ecg_transfer.advice.advise": ("advise",),
    "ecg_transfer.classifier": ("ECGClassifier",),
    "ecg_transfer.comparison": ("find_pairs", "plot_curves"),
    "ecg_transfer.config": ("RunConfig",),
    "ecg_transfer.config_reading": ("make_config",),
    "ecg_transfer.evaluation": ("evaluate",),
    "ecg_transfer.export": ("export_run",),
    "ecg_transfer.loaded_model": ("LoadedModel", "load_model"),
    "ecg_transfer.metrics": ("Scores", "score"),
    "ecg_transfer.models": ("BACKBONES", "Backbone", "create_backbone"),
    "ecg_transfer.runs": ("Run", "find_runs", "open_run"),
    "ecg_transfer.training": ("datamodule", "finetune", "pretrain", "train", "train_from_scratch"),
    "ecg_transfer.upstream_choice.transferability": ("transferability",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any of the names above
    if name not in _HOME:
        raise AttributeError(f"module 'ecg_transfer' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
