"""ResNet1d-Wang: three residual blocks of constant width (Wang et al. 2016, arXiv 1611.06455), as in the benchmark.

The PTB-XL benchmark (`ecg_transfer.models.benchmark`) gave it a stem 7 samples wide, two convolutions a block, 5 and 3
wide, where Wang et al. have three, 8, 5 and 3 wide, 128 channels throughout, and a stride of 2 in the last two blocks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.benchmark import BenchmarkBackbone, kaiming_fan_in
from ecg_transfer.models.convolution import Conv1d
from ecg_transfer.models.normalization import BatchNorm1d
from ecg_transfer.models.resnet1d import BasicBlock

WIDTH = 128
KERNEL_SIZES = (5, 3)
STRIDES = (1, 2, 2)


class ResNet1dWang(BenchmarkBackbone):
    """A stem and three blocks, for signals of any length.

    Args:
        num_leads: Leads of a signal.
        channels_last: As for `ResNet1d`.
    """

    def __init__(self, *, num_leads: int = 12, channels_last: bool = True) -> None:
        super().__init__(num_leads=num_leads, num_channels=WIDTH)
        self.channels_last = channels_last
        self.stem = nn.Sequential(Conv1d(num_leads, WIDTH, 7), BatchNorm1d(WIDTH))
        self.blocks = nn.ModuleList(BasicBlock(WIDTH, WIDTH, stride, KERNEL_SIZES) for stride in STRIDES)
        kaiming_fan_in(self)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into `(B, 128, ceil(T / 4))`."""
        if self.channels_last:
            signal = signal.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.stem(signal), inplace=True)
        for block in self.blocks:
            x = block(x)
        return x.squeeze(2) if self.channels_last else x

    def stages(self) -> list[list[nn.Module]]:
        """List the stem, the three blocks and the hidden layer."""
        return [[self.stem], *([block] for block in self.blocks), [self.hidden]]


def resnet1d_wang(*, num_leads: int = 12, num_samples: int | None = None) -> ResNet1dWang:
    """Build ResNet1d-Wang: 472,704 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return ResNet1dWang(num_leads=num_leads)
