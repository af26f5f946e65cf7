"""Weights from anyone: what a file holds is compared with the model that it should be, before either takes memory.

Weights come from safetensors, or from checkpoints that hold plain values and tensors alone. Neither can run code; a
backbone that is named `package.module:factory` could, and is imported only where its user says so.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ecg_transfer.checkpoint_file import is_whole
from ecg_transfer.models import BACKBONES, create_backbone

MAX_LEADS, MAX_SAMPLES, MAX_LABELS = 64, 1_000_000, 10_000
"""Of a model's input and output."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
WHOLE_NUMBERS = (torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool)
"""Of counts, and of buffers that a user's own network may have."""


class WeightsMismatchError(ValueError):
    """Weights that belong to another backbone, another number of leads or another length."""


class UntrustedCodeError(ValueError):
    """A file names a backbone whose code would have to be imported, and nobody said that it may be."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint whose parts have the right types, and nothing more."""

    state: dict[str, Tensor]
    hyper_parameters: dict[str, Any]


def require_known(backbone: str, place: Path, *, trust: bool | str) -> None:
    """Refuse to import a backbone because a file names it.

    Args:
        backbone: As the file has it.
        place: The file.
        trust: Whether any may be imported, or the one that may.

    Raises:
        UntrustedCodeError: It is none of `BACKBONES`, and not trusted.
    """
    if backbone not in BACKBONES and trust is not True and backbone != trust:
        raise UntrustedCodeError(
            f"{place} names the backbone {backbone[:80]!r}: that is code of its author's. If you have it and trust it, "
            "load the model with trust=True (--trust)"
        )


def read_checkpoint(path: Path) -> Checkpoint:
    """The content of a checkpoint. Nothing but plain values and tensors is loaded, and nothing is unpacked.

    Raises:
        FileNotFoundError: There is no such checkpoint.
        ValueError: The file is no checkpoint, is torn, or holds more than plain values and tensors.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        if not is_whole(path):
            raise ValueError("its size or its digest is not what was written")
        content = torch.load(_checked_copy(path), map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch's readers raise whatever a broken file makes them stumble over
        raise ValueError(f"{path} is no checkpoint of plain values and tensors alone, or it is torn") from error
    parts = [content.get(name) if isinstance(content, dict) else None for name in ("state_dict", "hyper_parameters")]
    state, hyper_parameters = parts
    if not isinstance(state, dict) or not isinstance(hyper_parameters, dict):
        raise ValueError(f"{path} is no checkpoint of a classifier: it lacks its weights or its hyper-parameters")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise ValueError(f"{path} is no checkpoint of a classifier: something in it is no weight")
    return Checkpoint(state=dict(state), hyper_parameters=dict(hyper_parameters))


def _checked_copy(path: Path) -> io.BytesIO:
    """An archive in memory with what Python read from a checkpoint, whose checksums it compared, as PyTorch writes one.

    PyTorch's own reader compares none, would unpack a packed one whole, and gives memory as it was for the bytes of a
    member that one changed bit marks as a directory: it is left nothing to read in another way.
    """
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as checked:
        members = archive.infolist()
        names = {member.filename for member in members}
        if sum(member.file_size for member in members) > path.stat().st_size or any(m.compress_type for m in members):
            raise ValueError("an archive that is packed")
        if len(names) < len(members):
            raise ValueError("an archive with two members of one name")
        for member in members:
            checked.writestr(zipfile.ZipInfo(member.filename), archive.read(member))
    copy.seek(0)
    return copy


def require_fit(
    found: Mapping[str, tuple[int, ...]], backbone: str, *, num_labels: int, num_leads: int, num_samples: int
) -> None:
    """Compare names and shapes of weights with a classifier's, before memory is taken for it.

    Args:
        found: Name -> shape.
        backbone: Of the classifier.
        num_labels: Of its head.
        num_leads: Of its input.
        num_samples: Likewise.

    Raises:
        WeightsMismatchError: See above.
    """
    for name, value, most in (
        ("labels", num_labels, MAX_LABELS),
        ("leads", num_leads, MAX_LEADS),
        ("samples", num_samples, MAX_SAMPLES),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise WeightsMismatchError(f"a model of {str(value)[:20]} {name}, expected 1 to {most}")
    # a backbone of the user's own may look at its numbers while it is built, of which `meta` has none
    with torch.random.fork_rng(devices=[]), torch.device("meta" if backbone in BACKBONES else "cpu"):
        network = create_backbone(backbone, num_leads=num_leads, num_samples=num_samples)
        head = nn.Linear(network.num_features, num_labels)
    parts = {"backbone": network.state_dict(), "head": head.state_dict()}
    wanted = {f"{part}.{name}": tuple(value.shape) for part, state in parts.items() for name, value in state.items()}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    problems += [f"{name} is none of its weights" for name in sorted(found.keys() - wanted.keys())]
    problems += [
        f"{name} is {found[name]}, expected {wanted[name]}"
        for name in sorted(found.keys() & wanted.keys())
        if found[name] != wanted[name]
    ]
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise WeightsMismatchError(f"do not fit a {backbone}: {shown}")


def require_numbers(state: Mapping[str, Tensor]) -> None:
    """Check that weights are floating point numbers (counts, indices and masks aside) and finite.

    Raises:
        WeightsMismatchError: See above.
    """
    for name, value in state.items():
        if value.dtype not in (*FLOATS, *WHOLE_NUMBERS) or value.is_sparse or value.is_quantized:
            raise WeightsMismatchError(f"{name} holds {value.dtype}, expected floating point numbers")
    if state["head.weight"].dtype not in FLOATS:
        raise WeightsMismatchError(f"head.weight holds {state['head.weight'].dtype}, expected floating point numbers")
    if wrong := [name for name, value in state.items() if not torch.isfinite(value).all()]:
        raise WeightsMismatchError(f"the weights hold NaN or infinite values, in {', '.join(wrong[:3])}")
