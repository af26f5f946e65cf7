"""bfloat16 on a CPU without it, at nearly the speed of float32: for `experiments/precision.py --imitated`.

PyTorch's own imitation takes 14 times as long. Kernels in bfloat16 multiply numbers of that precision, sum up in
float32 and round once, at the end; the same is had by float32 kernels whose results are rounded. Sums are taken in
another order, as they are by the kernels of each kind of CPU and GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
_PRODUCTS = frozenset(
    (
        _aten.convolution.default,
        _aten.convolution_backward.default,
        _aten.mm.default,
        _aten.addmm.default,
        _aten.bmm.default,
    )
)
"""Everything else that autocast lets a network compute in bfloat16 is quick on any CPU, and is left to PyTorch. Not so
recurrent layers: a whole one is a kernel, which rounds its state at every step."""


class _RoundedProducts(TorchDispatchMode):
    """Computes products of bfloat16 tensors, forward and backward, in float32, and rounds what comes out."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operator gives
        kwargs = kwargs or {}
        if func not in _PRODUCTS or not any(map(_is_bfloat16, args)):
            return func(*args, **kwargs)
        widened = tree_map(lambda value: value.float() if _is_bfloat16(value) else value, (list(args), kwargs))
        return tree_map(
            lambda value: value.bfloat16() if isinstance(value, torch.Tensor) else value,
            func(*widened[0], **widened[1]),
        )


def _is_bfloat16(value: object) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


@contextmanager
def imitated_bfloat16() -> Iterator[None]:
    """Allow `trainer.precision=bf16` on any CPU, for networks of convolutions and linear layers."""
    with mock.patch("ecg_transfer.precision.cpu_has_bfloat16", return_value=True), _RoundedProducts():
        yield
