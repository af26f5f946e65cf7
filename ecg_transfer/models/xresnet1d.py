"""XResNet1d-18, -50 and -101: a ResNet with a stem of three convolutions and averaged shortcuts.

He et al. 2018, "Bag of Tricks for Image Classification with Convolutional Neural Networks" (arXiv 1812.01187):
ResNet-C's stem, ResNet-D's shortcuts. As in the PTB-XL benchmark (`ecg_transfer.models.benchmark`) kernels are 5 wide
and all four stages have the same width, 64 (256 with bottlenecks).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.benchmark import BenchmarkBackbone, kaiming_fan_in
from ecg_transfer.models.convolution import Conv1d
from ecg_transfer.models.normalization import BatchNorm1d
from ecg_transfer.models.resnet1d import StemPool

KERNEL_SIZE = 5
STEM_WIDTHS = (32, 32, 64)
WIDTH = 64


class AveragePool(nn.Module):
    """Mean of every 2 samples of `(B, C, [1,] T)`; of an odd number the last one stands alone."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve the time steps, rounding up."""
        if x.dim() == 3:
            return F.avg_pool1d(x, 2, ceil_mode=True)
        return F.avg_pool2d(x, (1, 2), ceil_mode=True)


class XBlock(nn.Module):
    """Two 5-wide convolutions, or one between two 1-wide ones, and a shortcut that averages before it projects.

    Args:
        num_inputs: Channels that come in.
        expansion: 1 for two convolutions, 4 for a bottleneck of a fourth of the channels that go out.
        stride: Of the first 5-wide convolution.
    """

    def __init__(self, num_inputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        num_outputs = WIDTH * expansion
        if expansion == 1:
            layers = [_convolution(num_inputs, WIDTH, KERNEL_SIZE, stride), nn.ReLU(inplace=True)]
            layers.append(_convolution(WIDTH, num_outputs, KERNEL_SIZE))
        else:
            layers = [_convolution(num_inputs, WIDTH, 1), nn.ReLU(inplace=True)]
            layers += [_convolution(WIDTH, WIDTH, KERNEL_SIZE, stride), nn.ReLU(inplace=True)]
            layers.append(_convolution(WIDTH, num_outputs, 1))
        self.convolutions = nn.Sequential(*layers)
        self.shortcut = nn.Sequential(
            *([AveragePool()] if stride != 1 else []),
            *([_convolution(num_inputs, num_outputs, 1)] if num_inputs != num_outputs else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, num_inputs, [1,] T)` to `(B, 64 * expansion, [1,] ceil(T / stride))`."""
        return F.relu(self.convolutions(x) + self.shortcut(x), inplace=True)


class XResNet1d(BenchmarkBackbone):
    """An XResNet over time, for signals of any length.

    Args:
        expansion: Of the blocks; see `XBlock`.
        depths: Blocks in each of the four stages.
        num_leads: Leads of a signal.
        channels_last: As for `ResNet1d`.
    """

    def __init__(
        self, expansion: int, depths: Sequence[int], *, num_leads: int = 12, channels_last: bool = True
    ) -> None:
        super().__init__(num_leads=num_leads, num_channels=WIDTH * expansion)
        self.channels_last = channels_last
        widths = (num_leads, *STEM_WIDTHS)
        stem: list[nn.Module] = []
        for index in range(len(STEM_WIDTHS)):
            stem.append(_convolution(widths[index], widths[index + 1], KERNEL_SIZE, stride=2 if index == 0 else 1))
            stem.append(nn.ReLU(inplace=True))
        self.stem = nn.Sequential(*stem, StemPool())
        num_inputs, num_outputs = STEM_WIDTHS[-1], WIDTH * expansion
        layers = []
        for index, depth in enumerate(depths):
            first = XBlock(num_inputs, expansion, stride=1 if index == 0 else 2)
            layers.append(nn.Sequential(first, *(XBlock(num_outputs, expansion, stride=1) for _ in range(depth - 1))))
            num_inputs = num_outputs
        self.layers = nn.ModuleList(layers)
        kaiming_fan_in(self)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into `(B, 64 * expansion, ceil(T / 32))`."""
        if self.channels_last:
            signal = signal.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x: Tensor = self.stem(signal)
        for layer in self.layers:
            x = layer(x)
        return x.squeeze(2) if self.channels_last else x

    def stages(self) -> list[list[nn.Module]]:
        """List the stem, the four stages of blocks and the hidden layer."""
        return [[self.stem], *([layer] for layer in self.layers), [self.hidden]]


def xresnet1d18(*, num_leads: int = 12, num_samples: int | None = None) -> XResNet1d:
    """Build XResNet1d-18: 364,288 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return XResNet1d(1, (2, 2, 2, 2), num_leads=num_leads)


def xresnet1d50(*, num_leads: int = 12, num_samples: int | None = None) -> XResNet1d:
    """Build XResNet1d-50: 953,344 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return XResNet1d(4, (3, 4, 6, 3), num_leads=num_leads)


def xresnet1d101(*, num_leads: int = 12, num_samples: int | None = None) -> XResNet1d:
    """Build XResNet1d-101: 1,871,616 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return XResNet1d(4, (3, 4, 23, 3), num_leads=num_leads)


def _convolution(num_inputs: int, num_outputs: int, kernel_size: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(Conv1d(num_inputs, num_outputs, kernel_size, stride), BatchNorm1d(num_outputs))
