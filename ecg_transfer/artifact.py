"""A model that one can take away, in one place: write it with `export_run`, use it with `load_model`."""

from __future__ import annotations

from ecg_transfer.export import ExportError, export_run
from ecg_transfer.loaded_model import LoadedModel, load_model
from ecg_transfer.model_folder import ModelFolder, ModelFolderError, read_model_folder

__all__ = [
    "ExportError",
    "LoadedModel",
    "ModelFolder",
    "ModelFolderError",
    "export_run",
    "load_model",
    "read_model_folder",
]
