"""The convolution over time that all convolutional backbones are made of.

On a CPU with AVX2 alone oneDNN computes the gradient of a wide convolution's weights at half the speed of a matrix
product (two Zen 3 cores, float32, batch 64: 55 to 90 of 150 GFLOP/s; forward and the gradient of the input reach 120 to
165). There it is computed as matrix products of the output's gradient with the windows of the input, side by side: the
same numbers up to rounding, and a ResNet1d-18 trains 1.2 times as fast.

Shape legend besides that of `ecg_transfer.models.backbone`: `C` channels in, `O` channels out, `K` samples of a kernel.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ecg_transfer.models.backbone import is_traced

WIDE_WINDOW, WIDE_SAMPLE = 64, 128
"""Channels out, and values of a window (`C * K`), from which products are quicker: for kernels of several samples, and
for those of one. Narrower ones take up to 1.4 times as long with them (a stem from 12 channels to 32)."""
ROWS_OF_A_PRODUCT = 2048
"""Windows that are laid side by side at a time: 13 MB at most (512 channels, 3 samples); 1000 to 4000 are as fast."""


class Conv1d(nn.Conv1d):
    """`nn.Conv1d` that also takes `(B, C, 1, T)`; always without bias, because BatchNorm follows."""

    def __init__(self, num_inputs: int, num_outputs: int, kernel_size: int, stride: int = 1) -> None:
        super().__init__(num_inputs, num_outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Convolve over the last dimension of `(B, C, T)` or `(B, C, 1, T)`."""
        if x.dim() == 3:
            return super().forward(x)
        if not self._is_served(x):
            return self._convolve(x, self.weight)
        out: Tensor = _WeightGradient.apply(  # type: ignore[no-untyped-call]
            self._convolve(x, self.weight.detach()), x.detach(), self.weight, self.stride[0]
        )
        return out

    def _convolve(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight.unsqueeze(2), None, (1, self.stride[0]), (0, self.kernel_size[0] // 2))

    def _is_served(self, x: Tensor) -> bool:
        if is_traced():  # first: a compiler would follow the rest
            return False
        is_trained = torch.is_grad_enabled() and self.weight.requires_grad
        width = min(self.out_channels, self.in_channels * self.kernel_size[0])
        is_narrow = width < (WIDE_WINDOW if self.kernel_size[0] > 1 else WIDE_SAMPLE)
        if not is_trained or is_narrow or not _products_are_faster():
            return False
        is_full = x.dtype == self.weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        return is_full and x.device.type == self.weight.device.type == "cpu"


@lru_cache(maxsize=1)
def _products_are_faster() -> bool:
    """By the kind of CPU, not by a measurement, so that a machine always computes the same bits."""
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


class _WeightGradient(torch.autograd.Function):
    """A convolution's output as it is; backward also gives the gradient of its weights, unknown to that output."""

    @staticmethod
    def forward(ctx: Any, out: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x)
        ctx.kernel_size, ctx.stride = weight.shape[2], stride
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (x,) = ctx.saved_tensors
        return grad, None, weight_gradient(x, grad, ctx.kernel_size, ctx.stride), None


def weight_gradient(x: Tensor, grad: Tensor, kernel_size: int, stride: int) -> Tensor:
    """The gradient of a convolution's weights, its padding half a kernel.

    Args:
        x: What was convolved, `(B, C, 1, T)`; fastest in channels-last memory format.
        grad: The gradient of the output, `(B, O, 1, T')`; likewise.
        kernel_size: `K`.
        stride: Samples from one window to the next.

    Returns:
        `(O, C, K)`.
    """
    signal, slopes = _by_time(x), _by_time(grad)
    (_, num_samples, num_inputs), (_, num_windows, num_outputs) = signal.shape, slopes.shape
    if kernel_size == 1:
        return (slopes.flatten(0, 1).t() @ signal[:, ::stride].flatten(0, 1)).unsqueeze(2)
    margin = kernel_size // 2
    records = max(1, ROWS_OF_A_PRODUCT // num_windows)
    padded = signal.new_zeros(min(records, len(signal)), num_samples + 2 * margin, num_inputs)
    total = signal.new_zeros(num_outputs, kernel_size * num_inputs)
    for part, slope in zip(torch.split(signal, records), torch.split(slopes, records), strict=True):
        padded[: len(part), margin : margin + num_samples] = part
        windows = padded[: len(part)].unfold(1, kernel_size, stride).transpose(2, 3)
        total.addmm_(slope.flatten(0, 1).t(), windows.reshape(-1, kernel_size * num_inputs))
    return total.view(num_outputs, kernel_size, num_inputs).transpose(1, 2).contiguous()


def _by_time(x: Tensor) -> Tensor:
    """`(B, C, 1, T)` as `(B, T, C)`, contiguous."""
    return x.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1).squeeze(1)
