"""A trained model to be used: raw millivolts in, named probabilities out; from a run or from an exported folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from data_modules.config import DataConfig, Preprocessing
from data_modules.corpora import CORPORA
from data_modules.corpus import LEAD_NAMES, RecordError
from data_modules.masked import without_mask
from data_modules.quality import require_amplitudes
from data_modules.reading import whole_rate
from data_modules.signal import prepare, scale
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.model_folder import (
    ModelFolder,
    ModelFolderError,
    is_model_folder,
    read_model_folder,
    refuse_by_name,
)
from ecg_transfer.runs import DEFAULT_OUTPUT, Run, open_run
from ecg_transfer.weights import WeightsMismatchError, require_fit, require_known, require_numbers

BATCH_SIZE = 256
"""Records that go through the network at a time."""

TRAINED_ON_SIMULATED = "trained on SIMULATED ECGs"
"""What is said with every finding of a model that was."""


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A classifier and everything that its input and output mean."""

    classifier: ECGClassifier
    """In evaluation mode, on the CPU."""
    label_names: tuple[str, ...]
    preprocessing: Preprocessing
    thresholds: NDArray[np.float64]
    """Probability above which a record is positive, tuned on validation, (L,)."""
    source: str
    """Name of the run, or of the exported model with the beginning of its weights' hash."""
    simulated: bool = False
    """Whether it was trained, or its pre-training was, on simulated ECGs."""

    @property
    def title(self) -> str:
        """The `source`, and that there were simulated ECGs behind it where there were."""
        return f"{self.source} [{TRAINED_ON_SIMULATED}]" if self.simulated else self.source

    def probabilities(
        self, signals: ArrayLike, sampling_rate: float, *, batch_size: int = BATCH_SIZE
    ) -> NDArray[np.float32]:
        """Probabilities of recordings.

        Args:
            signals: Millivolts, (B, 12, T), leads I, II, III, aVR, aVL, aVF, V1 to V6.
            sampling_rate: Hz of `signals`, a whole number.
            batch_size: Records that go through the network at a time.

        Returns:
            (B, L), in the order of `label_names`.

        Raises:
            ValueError: Another shape, missing samples, amplitudes that no ECG has or flat leads (as `predict` refuses
                them), or recordings that are shorter than the model's input where it was not trained on padded ones.
        """
        recordings = without_mask(signals)
        rate = whole_rate(sampling_rate)
        self._check(recordings, rate)
        found = [
            self._probabilities(recordings[start : start + batch_size], rate)
            for start in range(0, len(recordings), batch_size)
        ]
        return np.concatenate(found) if found else np.zeros((0, len(self.label_names)), np.float32)

    def _probabilities(self, signals: NDArray[np.floating], sampling_rate: int) -> NDArray[np.float32]:
        prepared = [prepare(signal.astype(np.float32), sampling_rate, self.preprocessing).T for signal in signals]
        dtype = next(self.classifier.parameters()).dtype
        with torch.inference_mode():
            batch = scale(torch.from_numpy(np.stack(prepared)), self.preprocessing.scale).transpose(1, 2)
            found: NDArray[np.float32] = self.classifier(batch.to(dtype)).sigmoid().float().numpy()
        return found

    def _check(self, signals: NDArray[np.floating], sampling_rate: int) -> None:
        if signals.ndim != 3 or signals.shape[1] != len(LEAD_NAMES):
            raise ValueError(f"signals have shape {signals.shape}, expected (records, 12 leads, samples) in millivolts")
        if not np.isfinite(signals).all():
            raise ValueError("signals hold NaN or infinite values; interpolate the gaps, or leave those records out")
        seconds = signals.shape[2] / sampling_rate
        needed = self.preprocessing.num_samples / self.preprocessing.sampling_rate
        if seconds < needed and (self.preprocessing.short == "set_aside" or signals.shape[2] == 0):
            raise ValueError(
                f"recordings of {seconds:g} s are shorter than the {needed:g} s that {self.source} was trained on"
            )
        for number, signal in enumerate(signals):
            try:
                require_amplitudes(signal.astype(np.float32), sampling_rate, f"record {number}")
            except RecordError as error:
                raise ValueError(f"{error.detail}: are the signals in millivolts?") from error


