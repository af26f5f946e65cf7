"""What was probably meant by the name of a field that there is not."""

from __future__ import annotations

from collections.abc import Iterable

SYNONYMS = {
    **{
        "learning_rate": "lr",
        "max_lr": "lr",
        "epochs": "max_epochs",
        "num_epochs": "max_epochs",
        "n_epochs": "max_epochs",
    },
    **{"steps": "max_updates", "max_steps": "max_updates", "wd": "weight_decay", "clip": "gradient_clip"},
    **{"patience": "early_stop_patience", "early_stopping": "early_stop_patience", "batchsize": "batch_size"},
    **{"bs": "batch_size", "fs": "sampling_rate", "rate": "sampling_rate", "labels": "label_set", "gpus": "devices"},
    **{"num_train": "subset", "n_train": "subset", "network": "backbone", "arch": "backbone", "scheduler": "schedule"},
}
"""What other libraries call a field -> what it is called here."""


def probably_meant(wanted: str, known: Iterable[str]) -> str:
    """The fields that may have been meant, as the end of a sentence on one that does not exist.

    Args:
        wanted: A dotted name, `optim.learning_rate` say.
        known: All dotted names.

    Returns:
        Fields of the same meaning or a similar name, of whatever section; else all of its section.
    """
    from difflib import get_close_matches

    fields = list(known)
    section, _, name = wanted.rpartition(".")
    by_name: dict[str, list[str]] = {}
    for field in fields:
        by_name.setdefault(field.rpartition(".")[2], []).append(field)
    close = get_close_matches(name, [*by_name, *SYNONYMS], n=1, cutoff=0.75)
    if close:
        return f"; did you mean {' or '.join(by_name[SYNONYMS.get(close[0], close[0])])}?"
    beside = [field for field in fields if field.startswith(f"{section}.")] if section else []
    beside = beside or sorted({field.partition(".")[0] for field in fields})
    return f"; there are {', '.join(beside)}"
