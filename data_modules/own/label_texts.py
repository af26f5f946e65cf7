"""What is unclear about the texts that stand in a column of labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from data_modules.own.labels import SEPARATOR

_OTHER_SEPARATOR = re.compile(r"\s*[,|/+&]\s*")
"""What people put between labels in place of `SEPARATOR`."""

ANSWERS = (
    *(("y", "n"), ("yes", "no"), ("positive", "negative"), ("pos", "neg"), ("true", "false"), ("t", "f")),
    *(("present", "absent"), ("+", "-"), ("x", ""), ("j", "n"), ("ja", "nein"), ("ja", "nee"), ("oui", "non")),
    *(("si", "no"), ("sí", "no"), ("sì", "no"), ("sim", "não"), ("sim", "nao"), ("positiv", "negativ")),
    # what spreadsheets in other languages write for TRUE and FALSE
    *(("wahr", "falsch"), ("vrai", "faux"), ("verdadero", "falso"), ("vero", "falso"), ("waar", "onwaar")),
    ("verdadeiro", "falso"),
)
"""Texts, in lower case, that say whether there is something and not what: that there is, and that there is not."""


MIN_SENTENCES = 10
"""Texts of three words and more that one record alone has: so many, and more than half of all, are sentences."""


def free_text(column: str, counts: Mapping[str, int], chosen: Collection[str]) -> Iterator[str]:
    """A question about a column of sentences: each would be a label of one record.

    Args:
        column: What it is called.
        counts: Records that have each text, split at `SEPARATOR`.
        chosen: Texts of which the user has said what they are called; with any, nothing is asked.
    """
    sentences = [text for text, count in counts.items() if count == 1 and len(text.split()) >= 3]
    if not chosen and len(sentences) >= MIN_SENTENCES and 2 * len(sentences) > sum(counts.values()):
        yield (
            f"the column {column!r} seems to be free text: {len(sentences)} of its {len(counts)} texts stand in one "
            f"record alone, {sentences[0][:60]!r} say; make columns of 0 and 1 of what is to be learnt, or name the "
            "texts that are labels with --label-names"
        )


def unclear_texts(column: str, names: Sequence[str], chosen: Collection[str]) -> Iterator[str]:
    """Questions about a column of names.

    Args:
        column: What it is called.
        names: The different texts in it, split at `SEPARATOR`.
        chosen: Those of which the user has said what they are called; nothing is asked about them.
    """
    unsaid = [name for name in names if name not in chosen]
    if brackets := [name for name in unsaid if name[0] in "[{("]:
        yield (
            f"{brackets[0]!r} in the column {column!r} seems to be a list; write the names alone in the table, "
            f"{SEPARATOR} between them"
        )
    joined = (name for name in names if len(parts := _OTHER_SEPARATOR.split(name)) > 1 and {*parts} <= {*names})
    if name := next(joined, ""):
        yield f"{name!r} in the column {column!r} seems to be several labels; put {SEPARATOR} between them in the table"
    if alike := _alike(names, unsaid):
        same = ",".join([alike[0], *(f"{other}={alike[0]}" for other in alike[1:])])
        yield (
            f"{' and '.join(map(repr, alike))} in the column {column!r} differ in case or blanks alone; write them "
            f"alike in the table, or name all labels: --label-names '{same},...'"
        )
    answers = [pair for pair in ANSWERS if {name.casefold() for name in names} <= {*pair}]
    if unsaid and not chosen and answers:
        yes = next((name for name in names if name.casefold() == answers[0][0]), names[-1])
        yield (
            f"the column {column!r} holds {' and '.join(names)}, which are no names of labels; say which of them is "
            f"the label: --label-names '{yes}={column}'"
        )


def _alike(names: Sequence[str], unsaid: Collection[str]) -> list[str]:
    """The first names that differ in case or blanks alone, one of which the user has not said anything of."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups["".join(name.casefold().split())].append(name)
    return next((same for same in groups.values() if len(same) > 1 and not {*same}.isdisjoint(unsaid)), [])
