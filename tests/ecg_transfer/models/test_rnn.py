"""Recurrent nets against their gate equations in numpy, and what each pooling returns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import expit

from ecg_transfer.models import create_backbone

Array = NDArray[np.float64]


def lstm(state: Mapping[str, Array], signal: Array, suffix: str = "") -> Array:
    """Outputs (B, T, H) for inputs (B, T, leads); gates stacked as input, forget, cell, output."""
    w_x, w_h = state[f"rnn.weight_ih_l0{suffix}"], state[f"rnn.weight_hh_l0{suffix}"]
    bias = state[f"rnn.bias_ih_l0{suffix}"] + state[f"rnn.bias_hh_l0{suffix}"]
    h = c = np.zeros((len(signal), w_h.shape[1]))
    outputs = []
    for x in signal.transpose(1, 0, 2):
        i, f, g, o = np.split(x @ w_x.T + h @ w_h.T + bias, 4, axis=1)
        c = expit(f) * c + expit(i) * np.tanh(g)
        h = expit(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def bilstm(state: Mapping[str, Array], signal: Array) -> Array:
    backwards = lstm(state, signal[:, ::-1], "_reverse")[:, ::-1]
    return np.concatenate([lstm(state, signal), backwards], axis=2)


def gru(state: Mapping[str, Array], signal: Array) -> Array:
    """Outputs (B, T, H); gates stacked as reset, update, new; the reset gate acts on the product and its bias."""
    w_x, w_h = state["rnn.weight_ih_l0"], state["rnn.weight_hh_l0"]
    b_x, b_h = state["rnn.bias_ih_l0"], state["rnn.bias_hh_l0"]
    h = np.zeros((len(signal), w_h.shape[1]))
    outputs = []
    for x in signal.transpose(1, 0, 2):
        r_x, z_x, n_x = np.split(x @ w_x.T + b_x, 3, axis=1)
        r_h, z_h, n_h = np.split(h @ w_h.T + b_h, 3, axis=1)
        r, z = expit(r_x + r_h), expit(z_x + z_h)
        h = (1 - z) * np.tanh(n_x + r * n_h) + z * h
        outputs.append(h)
    return np.stack(outputs, axis=1)


REFERENCES = {"lstm": lstm, "bilstm": bilstm, "gru": gru}


def signals(num_samples: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(6)
    return torch.randn(2, num_samples, 12, generator=generator, dtype=torch.float64).transpose(1, 2)


@pytest.mark.parametrize(("name", "num_parameters"), [("lstm", 45_600), ("bilstm", 91_200), ("gru", 34_200)])
@pytest.mark.parametrize("pooling", ["", "_mean", "_last"])
def test_number_of_parameters(name: str, num_parameters: int, pooling: str) -> None:
    assert sum(p.numel() for p in create_backbone(name + pooling).parameters()) == num_parameters


@pytest.mark.parametrize(
    ("name", "num_features"),
    [("lstm", 100_000), ("bilstm", 200_000), ("gru", 100_000), ("lstm_mean", 100), ("bilstm_last", 200)],
)
def test_width_of_the_embedding(name: str, num_features: int) -> None:
    assert create_backbone(name).num_features == num_features


@pytest.mark.parametrize("num_samples", [50, 1000])
@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_agrees_with_the_gate_equations(name: str, num_samples: int) -> None:
    torch.manual_seed(7)
    backbone = create_backbone(name, num_samples=num_samples).double().eval()
    signal = signals(num_samples)
    state = {key: value.numpy() for key, value in backbone.state_dict().items()}
    outputs = REFERENCES[name](state, signal.numpy().transpose(0, 2, 1))
    with torch.no_grad():
        embedding = backbone(signal).numpy()
    assert np.abs(outputs).max() > 0.1
    np.testing.assert_allclose(embedding, outputs.reshape(2, -1), rtol=0, atol=1e-9)  # (time, hidden) order


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_pooled_variants(name: str) -> None:
    torch.manual_seed(8)
    mean = create_backbone(f"{name}_mean").double().eval()
    last = create_backbone(f"{name}_last").double().eval()
    last.load_state_dict(mean.state_dict(), strict=True)
    signal = signals(40)
    state = {key: value.numpy() for key, value in mean.state_dict().items()}
    outputs = REFERENCES[name](state, signal.numpy().transpose(0, 2, 1))
    final = np.concatenate([outputs[:, -1, :100], outputs[:, 0, 100:]], axis=1)
    with torch.no_grad():
        np.testing.assert_allclose(mean(signal).numpy(), outputs.mean(axis=1), rtol=0, atol=1e-12)
        np.testing.assert_allclose(last(signal).numpy(), final, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", sorted(REFERENCES))
def test_another_length_than_built_for(name: str) -> None:
    with pytest.raises(ValueError, match=r"300 samples.*exactly 200"):
        create_backbone(name, num_samples=200)(signals(300).float())
