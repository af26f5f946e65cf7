"""ResNets against a float64 computation in numpy, and channels-last against plain Conv1d."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from ecg_transfer.models.resnet1d import ResNet1d, resnet1d18, resnet1d50, resnet1d101

Array = NDArray[np.float64]
Build = Callable[..., ResNet1d]

DEPTHS: dict[Build, tuple[int, ...]] = {resnet1d18: (2, 2, 2, 2), resnet1d50: (3, 4, 6, 3), resnet1d101: (3, 4, 23, 3)}


def convolve(x: Array, weight: Array, stride: int = 1) -> Array:
    """Cross-correlation of (B, C, T) with (O, C, K), padded by K // 2, as windows times weights."""
    kernel_size = weight.shape[2]
    padded = np.pad(x, [(0, 0), (0, 0), (kernel_size // 2, kernel_size // 2)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel_size, axis=2)[:, :, ::stride]
    output: Array = np.einsum("bctk,ock->bot", windows, weight, optimize=True)
    return output


def normalise(x: Array, state: Mapping[str, Array], prefix: str) -> Array:
    mean, variance, weight, bias = (
        state[f"{prefix}.{key}"][:, None] for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def reference(state: Mapping[str, Array], signal: Array, depths: tuple[int, ...], num_convolutions: int) -> Array:
    x = np.maximum(normalise(convolve(signal, state["conv1.weight"], 2), state, "bn1"), 0)
    padded = np.pad(x, [(0, 0), (0, 0), (1, 1)], constant_values=-np.inf)
    x = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=2)[:, :, ::2].max(axis=3)
    strided = 1 if num_convolutions == 2 else 2  # the basic block strides in its first 3-wide convolution, too
    for layer, depth in enumerate(depths, start=1):
        for block in range(depth):
            prefix = f"layer{layer}.{block}"
            rate = 2 if layer > 1 and block == 0 else 1
            y = x
            for index in range(1, num_convolutions + 1):
                y = convolve(y, state[f"{prefix}.conv{index}.weight"], rate if index == strided else 1)
                y = normalise(y, state, f"{prefix}.bn{index}")
                y = np.maximum(y, 0) if index < num_convolutions else y
            if f"{prefix}.downsample.0.weight" in state:
                x = normalise(
                    convolve(x, state[f"{prefix}.downsample.0.weight"], rate), state, f"{prefix}.downsample.1"
                )
            x = np.maximum(x + y, 0)
    embedding: Array = np.maximum(x.mean(axis=2) @ state["embedding.weight"].T + state["embedding.bias"], 0)
    return embedding


def randomised(build: Build, **arguments: bool) -> ResNet1d:
    """In float64, with BatchNorm statistics and weights that differ from channel to channel."""
    torch.manual_seed(3)
    backbone = build(**arguments).double().eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return backbone


def signals(num_records: int, num_samples: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.randn(num_records, num_samples, 12, generator=generator, dtype=torch.float64).transpose(1, 2)


@pytest.mark.parametrize(
    ("build", "num_parameters"), [(resnet1d18, 4_111_488), (resnet1d50, 17_008_256), (resnet1d101, 29_315_712)]
)
def test_number_of_parameters(build: Build, num_parameters: int) -> None:
    assert sum(parameter.numel() for parameter in build().parameters()) == num_parameters


@pytest.mark.parametrize(
    ("build", "num_samples"), [(resnet1d18, 1000), (resnet1d18, 37), (resnet1d50, 200), (resnet1d101, 200)]
)
def test_agrees_with_numpy(build: Build, num_samples: int) -> None:
    backbone = randomised(build)
    signal = signals(2, num_samples)
    state = {key: value.numpy() for key, value in backbone.state_dict().items()}
    expected = reference(state, signal.numpy(), DEPTHS[build], 2 if build is resnet1d18 else 3)
    with torch.no_grad():
        embedding = backbone(signal).numpy()
    assert np.abs(expected).max() > 1e-2
    np.testing.assert_allclose(embedding, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("build", [resnet1d18, resnet1d50])
def test_channels_last_agrees_with_plain_convolutions(build: Build, training: bool) -> None:
    plain, fast = randomised(build, channels_last=False), randomised(build, channels_last=True)
    for source, target in [(plain, fast), (fast, plain)]:
        target.load_state_dict(source.state_dict(), strict=True)
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert {key: value.shape for key, value in fast.state_dict().items()} == shapes
    assert shapes["layer2.0.conv2.weight"] == (128, 128, 3)
    embeddings = []
    for backbone in (plain, fast):
        backbone.train(training)
        embeddings.append(backbone(signals(3, 100)))
        embeddings[-1].square().sum().backward()
    torch.testing.assert_close(embeddings[0], embeddings[1], rtol=1e-12, atol=1e-12)
    for (name, a), (_, b) in zip(plain.named_parameters(), fast.named_parameters(), strict=True):
        assert a.grad is not None
        assert b.grad is not None
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-9 * float(a.grad.abs().max()), msg=name)


def test_channels_last_copies_nothing_and_holds_throughout() -> None:
    backbone = resnet1d18().eval()
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, module: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
        seen[name] = arguments[0]

    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv1d | nn.BatchNorm1d):
            module.register_forward_pre_hook(partial(keep, name))
    signal = signals(2, 200).float()
    backbone(signal)
    assert seen["conv1"].data_ptr() == signal.data_ptr()
    assert len(seen) == 2 * 20
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in seen.values())


def test_convolutions_start_kaiming_normal_and_batch_norm_as_identity() -> None:
    torch.manual_seed(5)
    backbone = resnet1d50()
    for module in backbone.modules():
        if isinstance(module, nn.Conv1d):
            fan_out = module.out_channels * module.kernel_size[0]
            expected = np.sqrt(2 / fan_out)
            standard_error = expected / np.sqrt(2 * module.weight.numel())
            assert abs(float(module.weight.detach().std()) - expected) < 5 * standard_error
        if isinstance(module, nn.BatchNorm1d):
            assert bool((module.weight == 1).all())
            assert bool((module.bias == 0).all())


def test_the_bottleneck_strides_in_its_wide_convolution() -> None:
    strides = [module.stride[0] for module in resnet1d50().layer2[0].modules() if isinstance(module, nn.Conv1d)]
    assert strides == [1, 2, 1, 2]
