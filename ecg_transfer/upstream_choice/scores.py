"""All scores of one upstream on one downstream, from what one forward pass gave."""

from __future__ import annotations

from dataclasses import dataclass

from ecg_transfer.metrics import aggregate
from ecg_transfer.upstream_choice.forward import Embedded
from ecg_transfer.upstream_choice.measures import leep, logme, melep
from ecg_transfer.upstream_choice.probes import linear_probe, neighbour_probe


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One score of an upstream, known before anything is trained."""

    title: str
    sign: int
    """1 where higher promises more, -1 where lower does."""
    meaning: str
    """A sentence for a reader of a table."""


MEASURES = {
    "probe": Measure(
        title="probe",
        sign=1,
        meaning="validation score of a logistic regression on the frozen embeddings; higher promises more",
    ),
    "knn": Measure(
        title="kNN", sign=1, meaning="validation score of the 10 nearest training records; higher promises more"
    ),
    "logme": Measure(
        title="LogME", sign=1, meaning="log evidence a record of a linear model on the embeddings; higher promises more"
    ),
    "leep": Measure(
        title="LEEP",
        sign=1,
        meaning="log likelihood a record, guessed from the upstream's own labels; higher is better",
    ),
    "melep": Measure(
        title="MELEP", sign=-1, meaning="log loss, guessed from one upstream label at a time; LOWER promises more"
    ),
    "size": Measure(title="records", sign=1, meaning="training records of the upstream: the baseline to beat"),
}
"""What can be computed or looked up before training, by column name."""


def scores_of(train: Embedded, val: Embedded, *, metric: str = "f1_weighted") -> dict[str, float]:
    """Every measure but `size`; the probes are trained on the one part and scored on the other.

    LEEP and MELEP read the upstream's own labels: of one without them they are NaN.

    Args:
        train: Training records.
        val: Validation records.
        metric: A key of `ecg_transfer.metrics.AGGREGATES`, for the probes; at a threshold of 0.5.

    Raises:
        ValueError: No label has positives and negatives among the training records, or outputs that are not finite.
    """
    has_head = train.logits.shape[1] > 0
    probe = linear_probe(train.features, train.targets, val.features)
    neighbours = neighbour_probe(train.features, train.targets, val.features)
    return {
        "probe": float(aggregate(metric, probe, val.targets)),
        "knn": float(aggregate(metric, neighbours, val.targets)),
        "logme": logme(train.features, train.targets),
        "leep": leep(train.logits, train.targets) if has_head else float("nan"),
        "melep": melep(train.logits, train.targets) if has_head else float("nan"),
    }
