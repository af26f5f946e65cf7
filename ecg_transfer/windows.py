"""A record evaluated in windows of the length that a model was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from data_modules.config import CropConfig, DataConfig

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Windows over a whole record, whose probabilities become one (Strodthoff et al. 2020, arXiv 2004.13701, sec. III).

    Raises:
        ValueError: A length or a stride below one sample.
    """

    length: int
    """Samples of a window."""
    stride: int
    """Samples from one window's beginning to the next's; the last one ends with the record, whatever the stride."""
    aggregate: Literal["max", "mean"] = "max"
    """The largest probability of a label in any window, or the mean of all."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.stride < 1 or self.aggregate not in ("max", "mean"):
            raise ValueError(f"{self}: a window and its stride have at least one sample, `aggregate` is max or mean")

    @classmethod
    def of(cls, crops: CropConfig, data: DataConfig) -> Windows | None:
        """The windows that belong to a training on crops; None for one on whole records."""
        length = crops.num_samples(data)
        if length is None:
            return None
        seconds = crops.stride_seconds
        stride = length // 2 if seconds is None else round(seconds * data.sampling_rate)
        return cls(length=length, stride=max(1, stride), aggregate=crops.windows)

    def starts(self, num_samples: int) -> list[int]:
        """The first sample of each window of a record."""
        last = num_samples - self.length
        return [*range(0, last, self.stride), last]

    def cut(self, signal: Tensor) -> Tensor:
        """Lay the windows of a batch one after the other, a record's beside each other.

        Args:
            signal: (B, leads, T), T not below `length`.

        Returns:
            (B * W, leads, length): a view of a contiguous (B * W, length, leads).
        """
        import torch

        by_time = signal.transpose(1, 2)
        windows = [by_time[:, start : start + self.length] for start in self.starts(signal.shape[2])]
        return torch.stack(windows, dim=1).flatten(0, 1).transpose(1, 2)

    def join(self, logits: Tensor, num_windows: int) -> Tensor:
        """Logits (B, L) of records out of their windows' (B * W, L): of the largest or of the mean probability."""
        from torch.nn.functional import logsigmoid

        by_record = logits.reshape(-1, num_windows, logits.shape[1])
        if self.aggregate == "max":
            return by_record.amax(dim=1)
        # the means of p and of 1 - p are these sums over the same W
        mean: Tensor = logsigmoid(by_record).logsumexp(dim=1) - logsigmoid(-by_record).logsumexp(dim=1)
        return mean
