"""What a user can choose, and the blocks that follow from it: what is measured in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass

BACKBONES = ("resnet1d18", "resnet1d50", "resnet1d101", "lstm", "bilstm", "gru")
GROUPS = ("step", "fit", "data", "ingestion", "start", "scaling", "study", "gpu")
"""In the order in which they are measured."""
CORPUS_SIZES = (500, 5_000, 20_000)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Passed on to every block."""

    quick: bool = False
    """Fewer rows and repeats: a tenth of the time."""
    full: bool = False
    """Also what takes very long: all of PTB-XL where it is there, and a corpus of ten times its size."""
    reference: str | None = None
    """The authors' checkout."""
    scratch: str = ""
    """An empty folder for what a block needs on disk; removed at the end."""


@dataclass(frozen=True)
class Block:
    """What is measured in one process."""

    group: str
    name: str
    """Within the group; empty where the group has a single block."""

    @property
    def title(self) -> str:
        """What `--only` may name in place of the group."""
        return f"{self.group} {self.name}".strip()


def all_blocks(options: Options, *, has_gpu: bool) -> list[Block]:
    """Every block that these options ask for, in the order in which they are measured."""
    quick = options.quick
    names = {
        "step": [f"{name} 64" for name in (BACKBONES if not quick else ("resnet1d18", "lstm", "gru"))]
        + ([] if quick else ["resnet1d18 256", "lstm 256"]),
        "fit": [""],
        "data": [str(size) for size in (CORPUS_SIZES if not quick else CORPUS_SIZES[:2])],
        "ingestion": ["stride", "polyphase", "memory", *(["whole PTB-XL", "ten times PTB-XL"] if options.full else [])],
        "start": ["help", "runs"],
        "scaling": ["records", "memory", *([] if quick else ["processes"])],
        "study": [] if quick else [""],
        "gpu": [*BACKBONES, "grid"] if has_gpu else [],
    }
    return [Block(group, name) for group in GROUPS for name in names[group]]


def chosen_blocks(found: list[Block], only: str | None) -> list[Block]:
    """Those that `--only` names.

    Args:
        found: All.
        only: Groups or titles, separated by commas; None is all.

    Raises:
        ValueError: It names one that there is not.
    """
    if only is None:
        return found
    wanted = [" ".join(item.split()) for item in only.split(",")]
    known = {name for block in found for name in (block.group, block.title)}
    if unknown := [item for item in wanted if item not in known]:
        titles = ", ".join(dict.fromkeys(block.title for block in found))
        raise ValueError(
            f"--only {only}: nothing is called {' or '.join(map(repr, unknown))} here; there are the groups "
            f"{', '.join(dict.fromkeys(block.group for block in found))} and their parts {titles}"
        )
    return [block for block in found if block.group in wanted or block.title in wanted]
