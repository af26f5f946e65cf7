"""Compile all kernels for a GPU that need not be there; prints the shared memory that each takes, as JSON.

`python compile_kernels.py 80` for an A100. In a process of its own, because others interpret the kernels.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile

from ecg_transfer.models import normalization as norm
from ecg_transfer.models import persistent
from ecg_transfer.models.kernels import normalization as norm_kernels
from ecg_transfer.models.kernels import persistent as persistent_kernels

HALF = ("weight_x", "weight_h", "gates", "states", "grad", "x", "out", "shortcut", "grad_x", "grad_shortcut")
WHOLE = ("num_records", "num_steps", "num_leads", "hidden", "num_rows", "num_channels", "rows_each", "num_splits")
WIDE = {"INPUTS": persistent.NARROWEST, "WIDTH": persistent.WIDEST, "ROWS": persistent.ROWS, "KEPT": True}
TILE = {"ROWS": norm.ROWS, "CHANNELS": norm.CHANNELS, "ADDS": True}
TOTALS = {"SPLITS": norm.MOST_SPLITS, "CHANNELS": norm.CHANNELS_OF_STATISTICS}


def kind_of(name: str) -> str:
    """The type of an argument as Triton writes it: `*` is a pointer."""
    if name in WHOLE:
        return "i32"
    if name in ("momentum", "eps"):
        return "fp32"
    return "*bf16" if name in HALF else "*fp32"


def shared_bytes(kernel: triton.JITFunction, constants: dict[str, Any], warps: int, capability: int) -> int:
    """Of a multiprocessor's memory that a kernel takes."""
    names = kernel.arg_names
    chosen = {name: value for name, value in constants.items() if name in names}
    signature = {name: "constexpr" if name in chosen else kind_of(name) for name in names}
    aligned = {(at,): [["tt.divisibility", 16]] for at, name in enumerate(names) if signature[name].startswith("*")}
    source = ASTSource(
        kernel, signature, constexprs={(names.index(name),): value for name, value in chosen.items()}, attrs=aligned
    )
    return int(compile(source, GPUTarget("cuda", capability, 32), {"num_warps": warps}).metadata.shared)


if __name__ == "__main__":
    capability = int(sys.argv[1])
    found = {
        name: shared_bytes(getattr(persistent_kernels, name), WIDE, persistent.WARPS, capability)
        for name in ("lstm_forward", "lstm_backward", "gru_forward", "gru_backward")
    }
    for name in ("moments", "statistics", "rectify", "slope_sums", "slopes"):
        constants = TOTALS if name == "statistics" else TILE
        found[name] = shared_bytes(getattr(norm_kernels, name), constants, 4, capability)
    print(json.dumps(found))  # noqa: T201
