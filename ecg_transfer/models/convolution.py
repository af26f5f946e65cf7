"""The convolution over time that all convolutional backbones are made of."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn


class Conv1d(nn.Conv1d):
    """`nn.Conv1d` that also takes `(B, C, 1, T)`; always without bias, because BatchNorm follows."""

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(num_inputs, num_outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve over the last dimension of `(B, C, T)` or `(B, C, 1, T)`."""
        if x.dim() == 3:
            return super().forward(x)
        return F.conv2d(x, self.weight.unsqueeze(2), None, (1, self.stride[0]), (0, self.kernel_size[0] // 2))
