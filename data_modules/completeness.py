"""Whether a copy of a corpus holds what its publisher says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from data_modules.corpus import Corpus


@dataclass(frozen=True, kw_only=True)
class CompletenessReport:
    """What a copy holds, beside what is published."""

    title: str
    version: str
    """The release that this copy is, told by its number of records; `unknown` where several were published and none has
    that many."""
    num_found: int
    """Records whose signal is there, those set aside included."""
    num_expected: int
    """Records of the release that this copy is compared with."""
    simulated: bool
    complete: bool
    label_differences: Mapping[str, tuple[int, int]]
    """Label -> (found, published), where they differ; empty unless the copy is the release that the counts describe."""

    def sentence(self) -> str:
        """Say it to a person, with the corpus's title."""
        return f"{self.title}: {self.state()}."

    def state(self) -> str:
        """Say it to a person."""
        if self.simulated:
            return f"SIMULATED, {self.num_found:,} records"
        if not self.complete:
            return f"an incomplete copy, {self.num_found:,} of {self.num_expected:,} records"
        if not self.label_differences:
            return f"complete, {self.num_found:,} records"
        differences = ", ".join(
            f"{label} {found:,} instead of {published:,}"
            for label, (found, published) in self.label_differences.items()
        )
        return f"complete, {self.num_found:,} records, but its labels are not those published: {differences}"


def check_completeness(corpus: Corpus) -> CompletenessReport:
    """Compare the number of records, and in a complete copy the positives of each label, with the published ones.

    Labels are compared for the default label set of `spec.version` only: other releases have other counts.
    """
    spec, table = corpus.spec, corpus.table
    num_found = len(table) + sum(reason != "no_signal" for reason in table.set_aside.values())
    versions = {number: version for version, number in (*spec.other_releases.items(), (spec.version, spec.num_records))}
    is_known = not spec.other_releases or corpus.is_simulated
    num_expected = num_found if num_found in versions else spec.num_records
    differences: dict[str, tuple[int, int]] = {}
    if num_found == spec.num_records and corpus.label_set == next(iter(spec.label_sets)):
        counts = dict(zip(table.label_names, table.labels.sum(axis=0, dtype=int).tolist(), strict=True))
        differences = {
            label: (counts[label], published)
            for label, published in spec.label_counts.items()
            if counts[label] != published
        }
    return CompletenessReport(
        title=spec.title,
        version=versions.get(num_found, spec.version if is_known else "unknown"),
        num_found=num_found,
        num_expected=num_expected,
        simulated=corpus.is_simulated,
        complete=num_found in versions,
        label_differences=differences,
    )
