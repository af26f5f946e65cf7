from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.signal import resample_poly

from data_modules.config import Preprocessing
from data_modules.signal import FLAT, crop_or_pad, prepare, resample, scale, scale_

RATES = [(500, 100), (1000, 100), (400, 100), (257, 100), (250, 100), (100, 500), (360, 128), (100, 100)]


def noise(num_samples: int, leads: int = 3, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((leads, num_samples)).astype(np.float32)


def by_scipy(signal: NDArray[np.float32], original: int, target: int) -> NDArray[np.float64]:
    return resample_poly(signal.astype(np.float64), target, original, axis=1, padtype="edge")


def amplitude(signal: NDArray[np.float32], sampling_rate: int, frequency: float) -> float:
    """Of one frequency in the middle of a signal, by least squares."""
    middle = signal[len(signal) // 4 : -len(signal) // 4]
    time = np.arange(len(middle)) / sampling_rate
    basis = np.stack([np.cos(2 * np.pi * frequency * time), np.sin(2 * np.pi * frequency * time)], axis=1)
    return float(np.hypot(*np.linalg.lstsq(basis, middle, rcond=None)[0]))


@pytest.mark.parametrize(("original", "target"), RATES)
@pytest.mark.parametrize("num_samples", [1, 7, 100, 1234, 5000])
def test_polyphase_is_scipys(original: int, target: int, num_samples: int) -> None:
    signal = noise(num_samples)
    found, expected = resample(signal, original, target), by_scipy(signal, original, target)
    assert found.dtype == np.float32
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(signal).max()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(RATES), st.integers(1, 1500), st.data())
def test_a_window_is_a_part_of_the_whole(rates: tuple[int, int], num_samples: int, data: st.DataObject) -> None:
    signal = noise(num_samples, leads=2, seed=num_samples)
    expected = by_scipy(signal, *rates)
    start = data.draw(st.integers(0, expected.shape[1] - 1))
    count = data.draw(st.integers(1, expected.shape[1] - start))
    found = resample(signal, *rates, start=start, count=count)
    assert found.shape == (2, count)
    assert np.abs(found - expected[:, start : start + count]).max() <= 1e-6 * np.abs(signal).max()


@pytest.mark.parametrize(("start", "count"), [(0, None), (0, 10), (3, 50), (199, 1)])
def test_stride_keeps_every_kth_sample(start: int, count: int | None) -> None:
    signal = noise(998)
    expected = signal[:, ::5][:, start : None if count is None else start + count]
    assert np.array_equal(resample(signal, 500, 100, "stride", start, count), expected)


@pytest.mark.parametrize(("original", "target"), [(250, 100), (100, 500)])
def test_stride_refuses_rates_that_are_no_multiples(original: int, target: int) -> None:
    with pytest.raises(ValueError, match=r"data\.resample=polyphase"):
        resample(noise(100), original, target, "stride")


def test_mains_hum_is_filtered_by_polyphase_and_aliased_by_stride() -> None:
    time = np.arange(5000) / 500
    hum = np.sin(2 * np.pi * 60 * time, dtype=np.float64).astype(np.float32)[None]
    beat = np.sin(2 * np.pi * 8 * time).astype(np.float32)[None]
    filtered, strided = resample(hum, 500, 100)[0], resample(hum, 500, 100, "stride")[0]
    assert np.abs(filtered[100:-100]).max() < 0.01
    assert amplitude(strided, 100, 40) == pytest.approx(1, abs=1e-3)
    assert amplitude(resample(beat, 500, 100)[0], 100, 8) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("method", ["polyphase", "stride"])
@pytest.mark.parametrize("crop", ["first", "center"])
@pytest.mark.parametrize("num_samples", [900, 1500, 4996, 5000, 7003])
def test_prepare_crops_the_resampled_record(method: str, crop: str, num_samples: int) -> None:
    signal = noise(num_samples)
    whole = by_scipy(signal, 500, 100) if method == "polyphase" else signal[:, ::5]
    excess = whole.shape[1] - 300
    if excess <= 0:
        expected = np.concatenate([whole, np.zeros((3, -excess))], axis=1)
    else:
        start = excess // 2 if crop == "center" else 0
        expected = whole[:, start : start + 300]
    wanted = Preprocessing(num_samples=300, resample=method, crop=crop, short="pad")  # type: ignore[arg-type]
    found = prepare(signal, 500, wanted)
    assert found.dtype == np.float32
    assert found.shape == (3, 300)
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(signal).max()


def test_crop_or_pad_by_hand() -> None:
    signal = np.array([[1, 2, 3]], np.float32)
    assert crop_or_pad(signal, 2).tolist() == [[1, 2]]
    assert crop_or_pad(signal, 3).tolist() == [[1, 2, 3]]
    assert crop_or_pad(signal, 5).tolist() == [[1, 2, 3, 0, 0]]
    assert crop_or_pad(signal, 5).dtype == np.float32


def test_scales_by_hand() -> None:
    signal = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [2.0, 5.0]]])
    assert scale(signal, "none") is signal
    assert scale(signal, "minmax")[0].tolist() == [[-1, 0], [1, 0], [0, 0]]
    assert torch.allclose(scale(signal, "millivolt")[0], torch.tensor([[5.0, 25], [15, 25], [10, 25]]))
    root = (3 / 2) ** 0.5
    assert torch.allclose(scale(signal, "zscore")[0], torch.tensor([[-root, 0], [root, 0], [0, 0]]))