def load_model(source: str | Path | Run, *, output: str | Path = DEFAULT_OUTPUT, trust: bool = False) -> LoadedModel:
    """A model by its exported folder, its run's directory or its run's name.

    Args:
        source: Which.
        output: Where runs live, for a name.
        trust: Allow that a folder or a run names a backbone `package.module:factory`, whose code is then imported from
            this environment and run; of a run that this process trained itself it is allowed. From the folder itself no
            code is ever run.

    Raises:
        ModelFolderError: The folder is damaged, copied in part, or not what it says.
        UntrustedCodeError: It names code and is not trusted.
        WeightsMismatchError: Its weights are not those of the model it names.
        ValueError: It is an address, or a single file that may be a pickle.
        RunNotFoundError: There is no such run.
        NoLabelsError: It was trained without labels.
    """
    if not isinstance(source, Run):
        refuse_by_name(source)
        if is_model_folder(source):
            return model_of(read_model_folder(source), trust=trust)
    run = source if isinstance(source, Run) else open_run(source, output)
    run.require_labels()
    per_class = run.results["val_selected"]["test_tuned"]["per_class"]
    classifier = run.model(trust=trust)
    return LoadedModel(
        classifier=classifier,
        label_names=classifier.label_names,
        preprocessing=preprocessing_of(run),
        thresholds=np.array([per_class[name]["thresholds"] for name in classifier.label_names]),
        source=run.name,
        simulated=is_of_simulated(run.manifest["data"], (run.manifest["upstream"] or {}).get("trained_on", [])),
    )


def is_of_simulated(data: Mapping[str, Any], pretrained_on: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any recordings that a model has seen were simulated.

    Args:
        data: What its manifest, or its `config.json`, says of the corpus that it was trained on.
        pretrained_on: The same of the corpora of its pre-training.
    """
    return any(corpus.get("simulated") for corpus in (data, *pretrained_on))


def preprocessing_of(run: Run) -> Preprocessing:
    """How a run prepared its recordings, as its manifest has it; works without the corpus."""
    stored = run.manifest["data"].get("preprocessing")
    return run_preprocessing(run.config.data) if stored is None else Preprocessing(**stored)


def run_preprocessing(data: DataConfig) -> Preprocessing:
    """How a run prepared its recordings, for runs whose manifest does not say it."""
    if data.corpus in CORPORA:
        return data.preprocessing(CORPORA[data.corpus].spec)
    return Preprocessing(
        sampling_rate=data.sampling_rate,
        num_samples=data.num_samples,
        resample=data.resample,
        crop=data.crop,
        short=data.short or "set_aside",
        scale=data.scale,
    )


def model_of(folder: ModelFolder, *, trust: bool = False) -> LoadedModel:
    """The model of an exported folder; see `load_model`."""
    require_known(folder.backbone, folder.path, trust=trust)
    num_samples, windows = folder.preprocessing.num_samples, folder.windows
    try:
        require_fit(
            folder.shapes(),
            folder.backbone,
            num_labels=len(folder.label_names),
            num_leads=len(LEAD_NAMES),
            num_samples=num_samples if windows is None else windows.length,
        )
        state = folder.state_dict()
        require_numbers(state)
    except WeightsMismatchError as error:
        raise ModelFolderError(f"the weights in {folder.path} cannot be used: {error}") from error
    classifier = ECGClassifier(folder.backbone, folder.label_names, num_samples=num_samples, windows=windows)
    classifier.to(state["head.weight"].dtype).load_state_dict(state, strict=True)
    return LoadedModel(
        classifier=classifier.eval(),
        label_names=folder.label_names,
        preprocessing=folder.preprocessing,
        thresholds=np.array(folder.thresholds),
        source=folder.full_name,
        simulated=is_of_simulated(folder.config["data"], folder.config["pretrained_on"]),
    )
