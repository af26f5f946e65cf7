"""Inception1d: InceptionTime's network (Ismail Fawaz et al. 2019, arXiv 1909.04939), as in the PTB-XL benchmark.

Six blocks of convolutions of three lengths side by side, 0.39, 0.19 and 0.09 s at 100 Hz, at full time resolution;
every three blocks have a shortcut around them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.benchmark import BenchmarkBackbone, kaiming_fan_in
from ecg_transfer.models.convolution import Conv1d
from ecg_transfer.models.normalization import BatchNorm1d

KERNEL_SIZES = (39, 19, 9)
NUM_FILTERS = 32
"""Of each of the four branches, and of the bottleneck before the long convolutions."""
NUM_CHANNELS = NUM_FILTERS * (len(KERNEL_SIZES) + 1)


class InceptionBlock(nn.Module):
    """A bottleneck and three convolutions of it, beside them the maximum of 3 samples; joined and normalised."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.bottleneck = Conv1d(num_inputs, NUM_FILTERS, 1)
        self.convolutions = nn.ModuleList(Conv1d(NUM_FILTERS, NUM_FILTERS, size) for size in KERNEL_SIZES)
        self.pooled = Conv1d(num_inputs, NUM_FILTERS, 1)
        self.bn = BatchNorm1d(NUM_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, num_inputs, [1,] T)` to `(B, 128, [1,] T)`."""
        narrow = self.bottleneck(x)
        maximum = F.max_pool1d(x, 3, 1, 1) if x.dim() == 3 else F.max_pool2d(x, (1, 3), 1, (0, 1))
        branches = [convolution(narrow) for convolution in self.convolutions]
        return F.relu(self.bn(torch.cat([*branches, self.pooled(maximum)], dim=1)), inplace=True)


class InceptionGroup(nn.Module):
    """Three blocks and a shortcut around them."""

    def __init__(self, num_inputs: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(InceptionBlock(width) for width in (num_inputs, NUM_CHANNELS, NUM_CHANNELS)))
        self.shortcut = nn.Sequential(Conv1d(num_inputs, NUM_CHANNELS, 1), BatchNorm1d(NUM_CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, num_inputs, [1,] T)` to `(B, 128, [1,] T)`."""
        return F.relu(self.blocks(x) + self.shortcut(x), inplace=True)


class Inception1d(BenchmarkBackbone):
    """Two groups of three inception blocks, for signals of any length.

    Args:
        num_leads: Leads of a signal.
        channels_last: As for `ResNet1d`.
    """

    def __init__(self, *, num_leads: int = 12, channels_last: bool = True) -> None:
        super().__init__(num_leads=num_leads, num_channels=NUM_CHANNELS)
        self.channels_last = channels_last
        self.groups = nn.ModuleList([InceptionGroup(num_leads), InceptionGroup(NUM_CHANNELS)])
        kaiming_fan_in(self)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into `(B, 128, T)`."""
        if self.channels_last:
            signal = signal.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = signal
        for group in self.groups:
            x = group(x)
        return x.squeeze(2) if self.channels_last else x

    def stages(self) -> list[list[nn.Module]]:
        """List the two groups and the hidden layer."""
        return [*([group] for group in self.groups), [self.hidden]]


def inception1d(*, num_leads: int = 12, num_samples: int | None = None) -> Inception1d:
    """Build Inception1d: 507,008 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return Inception1d(num_leads=num_leads)