def test_scaling_in_place_gives_the_bits_of_the_formula_and_scaling_leaves_its_input_alone() -> None:
    signal = torch.from_numpy(noise(200, leads=60).reshape(5, 12, 200)).transpose(1, 2).contiguous() * 3 + 1
    signal[2, :, 4] = 0.7
    before = signal.clone()
    low, high = signal.amin(1, True), signal.amax(1, True)
    expected = torch.where(high - low <= FLAT, 0, (signal - low) * (2 / (high - low).clamp_min(FLAT)) - 1)
    assert torch.equal(scale(signal, "minmax"), expected)
    assert torch.equal(signal, before)
    assert torch.equal(scale(signal, "millivolt"), signal / 0.2)
    assert scale_(signal, "minmax") is signal
    assert torch.equal(signal, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["minmax", "millivolt", "zscore", "none"])
def test_scaling_keeps_shape_and_dtype_and_touches_no_neighbour(method: str, dtype: torch.dtype) -> None:
    signal = torch.from_numpy(noise(200, leads=60).reshape(5, 12, 200)).transpose(1, 2).to(dtype) * 3 + 1
    found = scale(signal, method)  # type: ignore[arg-type]
    assert found.dtype == dtype
    assert found.shape == signal.shape
    alone = torch.cat([scale(record[None], method) for record in signal])  # type: ignore[arg-type]
    assert torch.allclose(found, alone)
    if method == "minmax":
        expected = 2 * (signal - signal.amin(1, True)) / (signal.amax(1, True) - signal.amin(1, True)) - 1
        assert torch.allclose(found, expected, atol=1e-6)
        assert found.abs().max() <= 1 + 1e-6
    if method == "zscore":
        expected = (signal - signal.mean(1, True)) / signal.std(1, keepdim=True, correction=0)
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("method", ["minmax", "zscore"])
def test_a_flat_lead_becomes_zero_whatever_its_offset(method: str) -> None:
    offsets = torch.linspace(-30, 30, 600).reshape(-1, 1, 12)
    signal = offsets.repeat(1, 1000, 1)
    assert torch.equal(scale(signal, method), torch.zeros_like(signal))  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["minmax", "millivolt", "zscore", "none"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_sample_that_is_no_number_is_not_hidden(method: str, bad: float) -> None:
    signal = torch.from_numpy(noise(50, leads=12)).T[None].repeat(2, 1, 1)
    signal[0, 7, 3] = bad
    finite = torch.isfinite(scale(signal, method)).all(dim=1)  # type: ignore[arg-type]
    assert torch.equal(finite, torch.isfinite(signal).all(dim=1))
