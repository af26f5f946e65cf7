"""The PTB-XL benchmark's networks: layers against numpy, sizes against sums by hand, channels-last against plain."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ecg_transfer.models import BACKBONES, create_backbone
from ecg_transfer.models.benchmark import BatchNorm
from ecg_transfer.models.convolution import Conv1d
from ecg_transfer.models.inception1d import Inception1d, InceptionGroup
from ecg_transfer.models.normalization import BatchNorm1d
from ecg_transfer.models.resnet1d_wang import ResNet1dWang
from ecg_transfer.models.rnn_benchmark import BenchmarkLSTM
from ecg_transfer.models.xresnet1d import AveragePool, XBlock, XResNet1d
from tests.ecg_transfer.models.test_resnet1d import convolve, normalise

Array = NDArray[np.float64]


def randomised(module: nn.Module) -> nn.Module:
    """In float64 and evaluation mode, with running statistics and gains that are not their starting values."""
    torch.manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm1d):
            nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(norm.weight, 0.5, 2.0)
            nn.init.normal_(norm.bias)
    return module.double().eval()


def arrays(module: nn.Module) -> dict[str, Array]:
    return {name: value.double().numpy() for name, value in module.state_dict().items()}


def noise(*shape: int) -> Array:
    return np.random.default_rng(3).standard_normal(shape)


def layer(x: Array, state: Mapping[str, Array], name: str, stride: int = 1) -> Array:
    """A convolution and its BatchNorm."""
    return normalise(convolve(x, state[f"{name}.0.weight"], stride), state, f"{name}.1")


def halved(x: Array) -> Array:
    pairs = [x[:, :, start : start + 2].mean(axis=2) for start in range(0, x.shape[2], 2)]
    return np.stack(pairs, axis=2)


@pytest.mark.parametrize(("num_inputs", "expansion", "stride"), [(64, 4, 1), (256, 4, 2), (256, 4, 1), (64, 1, 2)])
def test_xresnets_block(num_inputs: int, expansion: int, stride: int) -> None:
    block = randomised(XBlock(num_inputs, expansion, stride))
    state, x = arrays(block), noise(2, num_inputs, 21)
    strides = {1: (stride, 1), 4: (1, stride, 1)}[expansion]
    y = x
    for number, step in enumerate(strides):
        y = layer(y, state, f"convolutions.{2 * number}", step)
        y = np.maximum(y, 0) if number < len(strides) - 1 else y
    shortcut = halved(x) if stride == 2 else x
    if num_inputs != 64 * expansion:
        shortcut = layer(shortcut, state, f"shortcut.{int(stride == 2)}")
    found = block(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(found, np.maximum(y + shortcut, 0), atol=1e-10)


def test_the_last_of_an_odd_number_of_samples_stands_alone() -> None:
    x = torch.tensor([[[1.0, 3.0, 8.0]]])
    assert AveragePool()(x).tolist() == [[[2.0, 8.0]]]
    assert AveragePool()(x.unsqueeze(2)).tolist() == [[[[2.0, 8.0]]]]


def test_inceptions_group() -> None:
    group = randomised(InceptionGroup(12))
    state, x = arrays(group), noise(2, 12, 60)
    y = x
    for number in range(3):
        name = f"blocks.{number}"
        narrow = convolve(y, state[f"{name}.bottleneck.weight"])
        padded = np.pad(y, [(0, 0), (0, 0), (1, 1)], constant_values=-np.inf)
        maximum = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2).max(axis=3)
        branches = [convolve(narrow, state[f"{name}.convolutions.{index}.weight"]) for index in range(3)]
        joined = np.concatenate([*branches, convolve(maximum, state[f"{name}.pooled.weight"])], axis=1)
        y = np.maximum(normalise(joined, state, f"{name}.bn"), 0)
    expected = np.maximum(y + layer(x, state, "shortcut"), 0)
    np.testing.assert_allclose(group(torch.from_numpy(x)).detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(
    ("build", "channels", "steps"),
    [
        (lambda plain: XResNet1d(1, (1, 1, 1, 1), channels_last=not plain), 64, 8),
        (lambda plain: XResNet1d(4, (1, 1, 1, 1), channels_last=not plain), 256, 8),
        (lambda plain: Inception1d(channels_last=not plain), 128, 250),
        (lambda plain: ResNet1dWang(channels_last=not plain), 128, 63),
    ],
)
def test_channels_last_computes_the_same(build, channels: int, steps: int) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
    networks = [randomised(build(plain)) for plain in (False, True)]
    networks[1].load_state_dict(networks[0].state_dict())
    signal = torch.from_numpy(noise(2, 250, 12)).transpose(1, 2)
    features = networks[0].forward_features(signal)
    assert features.shape == (2, channels, steps)
    torch.testing.assert_close(features, networks[1].forward_features(signal), rtol=0, atol=1e-9)


def test_the_pool_is_maximum_and_mean_and_a_hidden_layer() -> None:
    backbone = randomised(create_backbone("resnet1d_wang"))
    state, features = arrays(backbone), noise(3, 128, 9)
    pooled = np.concatenate([features.max(axis=2), features.mean(axis=2)], axis=1)
    hidden = normalise(pooled[:, :, None], state, "hidden.0")[:, :, 0] @ state["hidden.2.weight"].T
    hidden = np.maximum(hidden + state["hidden.2.bias"], 0)
    expected = normalise(hidden[:, :, None], state, "hidden.4")[:, :, 0]
    found = backbone.pool(torch.from_numpy(features)).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["lstm_benchmark", "bilstm_benchmark"])
def test_the_lstms_pool_has_the_last_states_too(name: str) -> None:
    backbone = create_backbone(name).eval()
    signal = torch.from_numpy(noise(2, 30, 12)).float().transpose(1, 2)
    with torch.no_grad():
        _, (last, _) = backbone.rnn(signal.transpose(1, 2))
        features = backbone.forward_features(signal)
        pooled = backbone.concat_pool(features)
    directions = 2 if name.startswith("bi") else 1
    states = torch.cat(list(last[-directions:]), dim=1)  # of the upper layer
    assert pooled.shape == (2, 3 * 256 * directions)
    torch.testing.assert_close(pooled[:, 2 * 256 * directions :], states)
    torch.testing.assert_close(pooled[:, : 256 * directions], features.amax(dim=2))


HIDDEN = {width: 2 * width + width * 128 + 128 + 2 * 128 for width in (128, 256, 512, 768, 1536)}
STEM = 5 * (12 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64)
BASIC = 2 * (5 * 64 * 64 + 2 * 64)
BOTTLENECK = 256 * 64 + 5 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256)
FIRST = BOTTLENECK - (256 - 64) * 64 + 64 * 256 + 2 * 256
INCEPTION = 32 * 32 * (39 + 19 + 9) + 2 * 128
WANG = (5 + 3) * 128 * 128 + 2 * 2 * 128


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("xresnet1d18", STEM + 8 * BASIC + HIDDEN[128]),
        ("xresnet1d50", STEM + FIRST + 15 * BOTTLENECK + HIDDEN[512]),
        ("xresnet1d101", STEM + FIRST + 32 * BOTTLENECK + HIDDEN[512]),
        ("inception1d", 6 * INCEPTION + 2 * 32 * (12 + 5 * 128) + 128 * (12 + 128) + 4 * 128 + HIDDEN[256]),
        ("resnet1d_wang", 7 * 12 * 128 + 2 * 128 + 3 * WANG + 2 * (128 * 128 + 2 * 128) + HIDDEN[256]),
        ("lstm_benchmark", 4 * 256 * (12 + 256 + 2 + 256 + 256 + 2) + HIDDEN[768]),
        ("bilstm_benchmark", 2 * 4 * 256 * (12 + 256 + 2 + 512 + 256 + 2) + HIDDEN[1536]),
    ],
)
def test_sizes(name: str, number: int) -> None:
    assert sum(value.numel() for value in create_backbone(name).parameters()) == number
    documentation = BenchmarkLSTM.__doc__ if "lstm" in name else BACKBONES[name].__doc__
    assert f"{number:,}" in str(documentation)


def test_weights_start_as_he_et_al_draw_them() -> None:
    """Normal with variance 2 / inputs, also for the layers that ResNet1d draws by outputs; every gain is 1."""
    torch.manual_seed(0)
    backbone = create_backbone("xresnet1d101")
    for module in backbone.modules():
        if isinstance(module, Conv1d):
            weight = module.weight.detach()
            spread = weight.std().item() * np.sqrt(weight[0].numel() / 2)
            assert abs(spread - 1) < 5 / np.sqrt(2 * weight.numel())
        if isinstance(module, BatchNorm1d):
            assert (module.weight == 1).all()


def test_a_batch_of_one_record_can_be_trained_on() -> None:
    norm = BatchNorm(4).train()
    nn.init.uniform_(norm.running_mean)  # type: ignore[arg-type]
    x = torch.randn(1, 4)
    before = norm.running_mean.clone()  # type: ignore[union-attr]
    expected = (x - before) / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
    torch.testing.assert_close(norm(x), expected)
    assert torch.equal(norm.running_mean, before)  # type: ignore[arg-type]
    many = torch.randn(5, 4)
    torch.testing.assert_close(norm(many), nn.BatchNorm1d(4).train()(many))
