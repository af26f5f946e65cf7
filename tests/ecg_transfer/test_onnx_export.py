"""The ONNX graph against PyTorch: every way of preparing a recording, any length, simulated and real recordings."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_modules.config import Preprocessing
from data_modules.corpora.cpsc2018 import CPSC2018
from data_modules.signal import prepare
from ecg_transfer.classifier import ECGClassifier
from ecg_transfer.loaded_model import LoadedModel
from ecg_transfer.onnx_export import RawECGClassifier, export_onnx
from tests.data_modules.ecg_files import synthetic_millivolts
from tests.ecg_transfer.tiny_backbone import NAME

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

LABELS = ("NORM", "AF", 'it\'s "quoted", ünïcode')


def model_of(backbone: str = NAME, *, seed: int = 0, **preprocessing: Any) -> LoadedModel:  # noqa: ANN401
    """Random weights whose probabilities are well apart from 0.5."""
    torch.manual_seed(seed)
    classifier = ECGClassifier(backbone, LABELS).eval()
    with torch.no_grad():
        classifier.head.weight.mul_(20)
    return LoadedModel(
        classifier=classifier,
        label_names=LABELS,
        preprocessing=Preprocessing(**preprocessing),
        thresholds=np.array([0.2, 0.5, 0.9]),
        source="a model",
    )


def recordings(num_records: int, seconds: float, rate: int) -> np.ndarray:
    signals = [synthetic_millivolts(round(seconds * rate), rate, seed=seed) for seed in range(num_records)]
    return np.stack(signals).astype(np.float32)


class Identity(torch.nn.Module):
    """In place of a classifier: shows what the graph prepares."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return torch.logit((signal / 100 + 0.5).clamp(1e-6, 1 - 1e-6))


@pytest.mark.parametrize("rate", [100, 250, 360, 400, 500, 1000])
@pytest.mark.parametrize("crop", ["first", "center"])
@pytest.mark.parametrize("seconds", [7.0, 10.0, 13.37, 31.0])
def test_what_it_prepares_is_what_the_cache_holds(rate: int, crop: Any, seconds: float) -> None:  # noqa: ANN401
    preprocessing = Preprocessing(crop=crop, scale="none", short="pad")
    raw = RawECGClassifier(Identity(), preprocessing, rate).eval()
    signals = recordings(2, seconds, rate)
    with torch.inference_mode():
        found = (raw(torch.from_numpy(signals)).numpy() - 0.5) * 100
    expected = np.stack([prepare(signal, rate, preprocessing) for signal in signals])
    np.testing.assert_allclose(found, expected, atol=2e-4)


CASES: list[tuple[int, dict[str, Any]]] = [
    (500, {}),
    (500, {"resample": "stride", "scale": "millivolt"}),
    (100, {"scale": "zscore"}),
    (360, {"crop": "center", "scale": "millivolt", "short": "pad"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "preprocessing"), CASES)
def test_probabilities_equal_pytorchs(tmp_path: Path, rate: int, preprocessing: dict[str, Any]) -> None:
    model = model_of(**preprocessing)
    reported = export_onnx(model, tmp_path / "model.onnx", sampling_rate=rate)
    assert reported <= 1e-5
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    lengths = (10.0, 12.3, 60.0, *([7.0] if preprocessing.get("short") == "pad" else []))
    for num_records, seconds in zip((1, 5, 2, 3), lengths, strict=False):
        signals = recordings(num_records, seconds, rate)
        (found,) = session.run(["probabilities"], {"millivolts": signals})
        expected = model.probabilities(signals, rate)
        assert found.shape == (num_records, 3)
        assert np.ptp(expected) > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-5)
    if preprocessing.get("short") != "pad":
        short = recordings(2, 10.0, rate)[:, :, 1:]
        with pytest.raises(ValueError, match="shorter than the 10 s"):
            model.probabilities(short, rate)
        (found,) = session.run(["probabilities"], {"millivolts": short})
        assert found.shape == (2, 3)
        assert np.isnan(found).all()


@pytest.mark.slow
def test_the_file_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    export_onnx(replace(model_of(), simulated=True), tmp_path / "model.onnx", sampling_rate=500)
    graph = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(graph)
    meaning = {entry.key: entry.value for entry in graph.metadata_props}
    assert json.loads(meaning["label_names"]) == list(LABELS)
    assert json.loads(meaning["lead_names"])[3] == "aVR"
    assert json.loads(meaning["thresholds"]) == [0.2, 0.5, 0.9]
    assert (meaning["sampling_rate"], meaning["units"]) == ("500", "mV")
    assert meaning["shortest"] == "10 s: NaN for shorter recordings"
    assert meaning["trained_on"] == "SIMULATED ECGs"
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert (entry.name, entry.type, entry.shape[1]) == ("millivolts", "tensor(float)", 12)
    assert [isinstance(size, str) for size in entry.shape] == [True, False, True], "records and samples are free"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"], "weights are in the file"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "aggregate"),
    [("xresnet1d18", "max"), ("inception1d", "mean"), ("resnet1d_wang", "max"), ("s4d_small", "mean"),
     ("patch_transformer", "max")],
)  # fmt: skip
def test_windows_are_part_of_the_graph(tmp_path: Path, backbone: str, aggregate: str) -> None:
    torch.manual_seed(0)
    windows = {"length": 250, "stride": 110, "aggregate": aggregate}
    classifier = ECGClassifier(backbone, LABELS, windows=windows).eval()
    plain = model_of()
    model = replace(plain, classifier=classifier, preprocessing=Preprocessing(scale="millivolt"))
    export_onnx(model, tmp_path / "model.onnx", sampling_rate=500)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    signals = recordings(5, 11.0, 500)
    (found,) = session.run(None, {"millivolts": signals})
    np.testing.assert_allclose(found, model.probabilities(signals, 500), atol=1e-5)
    other = ECGClassifier(backbone, LABELS, windows={**windows, "length": 1000}).eval()
    other.load_state_dict(classifier.state_dict())
    whole = replace(model, classifier=other).probabilities(signals, 500)
    assert np.abs(whole - found).max() > 1e-4, "the windows must matter"


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["resnet1d18", "lstm_mean"])
@pytest.mark.real
def test_real_recordings_get_the_same_probabilities(tmp_path: Path, backbone: str) -> None:
    real = os.environ.get("ECG_REAL_DATA")
    if not real:
        pytest.skip("ECG_REAL_DATA is not set")
    corpus = CPSC2018(Path(real) / "cpsc2018")
    model = model_of(backbone, scale="millivolt")
    export_onnx(model, tmp_path / "model.onnx", sampling_rate=500)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    compared = 0
    for record_id in corpus.table.record_ids[:60]:
        signal = corpus.read(record_id).signal[None]
        if signal.shape[2] >= 5000 and np.isfinite(signal).all():
            (found,) = session.run(None, {"millivolts": signal})
            np.testing.assert_allclose(found, model.probabilities(signal, 500), atol=1e-5)
            compared += 1
    assert compared > 50


def test_stride_between_rates_that_are_no_multiples_is_refused() -> None:
    with pytest.raises(ValueError, match="stride cannot go from 360"):
        RawECGClassifier(Identity(), Preprocessing(resample="stride"), 360)
