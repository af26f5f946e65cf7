"""The `pretext` section: what a pre-training without labels learns, and its name in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from data_modules.config import Positives

Task = Literal["none", "contrastive", "masked"]

OWN_FIELDS = {"none": (), "contrastive": ("positives", "temperature"), "masked": ("mask_share",)}
"""Which other fields of the section each task goes by."""


@dataclass(kw_only=True)
class PretextConfig:
    """The `pretext` section of a pre-training; of a fine-tuning, which pre-training a corpus name stands for."""

    task: Task = "none"
    """`none`: the labels, as the paper. `contrastive`: to know two pieces of a recording, or of a patient, among those
    of others, for any backbone (see `ecg_transfer.pretext.contrastive`). `masked`: to fill in patches that were left
    out, for `patch_transformer` (see `ecg_transfer.pretext.masked`)."""
    positives: Positives = "segment"
    """`contrastive`: two pieces of one recording, or, where a patient has several, of two of them (`patient`). A piece
    has `crops.seconds`, half a recording by default."""
    temperature: float = 0.1
    """`contrastive`: by what the cosines are divided; CLOCS' and PCLR's is 0.1."""
    mask_share: float = 0.75
    """`masked`: share of the patches that is left out; MAE's (arXiv 2111.06377) and ST-MEM's (arXiv 2402.09450)."""


def pretext_name(pretext: PretextConfig) -> str:
    """A pretext in words, with the numbers in which it differs from the default; `none` where labels are learnt.

    Example:
        >>> pretext_name(PretextConfig(task="contrastive", positives="patient"))
        'contrastive (patient)'
    """
    plain = PretextConfig()
    changed = [name for name in OWN_FIELDS[pretext.task] if getattr(pretext, name) != getattr(plain, name)]
    texts = ["patient" if name == "positives" else f"{name} {getattr(pretext, name):g}" for name in changed]
    return pretext.task + (f" ({', '.join(texts)})" if texts else "")


def upstream_name(corpus: str, pretext: str) -> str:
    """An upstream for tables: its corpus, and how it was learnt where that is not by its labels.

    Example:
        >>> upstream_name("ptbxl", "contrastive"), upstream_name("ptbxl", "none")
        ('ptbxl, contrastive', 'ptbxl')
    """
    return corpus if pretext == "none" else f"{corpus}, {pretext}"
