"""The people of a simulated corpus and their streams of random numbers, all from the corpus's one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np

from data_modules.simulation.person import Person, draw_person


@dataclass(frozen=True)
class Cast:
    """Who plays in a simulated corpus.

    Each person and each recording has a stream of its own, so that a record does not depend on those before it.
    """

    corpus: str
    seed: int

    def person(self, patient: int, conditions: Sequence[str]) -> Person:
        """The patient of that number; conditions only decide how old."""
        return draw_person(crc32(f"{self.corpus}/{self.seed}/{patient}".encode()), conditions)

    def generator(self, topic: str, record: int = 0) -> np.random.Generator:
        """A stream for one purpose of one record."""
        return np.random.default_rng([self.seed, crc32(self.corpus.encode()), crc32(topic.encode()), record])


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to write."""

    root: Path
    """An empty folder to fill."""
    num_records: int
    cast: Cast
    quirks: bool
    """Put in the oddities of the authentic files."""
    tick: Callable[[], None]
    """To be called after each record, for a progress bar."""


def spread_numbers(num_records: int, published: int) -> list[int]:
    """Ascending record numbers from 1, spread over the published range so that every folder gets some.

    More records than published continue after the last one.
    """
    if num_records >= published:
        return list(range(1, num_records + 1))
    return [1 + index * (published - 1) // max(num_records - 1, 1) for index in range(num_records)]
