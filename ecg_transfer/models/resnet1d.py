"""ResNet1d-18, -50 and -101: torchvision's ResNet with one-dimensional convolutions.

Architecture: He et al. 2016 (arXiv 1512.03385); the bottleneck's stride is on its 3-wide convolution, as in torchvision
("ResNet v1.5"). The global average is followed by a 512-wide linear layer with ReLU, which belongs to the backbone.

The networks hold Conv1d parameters, but compute on `(B, C, 1, T)` in PyTorch's channels-last memory format, which
exists for two-dimensional convolutions only. The numbers are the same, and so is the state dict.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.backbone import Backbone
from ecg_transfer.models.convolution import Conv1d
from ecg_transfer.models.normalization import BatchNorm1d, rectified

EMBEDDING_WIDTH = 512
STAGE_WIDTHS = (64, 128, 256, 512)


class StemPool(nn.Module):
    """Maximum over 3 samples, every 2 samples, of `(B, C, T)` or `(B, C, 1, T)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve the time steps."""
        if x.dim() == 3:
            return F.max_pool1d(x, 3, 2, 1)
        return F.max_pool2d(x, (1, 3), (1, 2), (0, 1))


class BasicBlock(nn.Module):
    """Two convolutions, 3 samples wide, and a shortcut: ResNet-18's block."""

    expansion = 1

    def __init__(self, num_inputs: int, width: int, stride: int, kernel_sizes: tuple[int, int] = (3, 3)) -> None:
        super().__init__()
        self.conv1 = Conv1d(num_inputs, width, kernel_sizes[0], stride)
        self.bn1 = BatchNorm1d(width)
        self.conv2 = Conv1d(width, width, kernel_sizes[1])
        self.bn2 = BatchNorm1d(width)
        self.downsample = _shortcut(num_inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, num_inputs, [1,] T)` to `(B, width, [1,] ceil(T / stride))`."""
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x), inplace=True)


class Bottleneck(nn.Module):
    """A 3-wide convolution between two 1-wide ones, and a shortcut: the block of ResNet-50 and -101."""

    expansion = 4

    def __init__(self, num_inputs: int, width: int, stride: int) -> None:
        super().__init__()
        num_outputs = width * self.expansion
        self.conv1 = Conv1d(num_inputs, width, 1)
        self.bn1 = BatchNorm1d(width)
        self.conv2 = Conv1d(width, width, 3, stride)
        self.bn2 = BatchNorm1d(width)
        self.conv3 = Conv1d(width, num_outputs, 1)
        self.bn3 = BatchNorm1d(num_outputs)
        self.downsample = _shortcut(num_inputs, num_outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, num_inputs, [1,] T)` to `(B, 4 * width, [1,] ceil(T / stride))`."""
        out = rectified(self.bn1, self.conv1(x))
        out = rectified(self.bn2, self.conv2(out))
        return rectified(self.bn3, self.conv3(out), self.downsample(x))


class ResNet1d(Backbone):
    """A ResNet over time, for signals of any length.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: Blocks in each of the four stages.
        num_leads: Leads of a signal.
        channels_last: Compute on `(B, C, 1, T)` in channels-last memory format; a matter of speed alone, no part of the
            state dict. ResNet1d-18 trains 1.2 times as fast with it, in float32 and in bfloat16 (two Zen 4 cores, batch
            64). The weights stay contiguous: storing them channels-last gains another 2-3 %, but safetensors refuses
            such tensors.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        *,
        num_leads: int = 12,
        channels_last: bool = True,
    ) -> None:
        super().__init__(num_leads=num_leads, num_features=EMBEDDING_WIDTH)
        self.channels_last = channels_last
        self.conv1 = Conv1d(num_leads, STAGE_WIDTHS[0], 7, 2)
        self.bn1 = BatchNorm1d(STAGE_WIDTHS[0])
        self.maxpool = StemPool()
        num_inputs = STAGE_WIDTHS[0]
        layers = []
        for index, (width, depth) in enumerate(zip(STAGE_WIDTHS, depths, strict=True)):
            layers.append(_layer(block, num_inputs, width, depth, stride=1 if index == 0 else 2))
            num_inputs = width * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.embedding = nn.Linear(num_inputs, EMBEDDING_WIDTH)

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into `(B, 512 * expansion, ceil(T / 32))`."""
        if self.channels_last:
            signal = signal.unsqueeze(2).contiguous(memory_format=torch.channels_last)
        x: Tensor = self.maxpool(F.relu(self.bn1(self.conv1(signal)), inplace=True))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.squeeze(2) if self.channels_last else x

    def pool(self, features: Tensor) -> Tensor:
        """Average over time, then the linear layer and ReLU: `(B, 512)`."""
        return F.relu(self.embedding(features.mean(dim=2)), inplace=True)

    def stages(self) -> list[list[nn.Module]]:
        """List the stem, the four stages of blocks and the linear layer."""
        blocks: list[nn.Module] = [self.layer1, self.layer2, self.layer3, self.layer4]
        return [[self.conv1, self.bn1], *([layer] for layer in blocks), [self.embedding]]


def resnet1d18(*, num_leads: int = 12, num_samples: int | None = None, channels_last: bool = True) -> ResNet1d:
    """Build ResNet1d-18: 4,111,488 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return ResNet1d(BasicBlock, (2, 2, 2, 2), num_leads=num_leads, channels_last=channels_last)


def resnet1d50(*, num_leads: int = 12, num_samples: int | None = None, channels_last: bool = True) -> ResNet1d:
    """Build ResNet1d-50: 17,008,256 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return ResNet1d(Bottleneck, (3, 4, 6, 3), num_leads=num_leads, channels_last=channels_last)


def resnet1d101(*, num_leads: int = 12, num_samples: int | None = None, channels_last: bool = True) -> ResNet1d:
    """Build ResNet1d-101: 29,315,712 parameters at 12 leads. Takes any length; `num_samples` is not used."""
    return ResNet1d(Bottleneck, (3, 4, 23, 3), num_leads=num_leads, channels_last=channels_last)


def _layer(
    block: type[BasicBlock] | type[Bottleneck], num_inputs: int, width: int, depth: int, stride: int
) -> nn.Sequential:
    """Stack `depth` blocks, of which the first changes width and rate."""
    num_outputs = width * block.expansion
    return nn.Sequential(block(num_inputs, width, stride), *(block(num_outputs, width, 1) for _ in range(depth - 1)))


def _shortcut(num_inputs: int, num_outputs: int, stride: int) -> nn.Module:
    """Bring a block's input to its output's shape: nothing to do, or a 1-wide convolution with BatchNorm."""
    if stride == 1 and num_inputs == num_outputs:
        return nn.Identity()
    return nn.Sequential(Conv1d(num_inputs, num_outputs, 1, stride), BatchNorm1d(num_outputs))
