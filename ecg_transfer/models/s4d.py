"""S4D: diagonal state spaces over the samples of an ECG (Gu et al. 2022, arXiv 2206.11893).

Each channel is a linear system x' = A x + u, y = Re(C x) + D u with a diagonal A, sampled at a step of its own. Over a
whole record that is a convolution with a kernel as long as the record, done by FFT. Forwards and backwards in time, as
in the benchmark of Mehari & Strodthoff 2023 (arXiv 2308.15291), whose best supervised network it is: 4 layers, 512
channels, state 8.

Everything is real arithmetic, so that it runs in any precision and no weight is complex.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.backbone import Backbone

STATE_SIZE = 8
"""Numbers of the state; complex ones come in conjugate pairs, of which one is kept."""
STEPS = (1e-3, 1e-1)
"""Range of the steps at the start: a channel remembers 1/step to some samples."""


class StateSpaceKernel(nn.Module):
    """The impulse responses of diagonal state spaces, discretised by zero-order hold with B = 1.

    S4D-Lin's start: A_n = -1/2 + i pi n, steps log-uniform in `STEPS`.

    Args:
        num_channels: Independent systems, H.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        pairs = STATE_SIZE // 2
        low, high = (math.log(step) for step in STEPS)
        self.log_step = nn.Parameter(low + (high - low) * torch.rand(num_channels))
        self.log_decay = nn.Parameter(torch.full((num_channels, pairs), math.log(0.5)))
        self.frequency = nn.Parameter(
            (math.pi * torch.arange(pairs, dtype=torch.get_default_dtype())).repeat(num_channels, 1)
        )
        self.output = nn.Parameter(torch.randn(2, num_channels, pairs) * math.sqrt(0.5))

    def forward(self, length: int) -> Tensor:
        """Responses `(H, length)` to a unit impulse at sample 0: 2 Re(C (exp(dt A) - 1) / A exp(dt A t))."""
        step = self.log_step.exp().unsqueeze(1)
        decay, frequency = -self.log_decay.exp(), self.frequency
        growth, angle = (decay * step).exp(), frequency * step
        real, imaginary = growth * angle.cos() - 1, growth * angle.sin()
        size = decay.square() + frequency.square()
        held = ((real * decay + imaginary * frequency) / size, (imaginary * decay - real * frequency) / size)
        c_real, c_imaginary = self.output
        real = c_real * held[0] - c_imaginary * held[1]
        imaginary = c_real * held[1] + c_imaginary * held[0]
        times = torch.arange(length, device=step.device, dtype=step.dtype)
        envelope = ((decay * step).unsqueeze(2) * times).exp()
        phase = angle.unsqueeze(2) * times
        response = real.unsqueeze(2) * phase.cos() - imaginary.unsqueeze(2) * phase.sin()
        kernel: Tensor = 2 * (envelope * response).sum(dim=1)
        return kernel


def convolve(signal: Tensor, forwards: Tensor, backwards: Tensor) -> Tensor:
    """Convolve each channel with a kernel of the past and the present, and one of the future.

    y[t] = sum over j <= t of forwards[t - j] x[j] + sum over j > t of backwards[j - t - 1] x[j].

    Args:
        signal: `(B, H, T)`.
        forwards: `(H, T)`.
        backwards: `(H, T)`.

    Returns:
        `(B, H, T)`. By FFT; in an exported graph, which has no FFT that every runtime knows, by the sums themselves.
    """
    length = signal.shape[2]
    if torch.compiler.is_exporting():
        kernel = torch.cat([forwards.flip(1), backwards[:, : length - 1]], dim=1)
        return F.conv1d(signal, kernel.unsqueeze(1), padding=length - 1, groups=len(kernel))
    kernel = torch.cat([forwards, backwards.flip(1)], dim=1)
    spectrum = torch.fft.rfft(signal, n=2 * length) * torch.fft.rfft(kernel, n=2 * length)
    convolved: Tensor = torch.fft.irfft(spectrum, n=2 * length)
    return convolved[..., :length]


class S4DLayer(nn.Module):
    """State spaces in both directions, a gated mix of the channels, a shortcut, LayerNorm."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.kernel = StateSpaceKernel(2 * width)
        self.direct = nn.Parameter(torch.randn(width))
        self.mix = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, width, T)` to the same shape."""
        with torch.autocast(x.device.type, enabled=False):  # no FFT in bfloat16
            wide = x.to(self.direct.dtype)
            forwards, backwards = self.kernel(x.shape[2]).chunk(2)
            y = convolve(wide, forwards, backwards) + self.direct.unsqueeze(1) * wide
        y = self.dropout(F.gelu(y)).transpose(1, 2)
        y = self.dropout(F.glu(self.mix(y), dim=2))
        normed: Tensor = self.norm(x.transpose(1, 2) + y)
        return normed.transpose(1, 2)


class S4D(Backbone):
    """A linear layer over the leads and layers of state spaces, for signals of any length; the mean over time.

    Args:
        width: Channels.
        depth: Layers.
        num_leads: Leads of a signal.
        dropout: In the layers.
    """

    def __init__(self, width: int, depth: int, *, num_leads: int = 12, dropout: float = 0.2) -> None:
        super().__init__(num_leads=num_leads, num_features=width)
        self.encoder = nn.Linear(num_leads, width)
        self.layers = nn.ModuleList(S4DLayer(width, dropout) for _ in range(depth))

    def forward_features(self, signal: Tensor) -> Tensor:
        """Turn `(B, num_leads, T)` into `(B, width, T)`."""
        x: Tensor = self.encoder(signal.transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            x = layer(x)
        return x

    def pool(self, features: Tensor) -> Tensor:
        """Average over time: `(B, width)`."""
        return features.mean(dim=2)

    def stages(self) -> list[list[nn.Module]]:
        """List the linear layer and the layers of state spaces."""
        return [[self.encoder], *([layer] for layer in self.layers)]


def s4d(*, num_leads: int = 12, num_samples: int | None = None) -> S4D:
    """Build S4D of 4 layers, 512 channels: 2,183,680 parameters at 12 leads. Any length; `num_samples` is not used."""
    return S4D(512, 4, num_leads=num_leads)


def s4d_small(*, num_leads: int = 12, num_samples: int | None = None) -> S4D:
    """Build S4D of 4 layers, 64 channels, fit for a CPU: 43,584 parameters at 12 leads. `num_samples` is not used."""
    return S4D(64, 4, num_leads=num_leads)
