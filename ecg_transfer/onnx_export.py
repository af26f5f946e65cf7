"""A model as one ONNX file that takes what a recorder gives: raw millivolts in at a fixed rate, probabilities out.

Resampling, cropping, padding and scaling are part of the graph, so that a program in any language can use it.
"""

from __future__ import annotations

import json
import logging
import warnings
from math import gcd
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data_modules.config import Preprocessing
from data_modules.corpus import LEAD_NAMES
from data_modules.signal import polyphase_matrix, scale
from ecg_transfer.files import write_atomically
from ecg_transfer.loaded_model import TRAINED_ON_SIMULATED, LoadedModel

OPSET = 18

TOLERANCE = 1e-5
"""By which a probability may differ from PyTorch's."""

INPUT, OUTPUT = "millivolts", "probabilities"
"""Names of the graph's input, (records, 12, samples), and output, (records, labels)."""


class OnnxMismatchError(ArithmeticError):
    """The exported graph does not compute what the model computes; nothing was written."""


class OnnxMissingError(ValueError):
    """The packages of the extra `onnx` are not installed."""


class RawECGClassifier(nn.Module):
    """(B, 12, T) millivolts at `sampling_rate` -> (B, L) probabilities; T is free.

    Every step is `data_modules.signal.prepare`, written as gathers and one matrix product of fixed shape: samples
    beyond the recording's ends repeat the edge, as there, and what lies behind a short recording becomes zero. A graph
    cannot refuse: of recordings that are too short for a model that met no padded ones the probabilities are NaN.

    Args:
        classifier: Takes scaled signals.
        preprocessing: How they are prepared.
        sampling_rate: Hz of the input.

    Raises:
        ValueError: `stride` between rates that are no multiples.
    """

    taps: Tensor
    offsets: Tensor
    steps: Tensor
    last_needed: Tensor

    def __init__(self, classifier: nn.Module, preprocessing: Preprocessing, sampling_rate: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.preprocessing = preprocessing
        divisor = gcd(sampling_rate, preprocessing.sampling_rate)
        self.up, self.down = preprocessing.sampling_rate // divisor, sampling_rate // divisor
        self.is_polyphase = self.up != self.down and preprocessing.resample == "polyphase"
        if preprocessing.resample == "stride" and self.up != 1:
            raise ValueError(
                f"stride cannot go from {sampling_rate} to {preprocessing.sampling_rate} Hz; choose --rate"
            )
        wanted = preprocessing.num_samples
        self.register_buffer("steps", torch.arange(wanted))
        needed = 1 if preprocessing.short == "pad" else -(-wanted * self.down // self.up)
        self.register_buffer("last_needed", torch.tensor([needed - 1]))
        taps, self.margin = polyphase_matrix(self.up, self.down) if self.is_polyphase else (np.zeros((1, 1)), 0)
        self.register_buffer("taps", torch.from_numpy(taps.astype(np.float32)))
        self.inputs_per_block = taps.shape[1] * self.down // self.up
        # a cropped middle may begin anywhere in a block, and then touches one block more
        num_blocks = -(-(wanted + (taps.shape[1] - 1 if preprocessing.crop == "center" else 0)) // taps.shape[1])
        blocks = np.arange(num_blocks)[:, None] * self.inputs_per_block + np.arange(taps.shape[0])
        self.register_buffer("offsets", torch.from_numpy(blocks.ravel() - self.margin))

    def forward(self, millivolts: Tensor) -> Tensor:
        """Probabilities of a batch."""
        wanted = self.preprocessing.num_samples
        available = (millivolts.shape[2] * self.up + self.down - 1) // self.down
        start = 0
        if self.preprocessing.crop == "center":
            start = torch.sym_max(available - wanted, 0) // 2  # type: ignore[no-untyped-call]
        resampled = self._resample(millivolts, start)
        inside = self.steps < available - start
        prepared = torch.where(inside, resampled, torch.zeros((), dtype=resampled.dtype))
        scaled = scale(prepared.transpose(1, 2), self.preprocessing.scale).transpose(1, 2)
        dtype = next(self.classifier.parameters()).dtype
        probabilities: Tensor = self.classifier(scaled.to(dtype)).sigmoid().float()
        return torch.where(self.last_needed < millivolts.shape[2], probabilities, torch.nan)

    def _resample(self, millivolts: Tensor, start: int) -> Tensor:
        """The wanted samples at the model's rate, (B, 12, num_samples), of which the last may not be there."""
        last = millivolts.shape[2] - 1
        if not self.is_polyphase:
            return millivolts.index_select(2, ((self.steps + start) * self.down).clamp(0, last))
        window, outputs_per_block = self.taps.shape
        first_block = start // outputs_per_block
        inputs = (self.offsets + first_block * self.inputs_per_block).clamp(0, last)
        windows = millivolts.index_select(2, inputs).reshape(-1, len(LEAD_NAMES), len(inputs) // window, window)
        blocks = (windows @ self.taps).flatten(2)
        return blocks.index_select(2, self.steps + (start - first_block * outputs_per_block))


def export_onnx(model: LoadedModel, path: Path, *, sampling_rate: int) -> float:
    """Write a model as ONNX and compare it with PyTorch.

    Seconds for a ResNet; minutes for a GRU or LSTM, whose time steps torch.onnx looks at one by one, though the graph
    it writes holds a single operator.

    Args:
        model: What to export.
        path: The file.
        sampling_rate: Hz of the recordings that it will be given.

    Returns:
        The largest difference of a probability on noise with ECG-like amplitudes.

    Raises:
        OnnxMismatchError: It is above `TOLERANCE`.
        OnnxMissingError: The extra `onnx` is not installed.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401 - looked for before the work begins
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise OnnxMissingError(f"{error.name} is not installed: pip install 'ecg-transfer[onnx]'") from error
    raw = RawECGClassifier(model.classifier, model.preprocessing, sampling_rate).eval()
    seconds = model.preprocessing.num_samples / model.preprocessing.sampling_rate
    num_samples = round(seconds * sampling_rate)
    example = torch.randn(2, len(LEAD_NAMES), num_samples, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings(), _quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            raw,
            (example,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"millivolts": {0: torch.export.Dim("records"), 2: torch.export.Dim("samples", min=2)}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    for name, value in _meaning(model, sampling_rate).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = name, value
    onnx.checker.check_model(graph)
    content = graph.SerializeToString()
    difference = _difference(content, model, sampling_rate, num_samples)
    if not difference <= TOLERANCE:
        raise OnnxMismatchError(
            f"the ONNX graph of {model.source} differs from PyTorch by {difference:.2g}, at most {TOLERANCE:g} may be"
        )
    with write_atomically(path) as stream:
        stream.write(content)
    return difference


def _meaning(model: LoadedModel, sampling_rate: int) -> dict[str, str]:
    """What input and output are, for whoever has nothing but the file."""
    return {
        "input": f"{INPUT}: float32 (records, {len(LEAD_NAMES)} leads, samples), mV, {sampling_rate} Hz",
        "shortest": _shortest(model.preprocessing),
        "sampling_rate": str(sampling_rate),
        "units": "mV",
        "lead_names": json.dumps(LEAD_NAMES),
        "label_names": json.dumps(model.label_names),
        "thresholds": json.dumps(model.thresholds.tolist()),
        "source": model.source,
        "trained_on": TRAINED_ON_SIMULATED.removeprefix("trained on ") if model.simulated else "real ECGs",
    }


def _shortest(preprocessing: Preprocessing) -> str:
    seconds = preprocessing.num_samples / preprocessing.sampling_rate
    return "any: zeros are appended" if preprocessing.short == "pad" else f"{seconds:g} s: NaN for shorter recordings"


def _difference(content: bytes, model: LoadedModel, sampling_rate: int, num_samples: int) -> float:
    """Largest difference between onnxruntime and PyTorch, for another number of records and a longer recording."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    found = 0.0
    for num_records, length in ((1, num_samples), (3, num_samples + sampling_rate // 3)):
        noise = rng.normal(size=(num_records, len(LEAD_NAMES), length)).astype(np.float32)
        (theirs,) = session.run([OUTPUT], {INPUT: noise})
        found = max(found, float(np.abs(np.asarray(theirs) - model.probabilities(noise, sampling_rate)).max()))
    return found


class _quiet:  # noqa: N801 - used like a function
    """Silence loggers for a while: the exporter tells of every step."""

    def __init__(self, *names: str) -> None:
        self._loggers = [logging.getLogger(name) for name in names]
        self._levels = [logger.level for logger in self._loggers]

    def __enter__(self) -> None:
        for logger in self._loggers:
            logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        for logger, level in zip(self._loggers, self._levels, strict=True):
            logger.setLevel(level)
