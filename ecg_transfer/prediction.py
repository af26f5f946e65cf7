"""A model's probabilities for files of any format that is read: streamed, so that memory does not grow with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data_modules.corpus import Record, RecordError
from data_modules.formats import FORMATS
from data_modules.formats.raw_record import Format
from data_modules.formats.wfdb import header_of
from data_modules.ingest import screen_for
from data_modules.own.listing import Place, detect_format, format_of, read_place, record_files
from data_modules.reading import ReadingOptions, to_record
from data_modules.signal import crop_or_pad, prepare, resample, scale
from ecg_transfer.loaded_model import LoadedModel
from ecg_transfer.precision import in_full_precision

BATCH_SIZE = 256
"""Windows that go through the network at a time."""

MAX_HELD = 2**25
"""Samples of decoded recordings that are held for plots before the network is run."""


@dataclass(frozen=True, kw_only=True)
class FilePrediction:
    """What a model says of one record, or why it says nothing."""

    name: str
    """The file as it was given, with `:row` in a file of many records."""
    logits: NDArray[np.float64] | None = None
    """(windows, L); None for a record that cannot be used."""
    notes: tuple[str, ...] = ()
    """Codes out of `data_modules.quality.NOTES`."""
    record: Record | None = None
    """The recording, screened, where it was asked to be kept."""
    error: RecordError | None = None

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Mean over the windows, (L,).

        Raises:
            RecordError: The one for which the record cannot be used.
        """
        if self.logits is None:
            raise self.error or RecordError("unreadable", self.name)
        mean: NDArray[np.float64] = (1.0 / (1.0 + np.exp(-self.logits))).mean(axis=0)
        return mean


def predict_files(
    model: LoadedModel,
    files: Sequence[str | Path],
    *,
    reading: ReadingOptions | None = None,
    format_name: str | None = None,
    windows: bool = False,
    keep_records: bool = False,
    device: str | None = None,
) -> Iterator[FilePrediction]:
    """Predict record by record, in the order of the files. Signals are prepared exactly as those of the training.

    Args:
        model: From `load_model`.
        files: Files, or folders of them; a WFDB record also by its name alone or its signal file.
        reading: What the files do not say of themselves.
        format_name: A key of `FORMATS`; None goes by the files' endings.
        windows: Cut longer recordings into windows of the model's length, side by side (the last one ends with the
            recording), and average their probabilities; by default the part is used that was in the training.
        keep_records: Whether results carry their recording.
        device: Where; None is a GPU if there is one.

    Yields:
        One result a record. A bad file, or one that is not there, is a result with an `error`.

    Raises:
        ValueError: There is no such format.
        CorpusFormatError: A folder holds no known format or several, or a library is missing.
    """
    if format_name is not None and format_name not in FORMATS:
        raise ValueError(f"there is no format {format_name!r}: there are {', '.join(FORMATS)}")
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model.classifier.eval().to(chosen)
    options = reading or ReadingOptions()
    pending: list[tuple[FilePrediction, list[NDArray[np.float32]]]] = []
    num_windows = num_held = 0
    for name, place, kind in _places(files, format_name, options.dataset):
        entry, parts = _decode(name, place, kind, model, options, windows=windows, keep=keep_records)
        pending.append((entry, parts))
        num_windows += len(parts)
        num_held += entry.record.signal.size if entry.record is not None else 0
        if num_windows >= BATCH_SIZE or num_held >= MAX_HELD or len(pending) >= BATCH_SIZE:
            yield from _run(model, pending, chosen)
            pending, num_windows, num_held = [], 0, 0
    yield from _run(model, pending, chosen)


def _places(
    files: Iterable[str | Path], format_name: str | None, dataset: str | None
) -> Iterator[tuple[str, Place | RecordError, Format | None]]:
    """Each record's name and place; a file that cannot be listed comes with its error."""
    for given in map(header_of, map(Path, files)):
        if not given.exists():
            yield str(given), RecordError("unreadable", f"there is no file or folder {given}"), None
            continue
        kind = FORMATS[format_name] if format_name else detect_format(given) if given.is_dir() else None
        found_files = record_files(given, [kind] if kind else FORMATS.values()) if given.is_dir() else [given]
        if not found_files:
            wanted = f" of format {kind.name}" if kind else ""
            yield str(given), RecordError("unreadable", f"{given} holds no file{wanted}"), None
        for file in found_files:
            try:
                found = kind or format_of(file)
                names = found.record_names(file, dataset)
            except RecordError as error:
                yield str(file), error, None
                continue
            for row, name in enumerate(names if names is not None else ("",)):
                yield f"{file}:{name}" if names is not None else str(file), Place(file, row), found


def _decode(
    name: str,
    place: Place | RecordError,
    kind: Format | None,
    model: LoadedModel,
    options: ReadingOptions,
    *,
    windows: bool,
    keep: bool,
) -> tuple[FilePrediction, list[NDArray[np.float32]]]:
    """Read, screen and prepare one record: its result without logits, and its windows (samples, leads)."""
    if isinstance(place, RecordError) or kind is None:
        return FilePrediction(name=name, error=place if isinstance(place, RecordError) else None), []
    try:
        raw = read_place(place, kind, options.dataset)
        record = screen_for(to_record(raw, options, name), model.preprocessing)
    except RecordError as error:
        return FilePrediction(name=name, error=error), []
    parts = _windows(record, model) if windows else [prepare(record.signal, record.sampling_rate, model.preprocessing)]
    entry = FilePrediction(name=name, notes=record.notes, record=record if keep else None)
    return entry, [part.T for part in parts]


def _windows(record: Record, model: LoadedModel) -> list[NDArray[np.float32]]:
    """The whole recording in windows of the model's length, (leads, samples) each."""
    wanted = model.preprocessing.num_samples
    whole = resample(
        record.signal, record.sampling_rate, model.preprocessing.sampling_rate, model.preprocessing.resample
    )
    length = whole.shape[1]
    if length <= wanted:
        return [crop_or_pad(whole, wanted)]
    starts = [*range(0, length - wanted + 1, wanted), *([length - wanted] if length % wanted else [])]
    return [whole[:, start : start + wanted] for start in starts]


def _run(
    model: LoadedModel, pending: list[tuple[FilePrediction, list[NDArray[np.float32]]]], device: torch.device
) -> Iterator[FilePrediction]:
    """Give the pending results their logits."""
    parts = [part for _, windows in pending for part in windows]
    logits = np.concatenate(
        [np.zeros((0, len(model.label_names)))]
        + [_logits(model, parts[start : start + BATCH_SIZE], device) for start in range(0, len(parts), BATCH_SIZE)]
    )
    done = 0
    for entry, windows in pending:
        if entry.error is not None:
            yield entry
            continue
        found = logits[done : done + len(windows)]
        done += len(windows)
        yield FilePrediction(name=entry.name, logits=found, notes=entry.notes, record=entry.record)


def _logits(model: LoadedModel, parts: list[NDArray[np.float32]], device: torch.device) -> NDArray[np.float64]:
    dtype = next(model.classifier.parameters()).dtype
    with torch.inference_mode(), in_full_precision(device):
        batch = scale(torch.from_numpy(np.stack(parts)), model.preprocessing.scale).transpose(1, 2)
        found: NDArray[np.float64] = model.classifier(batch.to(device, dtype)).double().cpu().numpy()
    return found
