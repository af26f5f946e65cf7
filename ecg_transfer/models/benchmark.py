"""What the networks of the PTB-XL benchmark share: how they end, and their initial weights.

Strodthoff et al. 2020, "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL" (arXiv 2004.13701).
Widths, kernels and the end are those of the code its authors published (github: helme/ecg_ptbxl_benchmarking).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812, the name everybody uses
from torch import Tensor, nn

from ecg_transfer.models.backbone import Backbone

HIDDEN_WIDTH = 128


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm of embeddings `(B, C)`, which have one value a record; a record alone takes the running statistics.

    The last batch of an epoch may hold a single record, and PyTorch's refuses that.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise `(B, C)`."""
        if self.training and len(input) == 1:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class BenchmarkBackbone(Backbone):
    """A network whose feature map is pooled twice, by its maximum and its mean, and goes through a hidden layer of 128.

    BatchNorm, dropout of a quarter, linear, ReLU, BatchNorm. The benchmark's last dropout, of a half before the head,
    is `model.dropout=0.5` here.

    Args:
        num_leads: Leads of a signal.
        num_channels: Channels of the feature map, C.
        num_pooled: Features that `concat_pool` makes of a feature map; 2 C by default.
    """

    def __init__(self, *, num_leads: int, num_channels: int, num_pooled: int | None = None) -> None:
        super().__init__(num_leads=num_leads, num_features=HIDDEN_WIDTH)
        width = num_pooled or 2 * num_channels
        self.hidden = nn.Sequential(
            BatchNorm(width), nn.Dropout(0.25), nn.Linear(width, HIDDEN_WIDTH), nn.ReLU(), BatchNorm(HIDDEN_WIDTH)
        )

    def concat_pool(self, features: Tensor) -> Tensor:
        """Reduce `(B, C, T')` to `(B, 2 C)`: the maximum over time, then the mean."""
        return torch.cat([features.amax(dim=2), features.mean(dim=2)], dim=1)

    def pool(self, features: Tensor) -> Tensor:
        """Reduce `(B, C, T')` to `(B, 128)`."""
        embedding: Tensor = self.hidden(self.concat_pool(features))
        return embedding


def kaiming_fan_in(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers as He et al. 2015 (arXiv 1502.01852), by inputs; biases 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
