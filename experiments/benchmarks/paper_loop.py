"""The yardstick: the paper's networks and training step in plain PyTorch, as its text has them.

Nguyen & Do 2024 (arXiv 2402.02021): float64, Adam at 0.01, binary cross-entropy with logits. ResNet1d is torchvision's
ResNet with Conv1d (He et al. 2016, arXiv 1512.03385); the recurrent nets have one layer of 100 units, whose outputs of
all 1000 steps are flattened. Written from that description, with nothing done for speed; parameters have the names of
torchvision, so that weights can be carried over to `ecg_transfer.models` and back.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

NUM_LABELS = 9
"""Of CPSC2018."""


class _Block(nn.Module):
    """Convolutions with BatchNorm around a shortcut.

    Args:
        num_inputs: Channels of the input.
        kernels: Widths of the convolutions; the first 3-wide one strides.
        channels: Output channels of each.
        stride: See `kernels`.
    """

    def __init__(self, num_inputs: int, kernels: tuple[int, ...], channels: tuple[int, ...], stride: int) -> None:
        super().__init__()
        self.depth = len(kernels)
        sources = (num_inputs, *channels)
        for index, (kernel, width) in enumerate(zip(kernels, channels, strict=True)):
            step = stride if index == kernels.index(3) else 1
            conv = nn.Conv1d(sources[index], width, kernel, step, kernel // 2, bias=False)
            self.add_module(f"conv{index + 1}", conv)
            self.add_module(f"bn{index + 1}", nn.BatchNorm1d(width))
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or num_inputs != channels[-1]:
            shortcut = nn.Conv1d(num_inputs, channels[-1], 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm1d(channels[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, num_inputs, T) to (B, channels[-1], T / stride)."""
        out = x
        for index in range(1, self.depth + 1):
            out = self.get_submodule(f"bn{index}")(self.get_submodule(f"conv{index}")(out))
            if index < self.depth:
                out = self.relu(out)
        identity = x if self.downsample is None else self.downsample(x)
        return torch.relu_(out + identity)


class PaperResNet(nn.Module):
    """ResNet1d-18, -50 or -101 with the 512-wide layer before the head.

    Args:
        depths: Blocks of the four stages.
        bottleneck: Whether a block is 1-3-1 wide with four times the channels, or 3-3.
    """

    num_features = 512

    def __init__(self, depths: tuple[int, ...], *, bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(12, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm1d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool1d(3, 2, 1)
        num_inputs = 64
        for stage, depth in enumerate(depths):
            blocks = []
            for index in range(depth):
                width = 64 * 2**stage
                kernels, channels = ((1, 3, 1), (width, width, 4 * width)) if bottleneck else ((3, 3), (width, width))
                blocks.append(_Block(num_inputs, kernels, channels, 2 if stage > 0 and index == 0 else 1))
                num_inputs = channels[-1]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool1d(1)
        self.embedding = nn.Linear(num_inputs, 512)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, signal: Tensor) -> Tensor:
        """Embed (B, 12, 1000) as (B, 512)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(signal))))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return torch.relu(self.embedding(self.avgpool(x).flatten(1)))


class PaperRNN(nn.Module):
    """One recurrent layer, its outputs flattened."""

    def __init__(self, rnn: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.rnn = rnn
        self.num_features = 1000 * rnn.hidden_size * (2 if rnn.bidirectional else 1)

    def forward(self, signal: Tensor) -> Tensor:
        """Embed (B, 12, 1000) as (B, 100000), or twice that."""
        outputs: Tensor = self.rnn(signal.transpose(1, 2))[0]
        return outputs.flatten(1)


PAPER_NETWORKS: dict[str, Callable[[], PaperResNet | PaperRNN]] = {
    "resnet1d18": lambda: PaperResNet((2, 2, 2, 2), bottleneck=False),
    "resnet1d50": lambda: PaperResNet((3, 4, 6, 3), bottleneck=True),
    "resnet1d101": lambda: PaperResNet((3, 4, 23, 3), bottleneck=True),
    "lstm": lambda: PaperRNN(nn.LSTM(12, 100, batch_first=True)),
    "bilstm": lambda: PaperRNN(nn.LSTM(12, 100, batch_first=True, bidirectional=True)),
    "gru": lambda: PaperRNN(nn.GRU(12, 100, batch_first=True)),
}
"""The paper's six backbones."""


class PaperClassifier(nn.Module):
    """A backbone and its head, in float64."""

    def __init__(self, name: str, num_labels: int = NUM_LABELS) -> None:
        super().__init__()
        self.backbone = PAPER_NETWORKS[name]()
        self.head = nn.Linear(self.backbone.num_features, num_labels)
        self.double()

    def forward(self, signal: Tensor) -> Tensor:
        """Logits (B, L) of signals (B, 12, 1000)."""
        logits: Tensor = self.head(self.backbone(signal))
        return logits


def paper_step(model: nn.Module, signal: Tensor, label: Tensor) -> Callable[[], None]:
    """The paper's training step on a batch that lies in memory.

    Args:
        model: In float64.
        signal: As the model takes it, float64.
        label: Multi-hot, (B, L) float64.
    """
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()

    def step() -> None:
        optimizer.zero_grad()
        loss = criterion(model(signal), label)
        loss.backward()
        optimizer.step()
        loss.item()

    return step
